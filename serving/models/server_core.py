"""The models of a server, and how they change: from flags, from a file that is polled, from
HandleReloadConfigRequest."""

import contextlib
import logging
import pathlib
import threading
import time

import grpc
from tensorflow_serving.config import model_server_config_pb2

from serving.errors import RpcError
from serving.models.config_files import ConfigFileError, read_text
from serving.models.model_manager import STATES, LoadOptions, ModelManager, VersionPolicy

log = logging.getLogger("serving")


class ServerCore:
    """Models by name.

    Args:
        managers: of `ModelManager`, started.
        poll_seconds: for models that are added later.
        on_load, options: as for `ModelManager`.
        any_label: whether a label may name a version that does not serve (yet).

    Attributes:
        listeners: functions that are called without arguments whenever `is_ready` may have changed.
    """

    def __init__(self, managers=(), poll_seconds=1.0, on_load=None, options=None, any_label=False):
        self.managers = {}
        self.poll_seconds = poll_seconds
        self.on_load = on_load
        self.options = options or LoadOptions()
        self.any_label = any_label
        self.listeners = []
        self._configured = self._was_ready = self._stopping = False
        self._stop = threading.Event()
        self._reloading = threading.Lock()
        for manager in managers:
            self.add(manager)

    def add(self, manager):
        """Takes a `ModelManager`, started or not."""
        manager.on_change = self._changed
        self.managers[manager.name] = manager
        self._configured = True

    def is_ready(self):
        """Whether requests can be answered: every model has had a version that serves, and the server is not
        about to end.

        Once that was so, it stays so while any model serves: one that breaks later must not take the others
        out of service.
        """
        if self._stopping or not self._configured:
            return False
        serving = [bool(manager.available()) for manager in list(self.managers.values())]
        self._was_ready = self._was_ready or all(serving)
        return self._was_ready and (any(serving) or not serving)

    def serves(self, spec):
        """Whether a request for what a ModelSpec names would be answered now: its version (any, where it
        names none) is AVAILABLE, and the server is not about to end.

        Raises:
            RpcError: as `lease`, but for a version that does not serve.
        """
        manager, serving = self.manager(spec), self.manager(spec).available()
        if spec.HasField("version"):
            serving = [number for number in serving if number == spec.version.value]
        if spec.HasField("version_label"):
            serving = [number for number in serving if number == manager.labels.get(spec.version_label)]
        return bool(serving) and not self._stopping

    def leave(self):
        """Says to all that ask that the server is about to end; requests are still answered."""
        self._stopping = True
        self._changed()

    def _changed(self):
        for listener in self.listeners:
            listener()

    def stop(self):
        self._stop.set()
        for manager in list(self.managers.values()):
            manager.stop()

    def manager(self, spec):
        """The manager of the model that a ModelSpec names.

        Raises:
            RpcError: INVALID_ARGUMENT without a name, NOT_FOUND for an unknown one; lists the known.
        """
        known = sorted(self.managers)
        if not spec.name:
            raise RpcError.invalid(f"Missing ModelSpec: model_spec.name is empty; this server has {known}.")
        if spec.name not in self.managers:
            message = f"Servable not found for request: Latest({spec.name}); this server has {known}."
            raise RpcError(grpc.StatusCode.NOT_FOUND, message)
        return self.managers[spec.name]

    @contextlib.contextmanager
    def lease(self, spec):
        """The version that a ModelSpec asks for, by number, by label or the latest, while a request is
        answered.

        Raises:
            RpcError: as `manager`; NOT_FOUND for a version that does not serve, INVALID_ARGUMENT for an
                unknown label.
        """
        manager = self.manager(spec)
        number = spec.version.value if spec.HasField("version") else None
        if spec.HasField("version_label"):
            labels = manager.labels
            if spec.version_label not in labels:
                raise RpcError.invalid(
                    f"Unrecognized servable version label: {spec.version_label}; {spec.name} has the labels {labels}."
                )
            number = labels[spec.version_label]
        with manager.lease(number) as version:
            if version is None and manager.is_loading(number):
                states = {n: STATES[state] for n, (state, _) in sorted(manager.states.items())}
                raise RpcError(
                    grpc.StatusCode.UNAVAILABLE,
                    f"{spec.name} is being loaded (versions: {states}); ask again when it is AVAILABLE.",
                )
            if version is None:
                what = f"Latest({spec.name})" if number is None else f"Specific({spec.name}, {number})"
                message = (
                    f"Servable not found for request: {what}; available versions: {manager.available()}."
                )
                raise RpcError(grpc.StatusCode.NOT_FOUND, message)
            yield version

    def reload(self, config):
        """Serves exactly the models of a ModelServerConfig from now on; refused as a whole when a part of it
        is wrong. One that is empty, as a file is for the moment in which it is written, changes nothing.

        Raises:
            RpcError: INVALID_ARGUMENT or FAILED_PRECONDITION; what served before serves on.
        """
        if config.WhichOneof("config") is None:
            log.warning(
                "the configuration is empty; nothing is changed (model_config_list {} serves no model)"
            )
            return
        with self._reloading:
            wanted = {model.name: model for model in check_config(config)}
            built = {}
            for name, model in wanted.items():
                old = self.managers.get(name)
                policy, labels = policy_of(model), dict(model.version_labels)
                if old and old.base_path == pathlib.Path(model.base_path):
                    self._check_labels(model, policy, labels, old)
                    continue
                built[name] = ModelManager(
                    name, model.base_path, self.poll_seconds, policy, labels, self.on_load, self.options
                )
            first = not self._configured
            if first:
                # Who asks while the first models load hears that they do, not that they are unknown.
                for manager in built.values():
                    self.add(manager)
            try:
                for name, manager in built.items():
                    manager.refresh()
                    self._check_labels(wanted[name], manager.policy, manager.labels, manager)
                    _check_successor(self.managers.get(name), manager)
            except Exception:
                if first:
                    self.managers, self._configured = {}, False
                raise
            for name, model in wanted.items():
                if name not in built:
                    self.managers[name].change(policy_of(model), model.version_labels)
            managers = {name: built.get(name) or self.managers[name] for name in wanted}
            gone = [manager for name, manager in self.managers.items() if managers.get(name) is not manager]
            for manager in built.values():
                manager.on_change = self._changed
            self.managers = managers
            for manager in built.values():
                manager.start()
            for manager in gone:
                manager.stop()
            self._configured = True
            self._changed()

    def _check_labels(self, model, policy, labels, manager):
        """A label may name a version that serves, or will by the new policy, so that no request for it ever
        fails."""
        if self.any_label:
            return
        allowed = set(manager.available()) | set(policy.specific or ())
        for label, number in labels.items():
            if number not in allowed:
                raise RpcError(
                    grpc.StatusCode.FAILED_PRECONDITION,
                    f"Requested model {model.name}: version label {label} is for version {number}, which is not available yet; "
                    f"available versions: {manager.available()}.",
                )

    def watch_file(self, path, seconds):
        """Reads a ModelServerConfig file, and again whenever it changes; a wrong one is logged, and the old
        one holds. It is tried again after `LoadOptions.retry_seconds`.

        Args:
            path: text file. seconds: between looks; 0 reads it once.

        Raises:
            ConfigFileError: the first reading failed.
        """
        last = pathlib.Path(path).read_bytes() if pathlib.Path(path).is_file() else None
        try:
            self.reload(read_config(path))
        except RpcError as error:
            raise ConfigFileError(f"--model_config_file {path}: {error}") from None

        def watch():
            nonlocal last
            refused, said, due = None, None, 0.0
            while not self._stop.wait(seconds):
                try:
                    content = pathlib.Path(path).read_bytes()
                    # What it names may come later than the file.
                    if content == last or (content, True) == (refused, time.monotonic() < due):
                        continue
                    refused, due = content, time.monotonic() + self.options.retry_seconds
                    self.reload(read_config(path))
                    last, refused, said = content, None, None
                    log.info("%s was read again; models: %s", path, sorted(self.managers))
                except (OSError, RpcError) as error:
                    if str(error) != said:
                        said = str(error)
                        log.error("%s; the models of before serve on", error)

        if seconds > 0:
            threading.Thread(target=watch, name="watch-config", daemon=True).start()


