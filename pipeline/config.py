"""One typed configuration: a YAML file, changed by --set; each value's type, range and choices are declared
beside it, here only."""

import dataclasses
import pathlib
import unicodedata

import yaml

from panet_keras.recipes.recipe import Recipe
from pipeline.errors import ConfigError
from pipeline.settings import build, plain, read_file, read_setting
from pipeline.validation.image_checks import known_anomalies

LAYOUTS = ("bus_bra", "bus_uclm", "busi", "coco", "csv", "dicom", "folder", "labelme", "nifti")
PROTOCOLS = ("cross-patient", "same-patient", "moved-support", "other-label", "two-way", "superpixel")
"""As `panet_keras.evaluation.PROTOCOLS`, whose import starts TensorFlow."""


def _field(default, **rules):
    """A field with rules of `pipeline.settings`."""
    return dataclasses.field(default=default, metadata=rules)


@dataclasses.dataclass(frozen=True)
class Source:
    """One hospital's data.

    Attributes:
        path: folder of the data set, or the CSV file; a relative one is looked for in `data.path`, where that
            is set.
        layout: as `data.layout`.
        name: of the hospital, which stands before its files and patients (`NAME/PATIENT`); without it the
            folder's name.
        share: how often a training episode is of this source, against the others; 0 for all: all as often.
    """

    path: str = _field("", path=True)
    layout: str = _field("csv", choices=LAYOUTS)
    name: str = _field("", name=True)
    share: float = _field(0.0, range="[0, inf)")

    def __post_init__(self):
        if not self.path:
            raise ValueError(
                "a source has no path; expected {path: FOLDER or CSV FILE, layout: ..., name: ..., share: ...}."
            )
        if not self.name:
            place = pathlib.PurePath(self.path)
            object.__setattr__(
                self, "name", (place.parent if place.suffix.lower() in (".csv", ".json") else place).name
            )
        if not self.name or "/" in self.name or self.name.startswith("."):
            raise ValueError(
                f"the source at {self.path} has the name {self.name!r}; expected a plain one: {{path: ..., name: ...}}."
            )


def _folded(name):
    """A name as people tell names apart: without case, its accents composed."""
    return unicodedata.normalize("NFC", name).casefold()


@dataclasses.dataclass(frozen=True)
class Data:
    """Where the images are and how they are split.

    Attributes:
        path: folder of the data set, or the CSV file. With `sources` it need not be set.
        layout: `bus_uclm`, `bus_bra`, `busi`, `folder`, `csv`, `coco`, `labelme`, `nifti`, or `dicom` (whose
            salt is in the environment: PANET_DICOM_SALT).
        sources: data sets of several hospitals, in place of the one of `path` and `layout`; each is split by
            patient on its own.
        test_patients: identifiers of the patients to test on (with sources `NAME/PATIENT`, or the patient
            alone where only one source has it); empty draws them at random.
        test_share: share of the patients that is drawn then.
        split_seed: seed of that draw.
    """

    path: str = _field("", path=True)
    layout: str = _field("bus_uclm", choices=LAYOUTS)
    sources: tuple[Source, ...] = ()
    test_patients: tuple[str, ...] = ()
    test_share: float = _field(0.34, range="(0, 1)")
    split_seed: int = _field(0, range="[0, inf)")

    def __post_init__(self):
        names = [_folded(source.name) for source in self.sources]
        twice = sorted({source.name for source in self.sources if names.count(_folded(source.name)) > 1})
        if twice:
            raise ValueError(
                f"data.sources has more than one named {', '.join(twice)}; give each a name of its own."
            )
        without = [source.name for source in self.sources if not source.share]
        if 0 < len(without) < len(self.sources):
            raise ValueError(
                f"data.sources has no share for {', '.join(without)}; expected one for each, or none at all. A source that is to be scored "
                "on and not trained on is left out of trainer.recipe.episodes.source_shares."
            )

    @property
    def paths(self):
        """Absolute path of the one data set, or a tuple of those of all sources."""
        if not self.sources:
            return str(pathlib.Path(self.path).resolve())
        return tuple(str(pathlib.Path(self.path, source.path).resolve()) for source in self.sources)

    @property
    def shares(self):
        """Share of each source, by name, for `EpisodeSpec.source_shares`; empty: all as often."""
        told = len(self.sources) > 1 and any(source.share for source in self.sources)
        return {source.name: source.share for source in self.sources} if told else {}

    @property
    def title(self):
        """The data in a few words, for people."""
        if not self.sources:
            return self.path
        return ", ".join(f"{source.name} ({path})" for source, path in zip(self.sources, self.paths))


@dataclasses.dataclass(frozen=True)
class Run:
    """Where results go.

    Attributes:
        root: folder for artifacts, metadata, reports and pushed models.
        cache: whether unchanged stages are taken from earlier runs; without it all are executed, and later
            runs take these.
    """

    root: str = _field("", path=True)
    cache: bool = True


