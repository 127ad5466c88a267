"""A log file of whole lines, which full disks, crashes and other programs do not spoil."""

import contextlib
import logging
import os
import pathlib
import stat
import threading

log = logging.getLogger("serving")


class LineFile:
    """Appends lines; a full file becomes FILE.1, that one FILE.2, and the last goes.

    A line that could not be written whole is left behind as it is, and the next begins on a line of its own, also
    after a crash. A file that another program has moved or removed (logrotate) is made anew. A failure is one
    message in the server's log, and its end another, with the number of lines that are missing.

    Args:
        path: file, which nobody but its owner can read. max_bytes: of a file. keep: how many full ones are kept.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, path, max_bytes, keep):
        self.path, self.max_bytes, self.keep = pathlib.Path(path), max_bytes, keep
        self._lock = threading.Lock()
        self._file, self._regular, self._torn = None, False, False
        self._missing, self._said = 0, None
        self._open()

    def append(self, text):
        """Appends a line, given without its end; never raises for what the disk does."""
        # A name of a folder may hold bytes that are no text.
        content = text.encode("utf-8", "backslashreplace") + b"\n"
        with self._lock:
            try:
                self._make_room(len(content))
                self._write(content)
            except OSError as error:
                self._missing += 1
                self._say(
                    f"cannot be written ({error.strerror}); requests are answered, and are missing there"
                )
                return
            if self._missing:
                log.error("--audit_log %s is written again; %d lines are missing", self.path, self._missing)
                self._missing, self._said = 0, None

    def close(self):
        with self._lock:
            self._close()

    def _open(self):
        flags = os.O_APPEND | os.O_CREAT | os.O_WRONLY
        self._file = os.open(self.path, flags, 0o600)
        self._regular = stat.S_ISREG(os.fstat(self._file).st_mode)
        self._torn = self._regular and not self._ends_whole()

    def _close(self):
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _ends_whole(self):
        with open(self.path, "rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(size - 1, 0))
            return stream.read() in (b"", b"\n")

    def _make_room(self, size):
        """Makes the file the one of this name, and moves it away when it is full."""
        try:
            there = self._file is not None and os.path.samestat(os.stat(self.path), os.fstat(self._file))
        except FileNotFoundError:
            there = False
        if not there:
            self._close()
            self._open()
        full = self._regular and os.fstat(self._file).st_size + size > self.max_bytes
        if full and os.fstat(self._file).st_size:
            try:
                self._move()
            except OSError as error:  # a file that is too large is better than a line that is missing
                self._say(f"cannot be moved ({error.strerror}), and grows beyond {self.max_bytes:,} bytes")
            if self._file is None:
                self._open()

    def _move(self):
        self._close()
        for number in range(self.keep, 0, -1):
            old = self._numbered(number - 1) if number > 1 else self.path
            with contextlib.suppress(FileNotFoundError):
                os.replace(old, self._numbered(number))

    def _numbered(self, number):
        return self.path.with_name(f"{self.path.name}.{number}")

    def _write(self, content):
        content = b"\n" * self._torn + content
        while content:
            self._torn = True
            content = content[os.write(self._file, content) :]
        self._torn = False

    def _say(self, what):
        if what != self._said:
            self._said = what
            log.error("--audit_log %s %s", self.path, what)