def _check_successor(old, new):
    """A model that serves is not given up for one that does not.

    Raises:
        RpcError: FAILED_PRECONDITION, with the reasons.
    """
    if old and old is not new and old.available() and not new.available():
        reasons = "; ".join(message for _, message in new.states.values() if message)
        raise RpcError(
            grpc.StatusCode.FAILED_PRECONDITION,
            f"{new.name}: no version in {new.base_path} serves ({reasons or 'there is none'}); that of {old.base_path} serves on.",
        )


def read_config(path):
    """ModelServerConfig from a text file."""
    return read_text(path, model_server_config_pb2.ModelServerConfig(), "model_config_file")


def check_config(config):
    """The ModelConfigs of a ModelServerConfig.

    Raises:
        RpcError: none, an empty or repeated name, a relative or missing base path, or another platform than
            TensorFlow.
    """
    models = list(config.model_config_list.config)
    if config.WhichOneof("config") == "custom_model_config":
        raise RpcError.invalid("custom_model_config is not supported; expected model_config_list.")
    names = [model.name for model in models]
    for model in models:
        where = f"model_config_list, model {model.name!r}"
        if not model.name or names.count(model.name) > 1:
            raise RpcError.invalid(f"{where}: expected a name of its own; found the names {names}.")
        if model.model_platform not in ("", "tensorflow"):
            raise RpcError.invalid(
                f'{where}: model_platform is {model.model_platform!r}; expected "tensorflow".'
            )
        if not pathlib.PurePath(model.base_path).is_absolute():
            raise RpcError.invalid(f"{where}: base_path is {model.base_path!r}; expected an absolute path.")
        if not pathlib.Path(model.base_path).is_dir():
            raise RpcError(
                grpc.StatusCode.FAILED_PRECONDITION,
                f"{where}: base_path {model.base_path} is no folder; expected one with version folders 1, 2 ...",
            )
    return models


def policy_of(model):
    """`VersionPolicy` of a ModelConfig."""
    policy = model.model_version_policy
    kind = policy.WhichOneof("policy_choice")
    if kind == "specific":
        return VersionPolicy(None, tuple(policy.specific.versions))
    if kind == "all":
        return VersionPolicy(None)
    return VersionPolicy(policy.latest.num_versions or 1)
