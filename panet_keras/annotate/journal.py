"""Files that survive a kill and a power cut: whole files moved into place, and an append-only journal."""

import fcntl
import json
import os
import pathlib
import socket
import time

from panet_keras.errors import PANetError


def write_durable(path, content):
    """Writes bytes beside the place, brings them to the disk, and moves them into it.

    Args:
        path: file; its folder must exist. content: bytes or text.
    """
    path = pathlib.Path(path)
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        with open(temporary, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:  # a write tells no name
        raise OSError(error.errno, error.strerror, os.fspath(path)) from None
    finally:
        temporary.unlink(missing_ok=True)


class Journal:
    """Lines of JSON that are only ever appended; a line counts once its end is on the disk.

    Args:
        path: file, made if absent. What a kill left of a last line is cut off: its change was never
            acknowledged.
        take: function that is given each line's dictionary.

    Raises:
        PANetError: a line before the last that is no JSON: somebody changed the file.
    """

    def __init__(self, path, take):
        self.path, self._size = pathlib.Path(path), 0
        # Without a buffer, which would keep what a full disk refused and write it with the next entry.
        self._file = open(self.path, "ab", buffering=0)
        # Line by line: of 10,000 pictures it is some 50 MB.
        with open(self.path, "rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    break
                self._size += len(line)
                try:
                    take(json.loads(line))
                except ValueError as error:
                    raise PANetError(
                        f"{self.path}, line {number}: no JSON ({error}); expected what this program wrote. "
                        "Restore the file from a copy, or delete the line."
                    ) from None
        if self._size < os.path.getsize(self.path):
            self._file.truncate(self._size)

    def append(self, *entries):
        """Adds dictionaries, a line each, and waits for the disk.

        Raises:
            OSError: it cannot be written; none of the entries is in the journal then.
        """
        lines = b"".join(json.dumps(entry).encode() + b"\n" for entry in entries)
        try:
            left = memoryview(lines)
            while left:
                left = left[self._file.write(left) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            self._file.truncate(self._size)
            raise OSError(error.errno, error.strerror, os.fspath(self.path)) from None
        self._size += len(lines)

    def close(self):
        self._file.close()


class Lock:
    """One server for one output folder; the system frees it when the process dies, however it dies.

    Args:
        path: file, made if absent.

    Raises:
        PANetError: another process has it; says which, where and since when.
    """

    def __init__(self, path):
        self._file = open(path, "a+")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.seek(0)
            holder = self._file.read().strip() or "an unknown process"
            self._file.close()
            raise PANetError(
                f"{pathlib.Path(path).parent}: another server writes there ({holder}). Open its page, stop it, or give "
                "--output another folder."
            ) from None
        except OSError as error:
            self._file.close()
            raise PANetError(
                f"{pathlib.Path(path).parent}: cannot be locked against a second server ({error.strerror}); expected a file system "
                "that locks files. Give --output a folder on a disk of this machine."
            ) from None
        self._file.truncate(0)
        self._file.write(f"process {os.getpid()} on {socket.gethostname()} since {time.strftime('%F %T')}\n")
        self._file.flush()

    def release(self):
        self._file.close()
