"""Artifact types; each docstring draws its directory, and nobody else builds these paths by hand."""

import pathlib


class Artifact:
    """A directory that a component wrote, and what is known of it.

    Attributes:
        path: the directory. properties: str, int, float or bool values for the metadata store.
        id: in the metadata store. digest: of the content.
    """

    def __init__(self, path, id=None, digest=None, properties=None):
        self.path = pathlib.Path(path)
        self.id = id
        self.digest = digest
        self.properties = dict(properties or {})

    @classmethod
    def type_name(cls):
        return cls.__name__


class Examples(Artifact):
    """tf.train.Examples by split.

    Split-train/data_tfrecord-00000-of-00001.gz
    Split-test/data_tfrecord-00000-of-00001.gz
    index/Split-train/0000000.jsonl                 a row for each Example of a shard: all but the pictures
    findings.json                                   warnings, counts, patients of each split
    croissant.json                                  description for catalogues, without patients
    """

    SPLITS = ("train", "test")

    def split(self, name):
        return self.path / f"Split-{name}"

    @property
    def findings(self):
        return self.path / "findings.json"


class ExampleStatistics(Artifact):
    """TFDV statistics by split.

    Split-train/FeatureStats.pb
    Split-test/FeatureStats.pb
    """

    def split(self, name):
        return self.path / f"Split-{name}" / "FeatureStats.pb"


class Schema(Artifact):
    """The schema that Examples must obey.

    schema.pbtxt        curated: committed, not inferred from the data it checks
    inferred.pbtxt      what TFDV would infer, to compare with
    """

    @property
    def schema(self):
        return self.path / "schema.pbtxt"

    @property
    def inferred(self):
        return self.path / "inferred.pbtxt"


class ExampleAnomalies(Artifact):
    """What the Examples break.

    Split-train/SchemaDiff.pb
    Split-test/SchemaDiff.pb
    anomalies.json              list of {split, feature, type, description, stops}
    associations.json           of each burned-in mark with the label: table, phi, p
    """

    def split(self, name):
        return self.path / f"Split-{name}" / "SchemaDiff.pb"

    @property
    def anomalies(self):
        return self.path / "anomalies.json"


class Model(Artifact):
    """A trained model.

    Format-Serving/         SavedModel
    Format-Keras/panet.keras
    history.json            training curve
    """

    @property
    def serving(self):
        return self.path / "Format-Serving"

    @property
    def keras(self):
        return self.path / "Format-Keras" / "panet.keras"

    @property
    def history(self):
        return self.path / "history.json"


class ModelEvaluation(Artifact):
    """Scores of the exported model.

    evaluation.json         table, strata, normal frames, calibration
    rows.json               a row for each episode
    gallery/*.png           best, median, worst: image, truth, mask, probability
    grad_cam/*.png          maps of the foreground prototype
    """

    @property
    def evaluation(self):
        return self.path / "evaluation.json"

    @property
    def rows(self):
        return self.path / "rows.json"

    @property
    def gallery(self):
        return self.path / "gallery"

    @property
    def grad_cam(self):
        return self.path / "grad_cam"


class ModelBlessing(Artifact):
    """Whether the scores allow the model to be pushed.

    BLESSED or NOT_BLESSED      the reasons, one a line
    """

    blessed_name, refused_name = "BLESSED", "NOT_BLESSED"

    @property
    def blessed(self):
        return (self.path / self.blessed_name).is_file()

    def write(self, blessed, reasons):
        name = self.blessed_name if blessed else self.refused_name
        (self.path / name).write_text("".join(f"{reason}\n" for reason in reasons), "utf-8")
        self.properties["blessed"] = int(blessed)

    def reasons(self):
        name = self.blessed_name if self.blessed else self.refused_name
        return (self.path / name).read_text("utf-8").splitlines()


class InfraBlessing(ModelBlessing):
    """Whether a server could load the model and answered as it does.

    INFRA_BLESSED or INFRA_NOT_BLESSED      the reasons, one a line
    """

    blessed_name, refused_name = "INFRA_BLESSED", "INFRA_NOT_BLESSED"


class AcceptanceBlessing(ModelBlessing):
    """Whether a model keeps to a team's limits on their own pictures.

    ACCEPTED or NOT_ACCEPTED        the limits and what came, one a line
    acceptance.json                 model and its digest, limits, figures, data with its patients' digests;
                                    no picture
    """

    blessed_name, refused_name = "ACCEPTED", "NOT_ACCEPTED"

    @property
    def acceptance(self):
        return self.path / "acceptance.json"


class PushedModel(Artifact):
    """A record of what was pushed, or why not.

    pushed.json     {pushed, destination, version, digest, signed, reason}, as it was at the time
    """

    @property
    def pushed(self):
        return self.path / "pushed.json"

    @property
    def version_folder(self):
        """Folder that is served; None if nothing was pushed."""
        if "version" not in self.properties or "destination" not in self.properties:
            return None
        return pathlib.Path(self.properties["destination"]) / str(self.properties["version"])


TYPES = {
    kind.type_name(): kind
    for kind in (
        Examples,
        ExampleStatistics,
        Schema,
        ExampleAnomalies,
        Model,
        ModelEvaluation,
        ModelBlessing,
        InfraBlessing,
        AcceptanceBlessing,
        PushedModel,
    )
}
