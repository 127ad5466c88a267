"""Rows on disk that are read like a list, so that a table of ten million pictures takes no memory."""

import json
import pathlib

from panet_keras.files import open_whole


class RowFile:
    """Rows of a JSON lines file; it can be gone through any number of times.

    Args:
        path: the file. rows: dictionaries, written one after the other.

    Raises:
        OSError: it cannot be written.
    """

    def __init__(self, path, rows):
        self.path, self.count = pathlib.Path(path), 0
        with open_whole(self.path) as stream:
            for row in rows:
                stream.write(f"{json.dumps(row)}\n")
                self.count += 1

    def __len__(self):
        return self.count

    def __iter__(self):
        with open(self.path, encoding="utf-8") as lines:
            yield from map(json.loads, lines)
