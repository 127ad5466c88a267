"""Files that are whole or not there: `write_whole` and `open_whole` of panet_keras/files.py."""

import contextlib
import os
import pathlib


def write_whole(path, content):
    """Writes beside the place and moves into it, so that no half file is ever seen and an old one stays until
    then.

    Args:
        path: file; its folder must exist. content: bytes or text.

    Raises:
        OSError: it cannot be written; what was there stays.
    """
    path = pathlib.Path(path)
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        os.replace(temporary, path)
    except OSError as error:  # a write tells no name
        raise OSError(error.errno, error.strerror, os.fspath(path)) from None
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def open_whole(path):
    """`write_whole` for a text that is too long for memory: a file to write to, which becomes `path` when the
    block ends well.

    Args:
        path: file; its folder must exist.

    Yields:
        Text file (UTF-8, line ends as written).

    Raises:
        OSError: it cannot be written; what was there stays.
    """
    path = pathlib.Path(path)
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        # A file's name may be no UTF-8; its own bytes name it again.
        with open(temporary, "w", encoding="utf-8", errors="surrogateescape", newline="") as stream:
            yield stream
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
