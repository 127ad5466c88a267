"""Runs a pipeline on this machine: cache, temporary directories, lineage, report.

RUN_ROOT/
  metadata.db                         ML Metadata
  artifacts/COMPONENT/KEY-N/OUTPUT/   written under artifacts/.building-*, renamed when whole
  work/COMPONENT-KEY/                 checkpoints of an interrupted execution
  runs/RUN/report.html, config.yaml
  serving/panet/VERSION/              pushed models
"""

import contextlib
import dataclasses
import glob
import json
import logging
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import traceback

from pipeline.config import to_yaml
from pipeline.errors import ConfigError, MetadataError, PipelineError
from pipeline.lineage.metadata import Metadata
from pipeline.orchestration.alone import alone
from pipeline.orchestration.annotations import Channel
from pipeline.orchestration.beam import pipeline_options
from pipeline.orchestration.cache import PROJECT, cache_key, digest_path, is_whole, versions
from pipeline.pipeline import create_pipeline, starting_weights
from serving import tracing

LOG = logging.getLogger(__name__)


@dataclasses.dataclass
class StageResult:
    """What became of a node: state is COMPLETE, CACHED or FAILED."""

    component: str
    state: str
    seconds: float
    summary: str
    outputs: dict


class LocalRunner:
    """Executes the nodes one after the other.

    Args:
        config: `Config`.
    """

    def __init__(self, config):
        self.config = config
        self.root = pathlib.Path(config.run.root).resolve()
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise PipelineError(
                f"run.root {self.root}: cannot be made ({error.strerror}). Choose a folder that can be written."
            ) from None
        self.metadata = Metadata(self.root / "metadata.db")

    @tracing.traced("pipeline run")
    def run(self):
        """Runs the pipeline.

        Returns:
            (name of the run, list of `StageResult`, reason why it stopped early or None).
        """
        nodes = create_pipeline(self.config)
        check(self.config)
        _sweep(self.root)
        if self.config.trainer.strategy:
            from pipeline.components.trainer import strategy_of

            # Logical devices must be named before TensorFlow starts, which it does in the first stage.
            strategy_of(dataclasses.asdict(self.config.trainer))
        name, folder = self._new_run()
        tracing.note(run=name)
        (folder / "config.yaml").write_text(to_yaml(self.config), "utf-8")
        context = self.metadata.start_run(
            name,
            code=_code_version(),
            data=self.config.data.title,
            **{f"{k} version": v for k, v in versions().items()},
        )
        results, stop = [], None
        for number, node in enumerate(nodes, 1):
            try:
                LOG.info("[%d/%d] %s ...", number, len(nodes), node.component.name)
                with tracing.span(node.component.name):
                    result, stop = self._execute(node, context, results)
                    tracing.note(cached=result.state == "CACHED", **_ids("output", result.outputs))
            except BaseException as error:
                state, why = (
                    ("interrupted", "interrupted")
                    if isinstance(error, KeyboardInterrupt)
                    else ("failed", error)
                )
                with contextlib.suppress(MetadataError):
                    self.metadata.end_run(context, state, error=f"{node.component.name}: {why}"[:2000])
                raise
            results.append(result)
            word = "cached" if result.state == "CACHED" else f"{result.seconds:.1f} s"
            LOG.info("[%d/%d] %s: %s. %s", number, len(nodes), node.component.name, word, result.summary)
            if stop:
                break
        self.metadata.end_run(context, "stopped" if stop else "complete")

        from pipeline.report.html import write_report

        write_report(folder / "report.html", name, self.config, results, stop, self.metadata)
        return name, results, stop

    def _new_run(self):
        """Name and folder of a run; two runs may start within one second."""
        stamp, number = time.strftime("%Y%m%d-%H%M%S"), 1
        while True:
            name = f"{stamp}-{number}"
            try:
                (self.root / "runs" / name).mkdir(parents=True)
                return name, self.root / "runs" / name
            except FileExistsError:
                number += 1

    def _execute(self, node, context, results):
        component = node.component
        inputs = {}
        for argument in component.inputs:
            channel = node.arguments.get(argument)
            if isinstance(channel, Channel):
                done = next(result for result in results if result.component == channel.node.component.name)
                inputs[argument] = done.outputs[channel.output]
        if "baseline" in component.inputs:
            # As TFX's LatestBlessedModelStrategy: an input that the history decides.
            baseline = self.metadata.latest_blessed(component.name, other_than=inputs["model"].digest)
            inputs |= {"baseline": baseline} if baseline else {}
        if "previous" in component.inputs:
            previous = self.metadata.latest(
                "StatisticsGen", "statistics", other_than=inputs["statistics"].digest
            )
            inputs |= {"previous": previous} if previous else {}
        tracing.note(**_ids("input", inputs))
        key = cache_key(node, inputs, self.root)
        hit = self._cached(component, key)
        if hit:
            return self._taken(component, context, inputs, key, hit)
        if not component.work_dir or component.engines:
            return self._fresh(node, context, inputs, key)
        # Two runs would write over each other's checkpoints; the second takes what the first has made.
        with alone(
            self._work(component, key), lambda: LOG.info("      waiting for another run, at the same stage")
        ) as waited:
            hit = self._cached(component, key) if waited else None
            if hit:
                shutil.rmtree(self._work(component, key), ignore_errors=True)
                return self._taken(component, context, inputs, key, hit)
            return self._fresh(node, context, inputs, key)

    def _work(self, component, key):
        return self.root / "work" / f"{component.name}-{key[:16]}"

    def _taken(self, component, context, inputs, key, hit):
        execution, outputs = hit
        known = self.metadata.facts(execution)
        facts = {
            "cache_key": key,
            "cached_from": execution.id,
            "summary": known.get("summary", ""),
            "stop": known.get("stop", ""),
        }
        self.metadata.put_execution(component.name, context, inputs, outputs, "CACHED", **facts)
        return StageResult(component.name, "CACHED", 0.0, known.get("summary", ""), outputs), known.get(
            "stop"
        ) or None

    def _cached(self, component, key):
        """The newest execution with this key whose outputs are as they were, or None."""
        for hit in self.metadata.with_key(component.name, key) if self.config.run.cache else ():
            outputs = hit[1]
            if all(map(is_whole, outputs.values())) and (
                not component.still_valid or component.still_valid(outputs)
            ):
                return hit
        return None

    def _fresh(self, node, context, inputs, key):
        component = node.component
        parent = self.root / "artifacts" / component.name
        parent.mkdir(parents=True, exist_ok=True)
        building = pathlib.Path(tempfile.mkdtemp(prefix=f"{_mark()}{os.getpid()}-", dir=parent))
        outputs = {name: kind(building / name) for name, kind in component.outputs.items()}
        arguments = {
            **{n: node.arguments[n] for n in (*component.parameters, *component.engines, *component.paths)},
            **inputs,
            **outputs,
        }
        work = self._work(component, key)
        if component.work_dir:
            work.mkdir(parents=True, exist_ok=True)
            arguments[component.work_dir] = str(work)
        for artifact in outputs.values():
            artifact.path.mkdir()
        start = time.monotonic()
        try:
            said = component.function(**arguments) or {}
            place = _free_place(parent, key[:16])
            os.replace(building, place)
        except BaseException as error:
            shutil.rmtree(building, ignore_errors=True)
            interrupted = isinstance(error, KeyboardInterrupt)
            why = (
                "interrupted"
                if interrupted
                else "".join(traceback.format_exception_only(error)).strip()[:4000]
            )
            state = "CANCELED" if interrupted else "FAILED"
            # The reason of the failure is what a person must read, not that it could not be recorded.
            with contextlib.suppress(MetadataError):
                self.metadata.put_execution(
                    component.name, context, inputs, {}, state, cache_key=key, error=why
                )
            if isinstance(error, OSError) or _is_tensorflow_s(error):
                what = str(error).partition("\n")[0][:500] or type(error).__name__
                raise PipelineError(
                    f"{component.name}: {what}. Nothing of this stage was kept under {parent}; make room or "
                    "mend what the message names, and run the same command again: finished stages come from the cache."
                ) from error
            raise
        place.chmod(0o755)
        for name, artifact in outputs.items():
            artifact.path = place / name
            artifact.digest = digest_path(artifact.path)
        seconds = time.monotonic() - start
        facts = {"seconds": seconds, "summary": said.get("summary", ""), "stop": said.get("stop", "")}
        facts |= {"cache_key": key} if said.get("keep", True) else {}
        known = {name: node.arguments.get(name) for name in (*component.parameters, *component.paths)}
        facts |= {
            "parameters": json.dumps(known, default=list, ensure_ascii=False),
            "code": _code_version(),
            "packages": json.dumps(versions()),
        }
        self.metadata.put_execution(component.name, context, inputs, outputs, "COMPLETE", **facts)
        # Another run in this root may be at the same stage, and has its scratch beside ours.
        if component.engines:
            with contextlib.suppress(OSError):
                work.rmdir()
        else:
            shutil.rmtree(work, ignore_errors=True)
        return StageResult(component.name, "COMPLETE", seconds, said.get("summary", ""), outputs), said.get(
            "stop"
        )


