"""What lies in a folder, links followed."""

import os
import pathlib

HIDDEN = ("__MACOSX",)


def files_under(directory, hidden=False):
    """Every file of a folder and its sub-folders. A link to a folder is searched like a folder, once, so that one
    which leads back up makes no circle; a link that leads nowhere is named like a file.

    Args:
        directory: the folder; one that is not there has no files.
        hidden: whether `.x`, `._x` and what lies in `.x/` and `__MACOSX/` count.

    Returns:
        Sorted list of `pathlib.Path`.

    Raises:
        OSError: a folder that cannot be read; what is in it would be missing without a word.
    """
    found, entered = [], set()

    def refuse(error):
        if not isinstance(error, FileNotFoundError):
            raise error

    for folder, folders, files in os.walk(directory, followlinks=True, onerror=refuse):
        place = os.path.realpath(folder)
        if place in entered:
            folders.clear()
            continue
        entered.add(place)
        if not hidden:
            folders[:] = [name for name in folders if not name.startswith(".") and name not in HIDDEN]
            files = [name for name in files if not name.startswith(".")]
        # Folders before links to them, so that a file has the name of its own place.
        folders.sort(key=lambda name: (os.path.islink(os.path.join(folder, name)), name))
        found += [pathlib.Path(folder) / name for name in files]
    return sorted(found)
