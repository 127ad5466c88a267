"""ExampleGen's work, cut into shards: the same files whoever writes them, one process or many machines."""

import dataclasses
import json
import os

SHARD = 128
"""Records of a shard: what is in memory at once, and the grain of parallel work."""


@dataclasses.dataclass(frozen=True)
class Task:
    """One shard: where it goes, and which records go into it."""

    split: str
    number: int
    of: int
    directory: str
    records: tuple


def tasks(splits, directory_of):
    """Cuts splits into tasks.

    Args:
        splits: dictionary of name to records. directory_of: function of a split's name to its folder.
    """
    made = []
    for name, members in splits.items():
        pieces = [tuple(members[i : i + SHARD]) for i in range(0, len(members), SHARD)]
        made += [
            Task(name, number, len(pieces), os.fspath(directory_of(name)), piece)
            for number, piece in enumerate(pieces)
        ]
    return made


def write(task):
    """Decodes a task's records, writes its TFRecord file, and tells what happened.

    Returns:
        JSON text: split, number of Examples, and the broken or repaired pictures as anomalies without their
            split.
    """
    from panet_keras.data import to_example, write_examples
    from panet_keras.errors import ImageError, MaskColourError, MaskSizeWarning
    from pipeline.validation import image_checks

    serialised, pictures, rows = [], [], []
    for record in task.records:
        try:
            sample, repairs = record.decode_with_repairs()
        except ImageError as error:
            colour = isinstance(error, MaskColourError)
            kind, feature = (
                ("MASK_COLOUR", "mask/encoded") if colour else ("IMAGE_UNREADABLE", "image/encoded")
            )
            pictures.append({"type": kind, "feature": feature, "description": str(error)})
            continue
        serialised.append(to_example(sample))
        rows.append(image_checks.row_of(task.split, sample))
        for repair in repairs:
            kind = "MASK_SIZE" if isinstance(repair, MaskSizeWarning) else "MASK_MIXED_COLOURS"
            pictures.append({"type": kind, "feature": "mask/encoded", "description": str(repair)})
    count = write_examples(serialised, task.directory, task.number, task.of)
    image_checks.write_rows(rows, task.directory, task.number)
    pictures = [{"split": task.split, **item} for item in pictures]
    return json.dumps({"split": task.split, "number": task.number, "count": count, "pictures": pictures})


def digests(records, engine, scratch):
    """`content_digest` of each record, computed on a runner's workers; arguments as for `run`."""
    from pipeline.orchestration.beam import map_told

    pieces = [tuple(records[i : i + SHARD]) for i in range(0, len(records), SHARD)]
    told = map_told(_digests, pieces, engine, scratch, "pieces of pictures")
    return [digest for piece in told for digest in piece]


def _digests(records):
    from panet_keras.data.splits import content_digest

    return json.dumps([content_digest(record) for record in records])


def run(tasks, engine, scratch):
    """Writes all shards, in this process or on a runner.

    Args:
        tasks: of `Task`. engine: fields of `pipeline.config.Beam`. scratch: folder that all workers see.

    Returns:
        List of what `write` told of each, in the order of the tasks.
    """
    from pipeline.orchestration.beam import map_told

    return list(map_told(write, tasks, engine, scratch, "shards"))