def check(config):
    """Refuses what can be seen before the first stage to go wrong in a later one; what one value alone shows,
    `load_config` has refused.

    Raises:
        ConfigError: says which key, what it is and what is expected.
    """
    schema, destination = config.validator.schema, config.pusher.destination
    if config.pusher.signing_key:
        from pipeline.papers.signing import signer

        try:
            signer(config.pusher.signing_key)
        except (PipelineError, ValueError) as error:
            raise ConfigError(f"pusher.signing_key: {error}") from None
    for path in map(pathlib.Path, starting_weights(config.trainer.recipe)):
        if not (path.is_file() or (path / "preset.json").is_file()):
            raise ConfigError(
                f"trainer.recipe begins from {path}: neither a file of weights nor a preset's folder, with a preset.json. Correct "
                "trainer.start_from (a preset's name or folder) or trainer.weights."
            )
    if schema and not pathlib.Path(schema).is_file():
        raise ConfigError(
            f"validator.schema is {schema}: no such file; expected a schema in text form, or nothing for the committed one."
        )
    if destination and pathlib.Path(destination).exists() and not pathlib.Path(destination).is_dir():
        raise ConfigError(
            f"pusher.destination is {destination}, which is a file; expected a folder, which is made if it is not there."
        )
    read = config.data.paths if config.data.sources else (config.data.paths,)
    for key, place in {"run.root": config.run.root, "pusher.destination": destination}.items():
        inside = [path for path in read if place and pathlib.Path(place).resolve().is_relative_to(path)]
        if inside:
            raise ConfigError(
                f"{key} is {place}, in the data ({inside[0]}): the next run would read there what this one writes, pictures of its "
                "report among them. Name a folder outside."
            )
    pipeline_options(dataclasses.asdict(config.beam))


