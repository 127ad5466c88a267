"""Lineage on ML Metadata: every artifact, execution and run, in one SQLite file.

Walks go by events and ids; `filter_query` does not exist in ML Metadata 1.21.
"""

import pathlib
import time

from ml_metadata.errors import StatusError
from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb

from pipeline.errors import MetadataError
from pipeline.orchestration.artifacts import TYPES

RUN_TYPE = "PipelineRun"
STATES = pb.Execution.State
INPUT, OUTPUT = pb.Event.INPUT, pb.Event.OUTPUT


class _NamedErrors:
    """A `MetadataStore` whose errors name the file. It waits half a minute for another writer before it gives up."""

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
        MetadataError: the file is not a metadata database, or cannot be opened; every method raises it when the file cannot be read or written.
    """

    def __init__(self, path):
        path = pathlib.Path(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MetadataError(f"{path.parent}: cannot be made ({error.strerror}). Name a folder that can be written.") from None
        if path.exists() and path.stat().st_size and path.read_bytes()[:16] != b"SQLite format 3\0":
            raise MetadataError(
                f"{path}: not an SQLite database; expected the metadata of earlier runs, or no file. Name another or move it."
            )
        config = pb.ConnectionConfig()
        config.sqlite.filename_uri = str(path)
        try:
            self.store = _NamedErrors(MetadataStore(config), path)
            self._artifact_types = {
                name: self.store.put_artifact_type(pb.ArtifactType(name=name), can_add_fields=True, can_omit_fields=True)
                for name in TYPES
            }
            self._run_type = self.store.put_context_type(pb.ContextType(name=RUN_TYPE), can_add_fields=True, can_omit_fields=True)
        except (StatusError, RuntimeError) as error:
            raise MetadataError(f"{path}: cannot be opened ({error}). Is the folder read-only?") from None

    def start_run(self, name, **properties):
        """Records a run; returns its context."""
        context = pb.Context(type_id=self._run_type, name=name)
        _set(context.custom_properties, {"started": time.time(), "state": "running", **properties})
        [context.id] = self.store.put_contexts([context])
        return context

    def end_run(self, run, state, **properties):
        _set(run.custom_properties, {"ended": time.time(), "state": state, **properties})
        self.store.put_contexts([run])

    def runs(self):
        """Contexts of all runs, oldest first."""
        return sorted(self.store.get_contexts_by_type(RUN_TYPE), key=lambda run: run.id)

    def put_execution(self, component, run, inputs, outputs, state, **properties):
        """Records an execution with its events; sets the ids of new output artifacts.

        Args:
            component: name. run: context. inputs, outputs: dictionaries of name to `Artifact`. state: name of an
            `Execution.State`. properties: further facts.
        """
        type_id = self.store.put_execution_type(pb.ExecutionType(name=component), can_add_fields=True, can_omit_fields=True)
        execution = pb.Execution(type_id=type_id, last_known_state=STATES.Value(state))
        _set(execution.custom_properties, properties)
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
        proto = pb.Artifact(type_id=self._artifact_types[artifact.type_name()], uri=str(artifact.path))
        if artifact.id:
            return self.store.get_artifacts_by_id([artifact.id])[0]
        proto.state = pb.Artifact.LIVE
        _set(proto.custom_properties, {**artifact.properties, "digest": artifact.digest})
        return proto

    def find_cached(self, component, key):
        """Outputs and properties of the newest complete execution with this key: (execution, outputs) or None."""
        for execution in self._newest(component):
            if execution.last_known_state == pb.Execution.COMPLETE and _get(execution).get("cache_key") == key:
                return execution, self.artifacts_of(execution.id, OUTPUT)
        return None

    def _newest(self, component):
        return sorted(self.store.get_executions_by_type(component), key=lambda execution: -execution.id)

    def artifacts_of(self, execution_id, direction):
        """Artifacts of an execution by the name they had there; direction is `INPUT` or `OUTPUT`."""
        events = [e for e in self.store.get_events_by_execution_ids([execution_id]) if e.type == direction]
        by_id = {a.id: self.load(a) for a in self.store.get_artifacts_by_id([e.artifact_id for e in events])}
        return {event.path.steps[0].key: by_id[event.artifact_id] for event in events}

    def load(self, proto):
        """`Artifact` of a stored one."""
        properties = _get(proto)
        digest = properties.pop("digest", None)
        return TYPES[proto.type](proto.uri, proto.id, digest, properties)

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
        return [self.load(proto) for proto in sorted(self.store.get_artifacts_by_id(list(seen)), key=lambda proto: proto.id)]

    def executions(self, run):
        """Executions of a run, in order."""
        return sorted(self.store.get_executions_by_context(run.id), key=lambda execution: execution.id)

    def latest(self, component, output, other_than):
        """Newest output of a component whose content differs from `other_than`, or None."""
        for execution in self._newest(component):
            artifact = self.artifacts_of(execution.id, OUTPUT).get(output)
            if artifact and artifact.digest != other_than and artifact.path.is_dir():
                return artifact
        return None

    def latest_blessed(self, evaluator, other_than):
        """Evaluation of the newest blessed model whose content differs from `other_than`, or None."""
        for execution in self._newest(evaluator):
            if execution.last_known_state != pb.Execution.COMPLETE:
                continue
            outputs = self.artifacts_of(execution.id, OUTPUT)
            model = self.artifacts_of(execution.id, INPUT).get("model")
            if (
                model
                and model.digest != other_than
                and outputs["blessing"].properties.get("blessed")
                and outputs["evaluation"].path.is_dir()
            ):
                return outputs["evaluation"]
        return None

    def ancestors(self, artifact_id):
        """Lineage of an artifact: list of (artifact, producing execution or None, names and ids of its inputs), nearest first."""
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
    """`COMPLETE`, `CACHED`, `FAILED`."""
    return STATES.Name(execution.last_known_state)


def _set(target, values):
    for name, value in values.items():
        if isinstance(value, bool) or isinstance(value, int):
            target[name].int_value = int(value)
        elif isinstance(value, float):
            target[name].double_value = value
        else:
            target[name].string_value = str(value)


def _get(message):
    return {name: getattr(value, value.WhichOneof("value")) for name, value in message.custom_properties.items()}
