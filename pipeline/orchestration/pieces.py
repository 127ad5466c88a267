"""Work for a runner: items in a file, cut into pieces, and a file for what was told of each piece.

A runner is handed the pieces' places alone, and hands nothing back: neither a job's description nor the process
that started it grows with what is worked on. A piece that is worked on twice, as runners do when a machine is lost
or slow, writes the same file twice.
"""

import dataclasses
import json
import os
import pathlib
import pickle

from panet_keras.files import write_whole
from pipeline.errors import PipelineError

MOST = 64
"""Items of a piece, at most; a set of fewer than 512 has one in each."""
PIECES = 256


@dataclasses.dataclass(frozen=True)
class Work:
    """A function and where its items and results lie.

    Attributes:
        function: of an item to JSON text in one line.
        folder: of the items and of what was told; all workers see it.
        home: working folder of the process that began, which relative paths in items are meant from.
    """

    function: object
    folder: str
    home: str

    def __call__(self, place):
        """Works on one piece; place is its number, and offset and size of its items in the file."""
        number, offset, size = place
        if os.getcwd() != self.home:
            os.chdir(self.home)
        with open(os.path.join(self.folder, "items"), "rb") as stream:
            stream.seek(offset)
            items = pickle.loads(stream.read(size))
        write_whole(_told(self.folder, number), "".join(f"{self.function(item)}\n" for item in items))


def lay_out(items, folder):
    """Writes the items.

    Args:
        items: list. folder: an empty one.

    Returns:
        List of the pieces' places, (number, offset, size).
    """
    count, places = max(1, min(MOST, len(items) // PIECES)), []
    with open(os.path.join(folder, "items"), "wb") as stream:
        for number, start in enumerate(range(0, len(items), count)):
            offset = stream.tell()
            stream.write(pickle.dumps(items[start : start + count]))
            places.append((number, offset, stream.tell() - offset))
    return places


def told(places, folder):
    """Yields what was told of each item, in the order of the items.

    Raises:
        PipelineError: of a piece nothing was told.
    """
    for number, _, _ in places:
        file = _told(folder, number)
        if not file.is_file():
            raise PipelineError(
                f"{file}: the runner ended without it; expected a file of each of {len(places)} pieces. Do all workers see "
                f"{folder}, at the same place?"
            )
        with open(file, encoding="utf-8") as lines:
            yield from map(json.loads, lines)


def _told(folder, number):
    return pathlib.Path(folder) / f"told-{number:07d}"