@dataclasses.dataclass(frozen=True)
class Beam:
    """Who does the work of ExampleGen and StatisticsGen; the results are the same.

    Attributes:
        runner: name of an Apache Beam runner, such as DirectRunner, or PySpark for Apache Spark; empty does the work in
            this process.
        options: Beam's flags, such as --direct_num_workers=2 and --direct_running_mode=multi_processing; for Spark
            --master=spark://HOST:7077 and --conf=spark.KEY=VALUE.
    """

    runner: str = ""
    options: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Validator:
    """What of the data stops a run.

    Attributes:
        schema: curated schema, empty for the committed one.
        stop_on_anomalies: whether an anomaly ends the run.
        go_on: anomalies that are reported and do not end it: names of
            `pipeline.validation.image_checks.ANOMALIES`, DATA_SKEW, DATA_DRIFT, or TFDV's own.
    """

    schema: str = _field("", path=True)
    stop_on_anomalies: bool = True
    go_on: tuple[str, ...] = _field(
        (
            "MASK_SIZE",
            "MASK_MIXED_COLOURS",
            "FLAG_TELLS_LABEL",
            "SOURCE_ON_ONE_SIDE",
            "DATA_SKEW",
            "DATA_DRIFT",
        ),
        choices=known_anomalies,
    )


@dataclasses.dataclass(frozen=True)
class Trainer:
    """How the model learns. Keys of the recipe may be written short: `trainer.steps`, `trainer.shots`,
    `trainer.refine`.

    Attributes:
        recipe: model, episodes and schedule; see `panet_keras.Recipe`.
        strategy: tf.distribute strategy: empty for none, `mirrored` (all GPUs of this machine, or `devices`
            logical ones of its processor), or `multi_worker` (TF_CONFIG names the workers). Each replica
            takes its share of `batch_size` episodes.
        devices: logical devices to cut the processor into, for `mirrored` without GPUs.
    """

    recipe: Recipe = Recipe()
    strategy: str = _field("", choices=("", "mirrored", "multi_worker"))
    devices: int = _field(1, range="[1, inf)")


@dataclasses.dataclass(frozen=True)
class Evaluator:
    """The protocol and the conditions of the blessing.

    Attributes:
        shots: numbers of shots, each a row. repeats: supports drawn for each query. seed: of the episode
            list.
        protocols: further rows at one shot, of `panet_keras.evaluation.PROTOCOLS`.
        min_dice: lowest mean Dice at the first number of shots that is blessed.
        max_drop: how far that Dice may lie below the last blessed model's on the same images.
        supports: file names of the test images that every query gets as its annotated ones, instead of drawn
            ones; there is one row then, of as many shots.
        quick: a look in a minute: the first number of shots, one support set for each query, no further
            protocols, at most 60 queries. It never blesses a model.
    """

    shots: tuple[int, ...] = _field((1, 5), range="[1, inf)", filled=True)
    repeats: int = _field(5, range="[1, inf)")
    seed: int = _field(0, range="[0, inf)")
    protocols: tuple[str, ...] = _field(
        ("same-patient", "moved-support", "other-label", "two-way", "superpixel"), choices=PROTOCOLS
    )
    min_dice: float = _field(0.5, range="[0, 1]")
    max_drop: float = _field(0.02, range="[0, 1]")
    supports: tuple[str, ...] = ()
    quick: bool = False


@dataclasses.dataclass(frozen=True)
class InfraValidator:
    """Attributes: timeout: seconds for the server to start and answer. tolerance: largest difference of a
    probability."""

    timeout: float = _field(120.0, range="(0, inf)")
    tolerance: float = _field(1e-4, range="[0, 1]")


@dataclasses.dataclass(frozen=True)
class Pusher:
    """Attributes: destination: folder of version folders, empty for RUN_ROOT/serving/MODEL_NAME. model_name:
    for serving. signing_key: PEM file of the private key that pushed versions are signed with, empty for
    none. require_acceptance: folder that `python -m pipeline accept` writes; only a model that was accepted
    there is pushed."""

    destination: str = _field("", path=True)
    model_name: str = _field("panet", filled=True, name=True)
    signing_key: str = _field("", path=True)
    require_acceptance: str = _field("", path=True)


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything a run is told."""

    data: Data = Data()
    run: Run = Run()
    beam: Beam = Beam()
    validator: Validator = Validator()
    trainer: Trainer = Trainer()
    evaluator: Evaluator = Evaluator()
    infra_validator: InfraValidator = InfraValidator()
    pusher: Pusher = Pusher()


def load_config(path=None, settings=()):
    """Reads a YAML file and applies `key=value` settings.

    Args:
        path: YAML file; None starts from the defaults.
        settings: strings such as `"trainer.steps=100"`. A value of a text field is taken as it stands, any
            other is YAML.

    Returns:
        `Config`.

    Raises:
        ConfigError: no such file, not YAML, an unknown key, a value of another type or out of its range, or
            `data.path` (and no `data.sources`) or `run.root` not set, or shares of sources that there are not. The message begins with the line of the
            file or the setting that is to blame.
    """
    given = read_file(path, Config) if path is not None else []
    config = build(Config, [*given, *map(read_setting, settings)])
    for key, value in {
        "data.path": config.data.path or config.data.sources,
        "run.root": config.run.root,
    }.items():
        if not value:
            raise ConfigError(f"{key} is not set; give it in the file or with --set {key}=DIR.")
    names = [source.name for source in config.data.sources]
    strangers = sorted(set(config.trainer.recipe.episodes.source_shares) - set(names)) if names else []
    if strangers:
        raise ConfigError(
            f"trainer.recipe.episodes.source_shares has {strangers}, and data.sources has {names}; expected some of these names."
        )
    return config


def to_yaml(config):
    """YAML text of a configuration, which `load_config` reads back."""
    return yaml.safe_dump(plain(config), sort_keys=False, allow_unicode=True)
