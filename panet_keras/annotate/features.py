"""Encoder features that are kept, so that a picture is encoded once and a correction costs the decoder alone."""

import collections
import pathlib
import shutil
import threading

import numpy as np

from panet_keras.files import write_whole

MEMORY_BYTES = 256 << 20
DISK_BYTES = 4 << 30


class Features:
    """A picture's features, float16, in memory (the last used) and on disk.

    Args:
        folder: for the files; those of other models in it are deleted.
        digest: of the model and its size: features of another are no use.
        memory: bytes that are kept in memory. disk: bytes on disk, beyond which nothing is written.
    """

    def __init__(self, folder, digest, memory=MEMORY_BYTES, disk=DISK_BYTES):
        self._folder = pathlib.Path(folder) / digest
        if self._folder.parent.is_dir():
            for other in self._folder.parent.iterdir():
                if other != self._folder:
                    shutil.rmtree(other, ignore_errors=True)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._memory, self._disk = memory, disk
        self._written = sum(path.stat().st_size for path in self._folder.iterdir())
        self._kept, self._bytes, self._lock = collections.OrderedDict(), 0, threading.Lock()

    def get(self, identifier):
        """float16 [n], or None."""
        with self._lock:
            if identifier in self._kept:
                self._kept.move_to_end(identifier)
                return self._kept[identifier]
        try:
            found = np.frombuffer((self._folder / identifier).read_bytes(), np.float16)
        except OSError:
            return None
        self._keep(identifier, found)
        return found

    def has(self, identifier):
        """Whether `get` will find it, without reading it."""
        with self._lock:
            if identifier in self._kept:
                return True
        return (self._folder / identifier).exists()

    def put(self, identifier, features):
        """Keeps float16 [n]; a full disk keeps it in memory alone."""
        self._keep(identifier, features)
        if self._written + features.nbytes <= self._disk:
            try:
                write_whole(self._folder / identifier, features.tobytes())
                self._written += features.nbytes
            except OSError:
                self._disk = 0  # full: what is there stays of use

    def _keep(self, identifier, features):
        with self._lock:
            if identifier not in self._kept:
                self._kept[identifier] = features
                self._bytes += features.nbytes
            while self._bytes > self._memory and len(self._kept) > 1:
                self._bytes -= self._kept.popitem(last=False)[1].nbytes