def _ids(direction, artifacts):
    """Attributes of a stage's span: ids that `pipeline lineage` takes, such as input.examples=3."""
    return {f"{direction}.{name}": artifact.id for name, artifact in artifacts.items()}


def _is_tensorflow_s(error):
    """Whether TensorFlow raised it, which reports full disks and unreadable files by errors of its own."""
    tensorflow = sys.modules.get("tensorflow")
    return tensorflow is not None and isinstance(error, tensorflow.errors.OpError)


def _mark():
    """Beginning of the names of this machine's unfinished outputs; the number of the process that writes them
    follows."""
    return f".building-{platform.node()}-"


def _sweep(root):
    """Removes what killed processes of this machine left; another run may be at work beside this one."""
    for path in root.glob(f"artifacts/*/{glob.escape(_mark())}*"):
        process = path.name.removeprefix(_mark()).partition("-")[0]
        try:
            os.kill(int(process), 0)
        except (ProcessLookupError, ValueError):
            shutil.rmtree(path, ignore_errors=True)
        except PermissionError:
            pass  # alive, and somebody else's


def _free_place(parent, key):
    """A folder name that is not taken: an execution may be repeated under one key when its outputs were
    damaged."""
    number = 1
    while (parent / f"{key}-{number}").exists():
        number += 1
    return parent / f"{key}-{number}"


def _code_version():
    """Commit of the project, with a mark if files differ from it; `unknown` outside a checkout."""
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=PROJECT, capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run(
            ["git", "status", "--porcelain"], cwd=PROJECT, capture_output=True, text=True, check=True
        ).stdout.strip()
        return commit + ("+changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
