"""`python -m pipeline run|runs|lineage|compare|compile|infer`; `--help` tells more."""

import argparse
import json
import pathlib
import sys

from panet_keras.commands import arguments as options
from panet_keras.commands.start import prepare_tensorflow
from panet_keras.errors import KerasSettingsError
from pipeline.errors import PipelineError


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m pipeline", description="From annotated images to a served model.")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="run the pipeline; unchanged stages come from the cache")
    run.set_defaults(run=_run)
    compiled = commands.add_parser("compile", help="write the pipeline for another runner")
    compiled.add_argument("--runner", choices=["kubeflow"], default="kubeflow")
    compiled.add_argument(
        "--image", required=True, help="container image: this project as working folder, requirements.txt installed"
    )
    compiled.add_argument("--output", default="panet_bus.yaml", help="file to write (default: %(default)s)")
    compiled.set_defaults(run=_compile)
    for command in (run, compiled):
        command.add_argument("--config", help="YAML file, such as pipeline/configs/bus_uclm.yaml")
        command.add_argument(
            "--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="change a value; repeat for more"
        )
    runs = commands.add_parser("runs", help="list runs with their artifacts and scores")
    runs.add_argument("--root", required=True, help="run.root of the runs")
    runs.set_defaults(run=_runs)
    lineage = commands.add_parser("lineage", help="where a model comes from, or what an image or patient went into")
    lineage.add_argument(
        "what", help="a pushed version's folder, an artifact's folder or id, a run, an image's file name, a patient"
    )
    compare = commands.add_parser("compare", help="scores of two runs, with the paired difference")
    compare.add_argument("first")
    compare.add_argument("second")
    for command, function in ((lineage, _lineage), (compare, _compare)):
        command.add_argument("--root", required=True, help="run.root of the runs")
        command.add_argument("--json", action="store_true", help="for programs")
        command.set_defaults(run=function)
    infer = commands.add_parser(
        "infer", help="segment any number of pictures, on a Beam runner if you like; goes on where it was cut off"
    )
    options.add_model(infer)
    options.add_support(infer)
    options.add_queries(infer, recursive=True)
    options.add_answers(infer)
    infer.add_argument("--beam_runner", default="", help="name of an Apache Beam runner; this process without it")
    infer.add_argument("--beam_option", action="append", default=[], metavar="--FLAG=VALUE", help="Beam's flags; repeat for more")
    infer.set_defaults(run=_infer)
    arguments = parser.parse_args(argv)
    try:
        prepare_tensorflow()
        return arguments.run(arguments)
    except PipelineError as error:
        print(f"pipeline {arguments.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"pipeline {arguments.command}: interrupted; run the same command again to go on", file=sys.stderr)
        return 130
    except (ValueError, OSError, KerasSettingsError) as error:
        print(f"pipeline {arguments.command}: {error}", file=sys.stderr)
        return 1


def _run(arguments):
    from pipeline.config import load_config

    config = load_config(arguments.config, arguments.set)
    from pipeline.orchestration.local_runner import LocalRunner

    runner = LocalRunner(config)
    name, results, stop = runner.run()
    print(f"report: {runner.root / 'runs' / name / 'report.html'}")
    if stop:
        print(f"pipeline run: stopped after {results[-1].component}: {stop}", file=sys.stderr)
        return 2
    pushed = results[-1].outputs["pushed_model"]
    if not pushed.properties.get("pushed"):
        print(f"pipeline run: {results[-1].summary}", file=sys.stderr)
        return 3
    print(f"pushed: {pathlib.Path(pushed.properties['destination']) / str(pushed.properties['version'])}")
    return 0


def _compile(arguments):
    from pipeline.config import load_config
    from pipeline.orchestration.kubeflow_runner import compile_pipeline

    compile_pipeline(load_config(arguments.config, arguments.set), arguments.image, arguments.output)
    print(f"written: {arguments.output}")
    return 0


def _infer(arguments):
    from panet_keras import presets
    from panet_keras.commands.queries import describe
    from panet_keras.commands.table import name_unread
    from pipeline.bulk_inferrer import Request, infer

    request = Request(
        model=arguments.model or presets.DEFAULT,
        support=options.read_support(arguments),
        size=arguments.size and tuple(arguments.size),
        presence_threshold=arguments.presence_threshold,
        adapt=arguments.adapt,
    )
    engine = {"runner": arguments.beam_runner, "options": arguments.beam_option}
    rows, skipped = infer(request, arguments.query, arguments.out, engine, arguments.recursive, arguments.overwrite, arguments.csv)
    if skipped:
        print(f"pipeline infer: not segmented: {describe(skipped)}", file=sys.stderr)
    broken = sum(bool(row["error"]) for row in rows)
    table = arguments.csv or pathlib.Path(arguments.out) / "predictions.csv"
    print(f"{len(rows)} pictures, {broken} of them unreadable: {table}")
    return name_unread("pipeline infer", rows) or 0


def _metadata(root):
    from pipeline.lineage.metadata import Metadata

    file = pathlib.Path(root) / "metadata.db"
    if not file.is_file():
        raise PipelineError(f"{file}: no such file; expected the run.root of an earlier run.")
    return Metadata(file)


def _lineage(arguments):
    from pipeline.lineage.queries import queries as lineage

    metadata = _metadata(arguments.root)
    try:
        found, text = lineage.backward(metadata, arguments.what), lineage.backward_text
    except PipelineError as error:
        try:
            found, text = lineage.forward(metadata, arguments.what), lineage.forward_text
        except PipelineError as other:
            raise PipelineError(f"{error} And {other}") from None
    print(json.dumps(found, indent=1) if arguments.json else text(found))
    return 0


def _compare(arguments):
    from pipeline.lineage.queries import queries as lineage

    result = lineage.compare(_metadata(arguments.root), arguments.first, arguments.second)
    print(json.dumps(result, indent=1) if arguments.json else lineage.compare_text(result))
    return 0


def _runs(arguments):
    from pipeline.lineage.metadata import OUTPUT, properties, state_name

    metadata = _metadata(arguments.root)
    for run in metadata.runs():
        facts = properties(run)
        print(f"{run.name}: {facts.get('state')}, code {facts.get('code', '?')[:12]}, data {facts.get('data')}")
        for execution in metadata.executions(run):
            own = properties(execution)
            note = own.get("summary") or own.get("error", "")
            print(f"  {execution.type:17s} {state_name(execution):9s} {note}")
            for output, artifact in metadata.artifacts_of(execution.id, OUTPUT).items():
                print(f"    {output} ({artifact.type_name()} {artifact.id}): {artifact.path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
