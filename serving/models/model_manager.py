"""The versions of one model on disk: finds them, loads what the policy asks for, serves the old until the new
is ready."""

import contextlib
import dataclasses
import json
import logging
import math
import os
import pathlib
import threading
import time
import typing

from serving.models import memory

log = logging.getLogger("serving")

START, LOADING, AVAILABLE, UNLOADING, END = 10, 20, 30, 40, 50
"""ModelVersionStatus.State of TensorFlow Serving."""
STATES = {START: "START", LOADING: "LOADING", AVAILABLE: "AVAILABLE", UNLOADING: "UNLOADING", END: "END"}


@dataclasses.dataclass(frozen=True)
class VersionPolicy:
    """Which versions serve, as ModelVersionPolicy: the `latest` n, `specific` numbers, or all when both are
    None."""

    latest: int | None = 1
    specific: tuple | None = None

    def candidates(self, found):
        """Numbers to load, most wanted first."""
        numbers = sorted(found, reverse=True)
        return [n for n in numbers if n in self.specific] if self.specific is not None else numbers


@dataclasses.dataclass(frozen=True)
class LoadOptions:
    """How a version is loaded.

    Attributes:
        tags: of the graph in the SavedModel. warm_up: whether its warm-up requests are replayed, and
            `iterations`: how often.
        retries: how often a load that failed is tried again while its files stay as they are, and
            `retry_seconds`: how long after the last try.
        check: called with the folder before anything in it is read; raises for one that must not be served
            (`serving.models.signatures.SignatureCheck`).
    """

    tags: tuple = ("serve",)
    warm_up: bool = True
    iterations: int = 1
    retries: int = 0
    retry_seconds: float = 60.0
    check: typing.Callable | None = None


@dataclasses.dataclass(frozen=True)
class Failure:
    """A load that failed: what lay in the folder, how many tries there were, and the `time.monotonic()` of
    the next (infinity: none unless the files change)."""

    fingerprint: list
    tries: int
    due: float


@dataclasses.dataclass
class Version:
    """A loaded version: its signatures, and their definitions for GetModelMetadata.

    Attributes:
        fingerprint: digest of the weights, as `assets.extra/panet.json` has it; empty where that is missing.
        supports: named support sets (`serving.models.support_sets`), by name: what its files were when it was
            read, its state, digests of its pictures. `refused`: what was wrong with others.
        requests: how many are being answered; it unloads after the last.
    """

    number: int
    model: object
    signatures: dict
    definitions: dict
    fingerprint: str = ""
    supports: dict = dataclasses.field(default_factory=dict)
    refused: dict = dataclasses.field(default_factory=dict)
    requests: int = 0

    @property
    def image_size(self):
        """(height, width) to which `segment_encoded` brings pictures, from its static shape; None where it
        does not say."""
        definition = self.definitions.get("segment_encoded")
        if definition is None:
            return None
        size = tuple(dim.size for dim in definition.outputs["probabilities"].tensor_shape.dim[2:4])
        return size if len(size) == 2 and min(size) > 0 else None


