"""Checkpoints of a training that may be killed at any moment.

Keras' BackupAndRestore writes weights and epoch number one after the other, each in place: a kill between
leaves the weights of one epoch under the number of another, and a kill within leaves half a file
(`benchmarks/crash.py` met both). Here the number is in the name.
"""

import json
import os
import pathlib

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
