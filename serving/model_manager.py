"""Versions on disk: finds them, loads the latest, serves the old one until the new one is ready."""

import dataclasses
import logging
import os
import pathlib
import threading

log = logging.getLogger("serving")

START, LOADING, AVAILABLE, UNLOADING, END = 10, 20, 30, 40, 50
"""ModelVersionStatus.State of TensorFlow Serving."""


@dataclasses.dataclass
class Version:
    """A loaded version: its signatures, and their definitions for GetModelMetadata."""

    number: int
    model: object
    signatures: dict
    definitions: dict


class ModelManager:
    """Serves the highest integer-named subfolder of a base path that can be loaded.

    A folder that cannot be loaded (half copied, corrupt) ends in state END with its reason, and is tried again when its
    files change; meanwhile the version before it serves on.

    Args:
        name: model name that clients ask for.
        base_path: folder of version folders.
        poll_seconds: how often the folder is looked at; 0 looks once.
    """

    def __init__(self, name, base_path, poll_seconds=1.0):
        self.name = name
        self.base_path = pathlib.Path(base_path)
        self.poll_seconds = poll_seconds
        self.states = {}
        self._current = None
        self._failed = {}
        self._ignored = set()
        self._lock = threading.Lock()
        self._stop = threading.Event()

    def start(self):
        """Loads what is there, and goes on watching in the background."""
        self.refresh()
        if self.poll_seconds > 0:
            threading.Thread(target=self._watch, name="model-watch", daemon=True).start()
        return self

    def stop(self):
        self._stop.set()

    def current(self):
        """The version that serves, or None."""
        with self._lock:
            return self._current

    def get(self, number):
        """The version with this number if it serves, else None."""
        version = self.current()
        return version if version and version.number == number else None

    def refresh(self):
        """Looks at the folder once; loads the latest version that can be loaded if it is not the one that serves."""
        current = self.current()
        found = self._versions()
        for number in sorted(found, reverse=True):
            if current and number == current.number:
                break
            if self._load(number, found[number]):
                break
        current = self.current()
        if current and current.number not in found:
            # Removing the folder of the serving version, and having no other, unloads it: as TF Serving does.
            with self._lock:
                self._current = None
            self._set(current.number, END)

    def _watch(self):
        while not self._stop.wait(self.poll_seconds):
            try:
                self.refresh()
            except OSError as error:
                log.warning("%s: %s; trying again", self.base_path, error)

    def _versions(self):
        found = {}
        try:
            entries = sorted(self.base_path.iterdir())
        except FileNotFoundError:
            return found
        for path in entries:
            if path.is_dir() and path.name.isdecimal() and path.name.isascii():
                found[int(path.name)] = path
            elif path.name not in self._ignored and not path.name.startswith("."):
                self._ignored.add(path.name)
                log.warning("%s is not a version (a folder with an integer name); it is ignored", path)
        return found

    def _load(self, number, path):
        fingerprint = _fingerprint(path)
        if self._failed.get(number) == fingerprint:
            return False
        self._set(number, LOADING)
        try:
            version = load_version(number, path)
        except Exception as error:  # whatever TensorFlow raises for a broken folder: the old version must serve on
            self._failed[number] = fingerprint
            self._set(number, END, f"{path}: cannot be loaded: {error}")
            log.error("version %d of %s cannot be loaded from %s: %s", number, self.name, path, error)
            return False
        self._failed.pop(number, None)
        with self._lock:
            old, self._current = self._current, version
        self._set(number, AVAILABLE)
        log.info("version %d of %s is available", number, self.name)
        if old:
            self._set(old.number, END)
        return True

    def _set(self, number, state, message=""):
        with self._lock:
            self.states[number] = (state, message)


def load_version(number, path):
    """Loads a SavedModel folder as a `Version`, and warms it up.

    Raises:
        OSError, ValueError or a TensorFlow error when the folder is not a whole SavedModel.
    """
    import tensorflow as tf
    from tensorflow.core.protobuf import saved_model_pb2

    from serving.warmup import replay

    proto = saved_model_pb2.SavedModel()
    proto.ParseFromString((path / "saved_model.pb").read_bytes())
    definitions = {
        name: definition for name, definition in proto.meta_graphs[0].signature_def.items() if not name.startswith("__saved_model")
    }
    model = tf.saved_model.load(os.fspath(path))
    signatures = dict(model.signatures)
    count = replay(path, signatures, definitions)
    log.info("%s: %d warm-up requests", path, count)
    return Version(number, model, signatures, definitions)


def _fingerprint(path):
    return sorted((str(p.relative_to(path)), p.stat().st_size, p.stat().st_mtime_ns) for p in path.rglob("*") if p.is_file())