class ModelManager:
    """Serves subfolders with integer names of a base path.

    A folder that cannot be loaded (half copied, corrupt) is tried again when its files change, and as often
    as `LoadOptions.retries` says when they do not. Between the tries its state is LOADING with the reason,
    after the last END; meanwhile the version before it serves on, also where the policy asks for one latest
    version only.

    Args:
        name: model name that clients ask for.
        base_path: folder of version folders.
        poll_seconds: how often the folder is looked at; 0 looks once.
        policy: `VersionPolicy`.
        labels: dictionary of version label to number.
        on_load: called with each `Version` before it is AVAILABLE (an error is a failed load), and again at
            every look.
        options: `LoadOptions`.

    Attributes:
        states: dictionary of version number to (state, message).
        on_change: called without arguments after a version became AVAILABLE or ended.
    """

    def __init__(
        self, name, base_path, poll_seconds=1.0, policy=None, labels=None, on_load=None, options=None
    ):
        self.name = name
        self.base_path = pathlib.Path(base_path)
        self.poll_seconds = poll_seconds
        self.policy = policy or VersionPolicy()
        self.labels = dict(labels or {})
        self.on_load = on_load
        self.options = options or LoadOptions()
        self.on_change = None
        self.states = {}
        self._looked = self._changed_since = False
        self._next_labels = self.labels
        self._trouble = None
        self._serving = {}
        self._failed = {}
        self._ignored = set()
        self._lock = threading.Lock()
        self._refreshing = threading.Lock()
        self._stop = threading.Event()

    def start(self):
        """Loads what is there, and goes on watching in the background."""
        self.refresh()
        if self._pause() is not None:
            threading.Thread(target=self._watch, name=f"watch-{self.name}", daemon=True).start()
        return self

    def stop(self):
        """Ends the watch; versions unload after their last request."""
        self._stop.set()
        for number in list(self._serving):
            self._unload(number)

    def change(self, policy, labels):
        """Takes another policy and other labels, as `__init__` does, and looks at the folder.

        A label moves once its new version serves and before its old one unloads, so that no request for it fails.
        """
        with self._refreshing:
            self.policy, self._next_labels = policy, dict(labels)
        self.refresh()

    def available(self):
        """Numbers that serve, latest first."""
        with self._lock:
            return sorted(self._serving, reverse=True)

    def current(self):
        """The latest version that serves, or None."""
        with self._lock:
            return self._serving[max(self._serving)] if self._serving else None

    @contextlib.contextmanager
    def lease(self, number=None):
        """The version of this number (None: the latest) while a request is answered, or None where it does
        not serve."""
        with self._lock:
            wanted = max(self._serving, default=None) if number is None else number
            version = self._serving.get(wanted)
            if version:
                version.requests += 1
        try:
            yield version
        finally:
            if version:
                with self._lock:
                    version.requests -= 1
                    if not version.requests and self.states[version.number][0] == UNLOADING:
                        self.states[version.number] = (END, "")
                        self._changed_since = True

    def is_loading(self, number=None):
        """Whether the version of this number (None: any) is on its way, so that asking again later makes
        sense."""
        with self._lock:
            states = self.states.values() if number is None else [self.states.get(number, (END, ""))]
            return not self._looked or any(state in (START, LOADING) for state, _ in states)

    def known(self):
        """(state, message) of each version by number; before the first look all that it will load are in
        START."""
        with self._lock:
            states = dict(self.states)
        if not states and not self._looked:
            with contextlib.suppress(OSError):
                found = self._versions()
                states = {n: (START, "") for n in self.policy.candidates(found)[: self._limit(found)]}
        return states

    def _limit(self, found):
        return self.policy.latest if self.policy.specific is None and self.policy.latest else len(found)

    def refresh(self):
        """Looks at the folder once, loads what the policy wants and unloads what it no longer does.

        A folder that is away for a moment, as one of the network may be, unloads nothing.

        Raises:
            OSError: the first look failed, for another reason than that there is no folder.
        """
        with self._refreshing:
            try:
                found = self._versions()
            except OSError as error:
                if not self._looked and not isinstance(error, FileNotFoundError):
                    raise
                self._looked = True
                return self._say(f"{error}; the versions of {self.name} that serve stay")
            self._trouble = None
            limit = self._limit(found)
            kept, tried = set(), set()
            for number in self.policy.candidates(found)[:limit]:
                if number not in self.states:
                    self._set(number, START)
            for number in self.policy.candidates(found):
                if len(kept) < limit:
                    tried.add(number)
                    if number in self._serving or self._load(number, found[number]):
                        kept.add(number)
            for number in self._failed.keys() - tried:
                # Gone, or nobody wants it any more.
                del self._failed[number]
                self._set(number, END, self.states[number][1])
            self.labels = self._moved_labels()
            for number in self.available():
                # A version whose folder is gone unloads, as one does that the policy no longer wants once
                # another serves.
                if number not in found or (number not in kept and kept):
                    self._unload(number)
            if self.on_load:
                for version in list(self._serving.values()):
                    self.on_load(version)
            self._looked = True
            if self._changed_since:
                self._changed_since = False
                memory.give_back()
        self._changed()

    def _moved_labels(self):
        """The labels that are wanted; one for a version of the policy that cannot be loaded stays where it is
        while that serves."""
        coming = set(self.policy.specific or ()) - self._serving.keys()
        kept = {
            label: self.labels[label]
            for label, number in self._next_labels.items()
            if number in coming and self.labels.get(label) in self._serving
        }
        return self._next_labels | kept

    def _say(self, trouble):
        """Logs what is wrong with the folder, once as long as it is the same."""
        if trouble != self._trouble:
            self._trouble = trouble
            log.error("%s; it is looked at again", trouble)

    def _pause(self):
        """Seconds until the folder is looked at again; None: never."""
        waits = [self.poll_seconds] if self.poll_seconds > 0 else []
        due = min((failure.due for failure in list(self._failed.values())), default=math.inf)
        if due < math.inf:
            waits.append(max(0.0, due - time.monotonic()))
        return min(waits, default=None)

    def _watch(self):
        while (pause := self._pause()) is not None and not self._stop.wait(pause):
            try:
                self.refresh()
            except Exception as error:  # whatever it was, new versions must be seen later
                self._say(f"{self.base_path}: {type(error).__name__}: {error}")

    def _versions(self):
        found = {}
        for path in sorted(self.base_path.iterdir()):
            if _is_number(path.name) and path.is_dir():
                found[int(path.name)] = path
            elif path.name not in self._ignored and not path.name.startswith("."):
                self._ignored.add(path.name)
                log.warning("%s is not a version (a folder with an integer name); it is ignored", path)
        return found

    def _load(self, number, path):
        fingerprint = _fingerprint(path)
        failed = self._failed.get(number)
        tries = failed.tries if failed and failed.fingerprint == fingerprint else 0
        if tries and time.monotonic() < failed.due:
            return False
        self._set(number, LOADING)
        self._changed_since = True
        try:
            version = load_version(number, path, self.options)
            if self.on_load:
                self.on_load(version)
        except (
            Exception
        ) as error:  # whatever TensorFlow raises for a broken folder: the old version must serve on
            again = tries < self.options.retries
            due = time.monotonic() + self.options.retry_seconds if again else math.inf
            self._failed[number] = Failure(fingerprint, tries + 1, due)
            then = "tried again when its files change"
            if again:
                of = f"{tries + 1} of {self.options.retries}"
                then = f"tried again in {self.options.retry_seconds:g} s ({of}), or when its files change"
            self._set(number, LOADING if again else END, f"{path}: cannot be loaded: {error}; {then}")
            log.error(
                "version %d of %s cannot be loaded from %s: %s; %s", number, self.name, path, error, then
            )
            return False
        self._failed.pop(number, None)
        with self._lock:
            self._serving[number] = version
            self.states[number] = (AVAILABLE, "")
        log.info("version %d of %s is available", number, self.name)
        self._changed()
        return True

    def _unload(self, number):
        with self._lock:
            version = self._serving.pop(number)
            self.states[number] = (UNLOADING if version.requests else END, "")
            self._changed_since = True
        log.info("version %d of %s is unloaded", number, self.name)
        self._changed()

    def _changed(self):
        if self.on_change:
            self.on_change()

    def _set(self, number, state, message=""):
        with self._lock:
            self.states[number] = (state, message)


