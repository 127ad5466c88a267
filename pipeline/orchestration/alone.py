"""One run at a time in a folder of checkpoints."""

import contextlib
import fcntl
import os


@contextlib.contextmanager
def alone(folder, say):
    """Holds a folder, which is made if it is not there, against other processes of all machines that see it; a process
    that is killed lets go.

    Args:
        folder: `pathlib.Path`; who holds it may remove it. say: called before a wait, which may take hours.

    Yields:
        Whether somebody else had it first.
    """
    waited = False
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
        try:
            waited = _lock(handle, say) or waited
            if _is_still(folder, handle):
                yield waited
                return
        finally:
            os.close(handle)


def _lock(handle, say):
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say()
        fcntl.flock(handle, fcntl.LOCK_EX)
        return True
    except OSError:
        pass  # a file system without locks: as before there were any
    return False


def _is_still(folder, handle):
    """Whether the folder is the one that was opened: who held it may have removed it."""
    try:
        return os.path.samestat(os.stat(folder), os.fstat(handle))
    except FileNotFoundError:
        return False
