"""What statistics of single features cannot see: disagreement, duplicates, leaks. One named anomaly for each
kind."""

import collections
import dataclasses
import itertools
import json
import pathlib
import sys

from panet_keras.files import write_whole

ANOMALIES = {
    "IMAGE_UNREADABLE": "a picture cannot be decoded; it is left out",
    "MASK_COLOUR": "a mask has a colour that stands for nothing; its image is left out",
    "MASK_SIZE": "a mask had another size than its image, and was stretched",
    "MASK_MIXED_COLOURS": "a mask had mixed colours, as from a smooth resize",
    "LABEL_MASK_DISAGREE": "the label and the mask's classes contradict each other",
    "LESION_WITHOUT_MASK": "the label says lesion, the mask shows none",
    "DUPLICATE_IMAGE": "one picture lies in the set twice",
    "PATIENT_IN_TWO_SPLITS": "a patient is on both sides of the split",
    "SOURCE_ON_ONE_SIDE": "all images of a hospital are on one side of the split",
    "FLAG_TELLS_LABEL": "a burned-in mark goes with the label: a model may read the mark instead of the tissue",
}
"""Names of the anomalies, beside those of TFDV (`AnomalyInfo.Type`)."""


def known_anomalies():
    """Names that an anomaly can have: those of `ANOMALIES`, of drift and skew, and TFDV's own, in this
    order."""
    from tensorflow_metadata.proto.v0 import anomalies_pb2

    return (*ANOMALIES, "DATA_SKEW", "DATA_DRIFT", *anomalies_pb2.AnomalyInfo.Type.keys())


TELLING, CERTAIN = 0.5, 0.001
"""FLAG_TELLS_LABEL from this phi on, and below this p-value of Fisher's exact test."""


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """What the checks need of an Example."""

    split: str
    filename: str
    patient: str
    label: str
    classes: int
    digest: str
    doppler: bool
    marks: bool
    combined: bool
    source: str = ""


INDEX = "index"
"""Folder beside the splits' with the rows of each shard, so that nobody reads terabytes of pictures for them."""


def row_of(split, sample):
    """`Row` of a `panet_keras.data.records.Sample`."""
    record = sample.record
    return Row(
        split,
        record.filename,
        record.patient,
        record.label,
        sample.mask_classes,
        sample.digest,
        bool(record.doppler),
        bool(record.marks),
        bool(record.combined),
        record.source,
    )


def write_rows(rows, directory, number):
    """Writes the `Row`s of a shard beside the split's folder; a JSON list each, in the order of the fields."""
    folder = _index(directory)
    folder.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(list(dataclasses.astuple(row)), ensure_ascii=False) for row in rows]
    write_whole(folder / f"{number:07d}.jsonl", "".join(f"{line}\n" for line in lines))


def read_rows(directory, split):
    """`Row`s of a split's Examples; no picture is decoded, and none read where ExampleGen wrote an index."""
    files = sorted(_index(directory).glob("*.jsonl"))
    if files:
        return [_row(json.loads(line)) for file in files for line in _lines(file)]
    import tensorflow as tf

    from panet_keras.data.examples import FEATURES, OPTIONAL, example_files

    wanted = {name: spec for name, spec in (FEATURES | OPTIONAL).items() if not name.endswith("/encoded")}
    rows = []
    # Parsed in batches: one at a time takes a millisecond each.
    for batch in tf.data.TFRecordDataset(example_files(directory), compression_type="GZIP").batch(256):
        values = {name: value.numpy() for name, value in tf.io.parse_example(batch, wanted).items()}
        for place in range(len(values["label"])):
            texts = (values[name][place].decode() for name in ("image/filename", "patient/id", "label"))
            flags = (bool(values[f"image/{name}"][place]) for name in ("doppler", "marks", "combined"))
            classes, digest = int(values["mask/classes"][place]), values["image/digest"][place].decode()
            rows.append(Row(split, *texts, classes, digest, *flags, values["source"][place].decode()))
    return rows


def _index(directory):
    directory = pathlib.Path(directory)
    return directory.parent / INDEX / directory.name


def _lines(file):
    with open(file, encoding="utf-8") as lines:
        yield from lines


def _row(values):
    """`Row` of its values; splits, patients, labels and sources come again and again, and are one text each."""
    return Row(*(sys.intern(value) if n in (0, 2, 3, 9) else value for n, value in enumerate(values)))


def anomaly(kind, split, feature, description):
    return {"split": split, "feature": feature, "type": kind, "description": description}


