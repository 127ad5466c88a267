"""Files that are whole or not there: `write_whole` of panet_keras/files.py."""

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