def load_version(number, path, options):
    """Loads a SavedModel folder as a `Version`, and warms it up.

    Args:
        number: of the version. path: `pathlib.Path` of its folder. options: `LoadOptions`.

    Raises:
        OSError, ValueError or a TensorFlow error when the folder is not a whole SavedModel, or not one that
            `options.check` lets pass.
    """
    import tensorflow as tf
    from tensorflow.core.protobuf import saved_model_pb2

    from serving.models.warmup import replay

    if options.check:
        options.check(path)
    proto = saved_model_pb2.SavedModel()
    proto.ParseFromString((path / "saved_model.pb").read_bytes())
    graphs = {tuple(sorted(graph.meta_info_def.tags)): graph for graph in proto.meta_graphs}
    graph = graphs.get(tuple(sorted(options.tags)))
    if graph is None:
        raise ValueError(
            f"no graph with the tags {sorted(options.tags)}; this SavedModel has {sorted(map(list, graphs))}"
        )
    definitions = {
        name: definition
        for name, definition in graph.signature_def.items()
        if not name.startswith("__saved_model")
    }
    model = tf.saved_model.load(os.fspath(path), list(options.tags))
    signatures = dict(model.signatures)
    if options.warm_up:
        count = sum(replay(path, signatures, definitions) for _ in range(options.iterations))
        log.info("%s: %d warm-up requests", path, count)
    return Version(number, model, signatures, definitions, read_fingerprint(path))


def read_fingerprint(path):
    """`model_version` of a SavedModel folder's `assets.extra/panet.json`; empty where it does not say."""
    try:
        return json.loads((path / "assets.extra" / "panet.json").read_text("utf-8")).get("model_version", "")
    except (OSError, ValueError):
        return ""


def _is_number(name):
    """Whether a folder's name is a version that the messages can hold, an int64."""
    return name.isascii() and name.isdecimal() and len(name) < 20 and int(name) < 2**63


def _fingerprint(path):
    """What changes when the files of a folder do."""
    found = []
    for place, _, names in os.walk(path):
        for name in names:
            file = os.path.join(place, name)
            # A file on its way to another name is gone between two looks.
            with contextlib.suppress(FileNotFoundError):
                there = os.stat(file)
                found.append((os.path.relpath(file, path), there.st_size, there.st_mtime_ns))
    return sorted(found)