def check_rows(rows):
    """Anomalies of a whole data set.

    Args:
        rows: of `Row`, of all splits.

    Returns:
        List of dictionaries: split, feature, type (of `ANOMALIES`), description.
    """
    return [*_labels(rows), *_duplicates(rows), *_split_patients(rows), *_sources(rows), *_flags(rows)]


def _labels(rows):
    for row in rows:
        allowed = {"Normal": (0,), "Benign": (0, 1), "Malignant": (0, 2)}.get(row.label, (0, 1, 2, 3))
        if row.classes not in allowed:
            shows = {1: "benign", 2: "malignant", 3: "benign and malignant"}[row.classes]
            text = f"{row.filename}: the label is {row.label}, the mask shows a {shows} lesion. Correct the one that is wrong."
            yield anomaly("LABEL_MASK_DISAGREE", row.split, "label", text)
        elif row.label != "Normal" and not row.classes:
            text = f"{row.filename}: the label is {row.label}, the mask is empty. Draw the lesion, or label it Normal."
            yield anomaly("LESION_WITHOUT_MASK", row.split, "mask/classes", text)


def _duplicates(rows):
    groups = collections.defaultdict(list)
    for row in rows:
        groups[row.digest].append(row)
    for group in groups.values():
        if len(group) > 1:
            patients = {row.patient for row in group}
            sources = {row.source for row in group}
            whose = f"of {len(patients)} patients" if len(patients) > 1 else "of one patient"
            whose += f" of {len(sources)} sources" if len(sources) > 1 else ""
            sides = " and ".join(sorted({row.split for row in group}))
            names = ", ".join(row.filename for row in group)
            text = f"{names}: one picture, pixel for pixel, {whose}, in {sides}. Keep one."
            yield anomaly("DUPLICATE_IMAGE", sides, "image/digest", text)


def _split_patients(rows):
    splits = collections.defaultdict(set)
    for row in rows:
        # A patient written in two ways is one patient.
        splits[row.patient.strip().casefold()].add((row.split, row.patient))
    for found in splits.values():
        sides = sorted({split for split, _ in found})
        if len(sides) > 1:
            names = ", ".join(sorted({name for _, name in found}))
            text = f"patient {names} is in {' and '.join(sides)}: scores would be of patients that were trained on. Split by patient."
            yield anomaly("PATIENT_IN_TWO_SPLITS", " and ".join(sides), "patient/id", text)


def _by_source(rows):
    """(source, its rows), one pair for each."""
    groups = collections.defaultdict(list)
    for row in rows:
        groups[row.source].append(row)
    return sorted(groups.items())


def _sources(rows):
    groups = _by_source(rows)
    for source, members in groups if len(groups) > 1 else ():
        sides = {row.split for row in members}
        if len(sides) == 1:
            [side] = sides
            what = "no score is of it" if side == "train" else "nothing was learned from it"
            text = f"source {source or '(not told)'}: all {len(members)} images are in {side}, so that {what}. Test some of its patients."
            yield anomaly("SOURCE_ON_ONE_SIDE", side, "source", text)


def _flags(rows):
    groups = _by_source(rows)
    for (source, members), flag in itertools.product(groups, ("marks", "doppler", "combined")):
        table, phi, p = flag_association(members, flag)
        if abs(phi) >= TELLING and p < CERTAIN:
            (both, flag_only), (lesion_only, neither) = table
            text = (
                f"{f'{source}: ' if len(groups) > 1 else ''}"
                f"{flag} go with the label: {both} of {both + lesion_only} lesion images have it, and {flag_only} of {flag_only + neither} "
                f"others (phi {phi:.2f}, Fisher p {p:.1g}). A model may read the mark instead of the tissue; crop or mask it."
            )
            yield anomaly("FLAG_TELLS_LABEL", "all", f"image/{flag}", text)


def flag_association(rows, flag):
    """How a flag goes with lesions.

    Args:
        rows: of `Row`. flag: `"marks"`, `"doppler"` or `"combined"`.

    Returns:
        Table [[flag and lesion, flag only], [lesion only, neither]]; phi, the correlation of the two, in [-1,
        1], 0 when one of them never changes; and the two-sided p-value of Fisher's exact test.
    """
    import math

    from scipy import stats

    counts = collections.Counter((getattr(row, flag), row.label != "Normal") for row in rows)
    table = [[counts[True, True], counts[True, False]], [counts[False, True], counts[False, False]]]
    (a, b), (c, d) = table
    scale = math.sqrt((a + b) * (c + d) * (a + c) * (b + d))
    return table, (a * d - b * c) / scale if scale else 0.0, float(stats.fisher_exact(table).pvalue)
