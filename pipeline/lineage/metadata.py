"""Lineage on ML Metadata: every artifact, execution and run, in one SQLite file.

Walks go by events and ids; `filter_query` does not exist in ML Metadata 1.21.

Paths inside the database's folder, which is `run.root`, are kept relative to it, so that the folder may be
moved. In texts, such as a stage's summary, `ROOT` stands for it. Records of older versions have absolute
paths; where such a path is gone, the artifact is looked for at its place under the present folder.
"""

import logging
import os
import pathlib
import platform
import sqlite3
import time

from ml_metadata.errors import StatusError
from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb

from pipeline.errors import MetadataError
from pipeline.orchestration.artifacts import TYPES
from pipeline.orchestration.cache import is_whole

LOG = logging.getLogger(__name__)
RUN_TYPE = "PipelineRun"
STATES = pb.Execution.State
INPUT, OUTPUT = pb.Event.INPUT, pb.Event.OUTPUT
ROOT = "{run.root}"


class _NamedErrors:
    """A `MetadataStore` whose errors name the file. It waits half a minute for another writer before it gives
    up."""

    def __init__(self, store, path):
        self._store, self._path = store, path

    def __getattr__(self, name):
        method = getattr(self._store, name)

        def call(*arguments, **options):
            try:
                return method(*arguments, **options)
            except StatusError as error:
                what = str(error).partition("\n")[0][:300]
                raise MetadataError(
                    f"{self._path}: {name} failed ({what}). Nothing was recorded; see whether another program "
                    "holds the file, the disk is full or the folder read-only, and run the same command again."
                ) from error

        return call


