"""Checkpoints of a training that may be killed at any moment.

Keras' BackupAndRestore writes weights and epoch number one after the other, each in place: a kill between
leaves the weights of one epoch under the number of another, and a kill within leaves half a file
(`benchmarks/crash.py` met both). Here the number is in the name.
"""

import dataclasses
import hashlib
import json
import os
import pathlib

import numpy as np

from panet_keras.errors import PANetError
from panet_keras.files import write_whole

NAME = "epoch-{}.weights.h5"


def newest(folder):
    """The last checkpoint of a folder.

    Args:
        folder: as for `keep`.

    Returns:
        (finished epochs, weights file), or (0, None) in a fresh folder.
    """
    found = [
        (int(file.name.split(".")[0].removeprefix("epoch-")), file)
        for file in pathlib.Path(folder).glob(NAME.format("*"))
    ]
    return max(found, default=(0, None))


def keep(folder, network, epochs):
    """Writes the state of a training, optimizer included, and removes the one before.

    Args:
        folder: for checkpoints. network: compiled model. epochs: how many it has finished.

    Raises:
        OSError: it cannot be written; the checkpoint before stays.
    """
    folder = pathlib.Path(folder)
    building, place = folder / ".building.weights.h5", folder / NAME.format(epochs)
    network.save_weights(building)
    os.replace(building, place)
    for file in folder.glob(NAME.format("*")):
        if file != place:
            file.unlink()


def claim(folder, records, recipe):
    """Notes in `training.json` what a folder's checkpoints are trained on, and refuses one that holds another
    training: its weights, which may know the patients that are to be tested, would be given as this one's.

    Args:
        folder: as for `keep`; checkpoints of a version that noted nothing are taken as they are.
        records: of `Record`, by pictures, masks, patients and labels. recipe: `Recipe`.

    Raises:
        PANetError: what differs.
    """
    file = pathlib.Path(folder) / "training.json"
    # As JSON gives it back: tuples are lists there.
    facts = json.loads(
        json.dumps({"recipe": vars(recipe), "records": _digest(records)}, default=_plain, sort_keys=True)
    )
    noted = json.loads(file.read_text("utf-8")) if file.is_file() else None
    if noted and newest(folder)[1] and noted != facts:
        old, new = noted["recipe"], facts["recipe"]
        changed = [f"recipe.{name}" for name in sorted({*old, *new}) if old.get(name) != new.get(name)]
        changed += ["records"] * (noted["records"] != facts["records"])
        raise PANetError(
            f"{folder} holds the checkpoint of another training; {', '.join(changed)} differ. Give this one a "
            "work_dir of its own, or remove the folder to train anew."
        )
    write_whole(file, json.dumps(facts, indent=1))


def _plain(value):
    if isinstance(value, np.generic):
        return value.item()
    return vars(value) if dataclasses.is_dataclass(value) else type(value).__name__


def _digest(records):
    digest = hashlib.sha256()
    for record in records:
        digest.update(repr((record.filename, record.patient, record.label, record.source)).encode())
        for source in (record.image, *record.masks):
            digest.update(hashlib.sha256(_content(source)).digest())
    return digest.hexdigest()


def _content(source):
    try:
        return source if isinstance(source, bytes) else pathlib.Path(source).read_bytes()
    except OSError:
        return b""  # the episodes name every picture that cannot be read


class Curve:
    """The training curve, one dictionary for each epoch, kept in `history.json`.

    Args:
        folder: of the checkpoints. epochs: how many are finished; what was noted of later ones is forgotten.
    """

    def __init__(self, folder, epochs):
        self.file = pathlib.Path(folder) / "history.json"
        noted = json.loads(self.file.read_text("utf-8")) if self.file.is_file() else []
        self.rows = [row for row in noted if row["epoch"] < epochs]

    def add(self, row):
        self.rows.append(row)
        write_whole(self.file, json.dumps(self.rows, indent=1))
