"""What a command tells when all pictures are done: the code of panet_keras/commands/table.py."""

import csv
import pathlib
import sys

from .files import open_whole

FIELDS = ("file", "presence", "area", "error", "answer")
"""The picture's place in its folder; presence in [0, 1]; area, share of the frame; why the picture could not
be read; id of the answer, which is in the mask's file, too."""


def write_table(path, rows):
    """Writes rows (any iterable), dictionaries of `FIELDS`, as a CSV file; makes its folder.

    Raises:
        OSError: it cannot be written.
    """
    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
    with open_whole(path) as stream:
        writer = csv.DictWriter(stream, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def name_unread(command, rows):
    """Names the pictures that could not be read on stderr.

    Args:
        command: what speaks. rows: with `error`.

    Returns:
        The exit code: 1 if there are any, else None.
    """
    broken = [row["error"] for row in rows if row["error"]]
    for error in broken:
        print(f"{command}: {error}", file=sys.stderr)
    if broken:
        print(f"{command}: {len(broken)} picture(s) could not be read; all others are done", file=sys.stderr)
        return 1
    return None