class Metadata:
    """A metadata store.

    Args:
        path: SQLite file; its folder is made.

    Raises:
        MetadataError: the file is not a metadata database, or cannot be opened; every method raises it when
            the file cannot be read or written.
    """

    def __init__(self, path):
        path = pathlib.Path(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MetadataError(
                f"{path.parent}: cannot be made ({error.strerror}). Name a folder that can be written."
            ) from None
        self.root = path.parent.resolve()
        self._found = {}
        _refuse_foreign(path)
        config = pb.ConnectionConfig()
        config.sqlite.filename_uri = str(path)
        try:
            self.store = _NamedErrors(MetadataStore(config), path)
            self._artifact_types = {
                name: self.store.put_artifact_type(
                    pb.ArtifactType(name=name), can_add_fields=True, can_omit_fields=True
                )
                for name in TYPES
            }
            self._run_type = self.store.put_context_type(
                pb.ContextType(name=RUN_TYPE), can_add_fields=True, can_omit_fields=True
            )
        except (StatusError, RuntimeError) as error:
            if "database version" in str(error):
                raise MetadataError(
                    f"{path}: written by another version of ML Metadata ({str(error).partition('. ')[0]}). Use the ml-metadata that wrote "
                    "it, or begin anew in another run.root; nothing was changed."
                ) from None
            raise MetadataError(f"{path}: cannot be opened ({error}). Is the folder read-only?") from None

    def start_run(self, name, kind=RUN_TYPE, **properties):
        """Records a run; returns its context. `runs` lists those of the pipeline, no other kind."""
        type_id = self._run_type
        if kind != RUN_TYPE:
            type_id = self.store.put_context_type(
                pb.ContextType(name=kind), can_add_fields=True, can_omit_fields=True
            )
        context = pb.Context(type_id=type_id, name=name)
        here = {"process": os.getpid(), "host": platform.node()}
        _set(context.custom_properties, {"started": time.time(), "state": "running", **here, **properties})
        [context.id] = self.store.put_contexts([context])
        return context

    def end_run(self, run, state, **properties):
        """Records how a run ended: `complete`, `stopped`, `failed` or `interrupted`."""
        _set(run.custom_properties, {"ended": time.time(), "state": state, **properties})
        self.store.put_contexts([run])

    def runs(self):
        """Contexts of all runs, oldest first."""
        return sorted(self.store.get_contexts_by_type(RUN_TYPE), key=lambda run: run.id)

    def put_execution(self, component, run, inputs, outputs, state, **properties):
        """Records an execution with its events; sets the ids of new output artifacts.

        Args:
            component: name. run: context. inputs, outputs: dictionaries of name to `Artifact`. state: name of
                an
            `Execution.State`. properties: further facts.
        """
        type_id = self.store.put_execution_type(
            pb.ExecutionType(name=component), can_add_fields=True, can_omit_fields=True
        )
        execution = pb.Execution(type_id=type_id, last_known_state=STATES.Value(state))
        _set(execution.custom_properties, {name: self._kept(value) for name, value in properties.items()})
        pairs = []
        for direction, artifacts in ((INPUT, inputs), (OUTPUT, outputs)):
            for name, artifact in artifacts.items():
                event = pb.Event(type=direction)
                event.path.steps.add(key=name)
                pairs.append((self._proto(artifact), event))
        execution_id, ids, _ = self.store.put_execution(execution, pairs, [run])
        for artifact, id in zip([*inputs.values(), *outputs.values()], ids):
            artifact.id = id
        return execution_id

    def _proto(self, artifact):
        proto = pb.Artifact(
            type_id=self._artifact_types[artifact.type_name()], uri=self._relative(artifact.path)
        )
        if artifact.id:
            return self.store.get_artifacts_by_id([artifact.id])[0]
        proto.state = pb.Artifact.LIVE
        facts = {name: self._kept(value) for name, value in artifact.properties.items()}
        _set(proto.custom_properties, {**facts, "digest": artifact.digest})
        return proto

    def _relative(self, path):
        path = pathlib.Path(path)
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else str(path)

    def _resolved(self, path, uri):
        """A recorded path as it is today; `uri` is that of its artifact, which an older version wrote as
        ROOT/artifacts/COMPONENT/KEY-N/OUTPUT."""
        here, old = self.root / path, pathlib.PurePath(uri)  # an absolute one stays
        if (
            here.is_dir()
            or not old.is_absolute()
            or len(old.parts) < 5
            or not here.is_relative_to(old.parents[3])
        ):
            return here
        moved = self.root / here.relative_to(old.parents[3])
        return moved if moved.is_dir() else here

    def _kept(self, value):
        return value.replace(f"{self.root}{os.sep}", f"{ROOT}{os.sep}") if isinstance(value, str) else value

    def facts(self, message):
        """Properties of an execution or run as plain values, with the paths of today."""
        return {
            name: value.replace(ROOT, str(self.root)) if isinstance(value, str) else value
            for name, value in _get(message).items()
        }

    def state(self, run):
        """`running`, `complete`, `stopped`, `failed`, `interrupted`; or `killed`: it never said how it ended,
        and its process is gone."""
        facts = _get(run)
        if (
            facts.get("state") == "running"
            and facts.get("host") == platform.node()
            and not _alive(facts.get("process", 0))
        ):
            return "killed"
        return facts.get("state", "unknown")

    def find_cached(self, component, key):
        """The newest of `with_key`, or None."""
        return next(self.with_key(component, key), None)

    def with_key(self, component, key):
        """(execution, its outputs) of each complete execution with this key, newest first."""
        for execution in self._newest(component):
            if (
                execution.last_known_state == pb.Execution.COMPLETE
                and _get(execution).get("cache_key") == key
            ):
                yield execution, self.artifacts_of(execution.id, OUTPUT)

    def _newest(self, component):
        return sorted(self.store.get_executions_by_type(component), key=lambda execution: -execution.id)

    def artifacts_of(self, execution_id, direction):
        """Artifacts of an execution by the name they had there; direction is `INPUT` or `OUTPUT`."""
        events = [e for e in self.store.get_events_by_execution_ids([execution_id]) if e.type == direction]
        by_id = {a.id: self.load(a) for a in self.store.get_artifacts_by_id([e.artifact_id for e in events])}
        return {event.path.steps[0].key: by_id[event.artifact_id] for event in events}

    def load(self, proto):
        """`Artifact` of a stored one."""
        properties = self.facts(proto)
        digest = properties.pop("digest", None)
        if "destination" in properties:
            properties["destination"] = str(self._resolved(properties["destination"], proto.uri))
        return TYPES[proto.type](self._resolved(proto.uri, proto.uri), proto.id, digest, properties)

    def all_artifacts(self, type_name=None):
        """Artifacts of a type, or all, oldest first."""
        protos = self.store.get_artifacts_by_type(type_name) if type_name else self.store.get_artifacts()
        return [self.load(proto) for proto in sorted(protos, key=lambda proto: proto.id)]

    def descendants(self, artifact_id):
        """Artifacts made from one, directly or not, oldest first."""
        seen, queue = set(), [artifact_id]
        while queue:
            events = self.store.get_events_by_artifact_ids([queue.pop()])
            executions = {event.execution_id for event in events if event.type == INPUT}
            made = self.store.get_events_by_execution_ids(list(executions)) if executions else []
            new = {event.artifact_id for event in made if event.type == OUTPUT} - seen
            seen |= new
            queue += new
        return [
            self.load(proto)
            for proto in sorted(self.store.get_artifacts_by_id(list(seen)), key=lambda proto: proto.id)
        ]

    def executions(self, run):
        """Executions of a run, in order."""
        return sorted(self.store.get_executions_by_context(run.id), key=lambda execution: execution.id)

    def latest(self, component, output, other_than):
        """Newest output of a component whose content differs from `other_than` and is on disk as it was
        written, or None."""
        for execution in self._newest(component):
            artifact = self.artifacts_of(execution.id, OUTPUT).get(output)
            if artifact and artifact.digest != other_than and self._usable(artifact):
                return artifact
        return None

    def latest_blessed(self, evaluator, other_than):
        """Evaluation of the newest blessed model whose content differs from `other_than`, or None; as for
        `latest`."""
        for execution in self._newest(evaluator):
            if execution.last_known_state != pb.Execution.COMPLETE:
                continue
            outputs = self.artifacts_of(execution.id, OUTPUT)
            model = self.artifacts_of(execution.id, INPUT).get("model")
            blessed = outputs["blessing"].properties.get("blessed")
            if model and model.digest != other_than and blessed and self._usable(outputs["evaluation"]):
                return outputs["evaluation"]
        return None

    def _usable(self, artifact):
        """Whether an earlier artifact is on disk as it was written; a note says if not, once."""
        if artifact.id not in self._found:
            self._found[artifact.id] = is_whole(artifact)
            if not self._found[artifact.id]:
                kind = artifact.type_name()
                LOG.info(
                    "      note: %s of an earlier run changed or gone, and not compared with: %s",
                    kind,
                    artifact.path,
                )
        return self._found[artifact.id]

    def ancestors(self, artifact_id):
        """Lineage of an artifact: list of (artifact, producing execution or None, names and ids of its
        inputs), nearest first."""
        seen, queue, lineage = set(), [artifact_id], []
        while queue:
            current = queue.pop(0)
            if current in seen:
                continue
            seen.add(current)
            [proto] = self.store.get_artifacts_by_id([current])
            events = [e for e in self.store.get_events_by_artifact_ids([current]) if e.type == OUTPUT]
            execution, inputs = None, {}
            if events:
                # The first execution made it; later ones took it from the cache.
                first = min(events, key=lambda event: event.execution_id)
                [execution] = self.store.get_executions_by_id([first.execution_id])
                inputs = {name: a.id for name, a in self.artifacts_of(execution.id, INPUT).items()}
            lineage.append((self.load(proto), execution, inputs))
            queue += inputs.values()
        return lineage


def properties(message):
    """Custom properties of an execution or run as plain values."""
    return _get(message)


def state_name(execution):
    """`COMPLETE`, `CACHED`, `FAILED`, `CANCELED` (by Ctrl-C)."""
    return STATES.Name(execution.last_known_state)


def _refuse_foreign(path):
    """Raises `MetadataError` for a file that is no database of ours: ML Metadata would write its tables into
    any SQLite file."""
    if not path.exists() or not path.stat().st_size:
        return
    expected = "expected the metadata of earlier runs, or no file. Name another or move it."
    with open(path, "rb") as file:
        if file.read(16) != b"SQLite format 3\0":
            raise MetadataError(f"{path}: not an SQLite database; {expected}")
    try:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=30)
        try:
            tables = {
                name for [name] in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            }
        finally:
            connection.close()
    except sqlite3.Error:
        return  # locked or damaged: ML Metadata waits, and says what it is
    if tables and not tables & {"MLMDEnv", "Type", "Artifact"}:
        raise MetadataError(
            f"{path}: an SQLite database of something else (tables {sorted(tables)[:5]}); {expected}"
        )


def _alive(process):
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # somebody else's
    return process > 0


def _set(target, values):
    for name, value in values.items():
        if isinstance(value, bool) or isinstance(value, int):
            target[name].int_value = int(value)
        elif isinstance(value, float):
            target[name].double_value = value
        else:
            target[name].string_value = str(value)


def _get(message):
    return {
        name: getattr(value, value.WhichOneof("value")) for name, value in message.custom_properties.items()
    }
