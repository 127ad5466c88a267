"""`python -m pipeline run|runs|lineage|compare|compile|infer|accept|drift|sign|verify|sbom|croissant`; `--help`
tells more."""

import argparse
import contextlib
import json
import logging
import pathlib
import sys

from panet_keras.commands import arguments as options
from panet_keras.commands.formats import add_format
from panet_keras.commands.start import prepare_tensorflow
from panet_keras.commands.trouble import ended_by_signals, exit_code, open_streams, told, unread
from panet_keras.errors import KerasSettingsError
from pipeline.acceptance.command import add as add_accept
from pipeline.errors import PipelineError
from pipeline.validation.drift_command import add as add_drift

LOG = logging.getLogger("pipeline.command")


def main(argv=None):
    open_streams()
    parser = argparse.ArgumentParser(
        prog="python -m pipeline", description="From annotated images to a served model."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="run the pipeline; unchanged stages come from the cache")
    run.set_defaults(run=_run)
    compiled = commands.add_parser("compile", help="write the pipeline for another runner")
    compiled.add_argument("--runner", choices=["kubeflow"], default="kubeflow")
    compiled.add_argument(
        "--image",
        required=True,
        help="container image: this project as working folder, requirements.txt installed",
    )
    compiled.add_argument("--output", default="panet_bus.yaml", help="file to write (default: %(default)s)")
    compiled.set_defaults(run=_compile)
    for command in (run, compiled):
        command.add_argument("--config", help="YAML file, such as pipeline/configs/bus_uclm.yaml")
        command.add_argument(
            "--set",
            action="append",
            default=[],
            metavar="SECTION.KEY=VALUE",
            help="change a value; repeat for more",
        )
    runs = commands.add_parser("runs", help="list runs with their state and Dice, a line each")
    runs.add_argument("--root", required=True, help="run.root of the runs")
    runs.add_argument("--verbose", action="store_true", help="stages and artifacts of each run, too")
    runs.set_defaults(run=_runs)
    lineage = commands.add_parser(
        "lineage", help="where a model comes from, or what an image or patient went into"
    )
    lineage.add_argument(
        "what",
        help="a pushed version's folder, an artifact's folder or id, a run, an image's file name, a patient, or the id of an answer",
    )
    lineage.add_argument(
        "--audit_log",
        action="append",
        default=[],
        metavar="FILE",
        help="of `python -m serving --audit_log`, or answers.jsonl of `infer`; full ones beside it are read, too; repeat for more",
    )
    compare = commands.add_parser(
        "compare", help="scores of two runs, with the paired difference, and the settings they differ in"
    )
    compare.add_argument("first")
    compare.add_argument("second")
    for command, function in ((lineage, _lineage), (compare, _compare)):
        command.add_argument("--root", required=True, help="run.root of the runs")
        command.add_argument("--json", action="store_true", help="for programs")
        command.set_defaults(run=function)
    infer = commands.add_parser(
        "infer",
        help="segment any number of pictures, on Spark or a Beam runner if you like; goes on where it was cut off",
    )
    options.add_model(infer)
    options.add_support(infer)
    options.add_queries(infer, recursive=True)
    options.add_answers(infer)
    add_format(infer)
    infer.add_argument(
        "--beam_runner",
        default="",
        help="name of an Apache Beam runner, or PySpark for Apache Spark; this process without it",
    )
    infer.add_argument(
        "--beam_option",
        action="append",
        default=[],
        metavar="--FLAG=VALUE",
        help="Beam's flags, or Spark's --master=URL and --conf=KEY=VALUE; repeat for more",
    )
    infer.set_defaults(run=_infer)
    _add_papers(commands)
    add_accept(commands)
    add_drift(commands)
    arguments = parser.parse_args(argv)
    from pipeline.terminal import show_log

    show_log()
    try:
        with ended_by_signals():
            prepare_tensorflow()
            with _traced(arguments.command):
                return arguments.run(arguments)
    except KeyboardInterrupt as interrupt:
        LOG.error("pipeline %s: interrupted; run the same command again to go on", arguments.command)
        return exit_code(interrupt)
    except BrokenPipeError:
        return unread()
    except (PipelineError, ValueError, KerasSettingsError) as error:
        LOG.error("pipeline %s: %s", arguments.command, error)
        return 1
    except Exception as error:
        if told(error) is None:
            raise
        LOG.error("pipeline %s: %s", arguments.command, told(error))
        return 1


TRACED = ("run", "infer", "accept")
"""Commands that work for minutes or days, which OpenTelemetry's spans show."""


@contextlib.contextmanager
def _traced(command):
    if command not in TRACED:
        yield
        return
    from serving import tracing

    tracing.start("panet-pipeline", LOG)
    try:
        yield
    finally:
        tracing.stop()


def _add_papers(commands):
    """What must be accounted for: signatures, software, data."""
    sign = commands.add_parser(
        "sign", help="sign the folder of a version; pusher.signing_key does it for every push"
    )
    verify = commands.add_parser(
        "verify", help="check the signature of a version's folder, as the server does"
    )
    for command, key in ((sign, "private"), (verify, "public")):
        command.add_argument("model", help="folder of a version, such as RUN_ROOT/serving/panet/1")
        command.add_argument("--key", required=True, help=f"{key} key, PEM")
    sign.set_defaults(run=_sign)
    verify.set_defaults(run=_verify)
    sbom = commands.add_parser("sbom", help="list the software of the lock as CycloneDX JSON")
    sbom.add_argument("--out", required=True, help="file to write")
    sbom.set_defaults(run=_sbom)
    croissant = commands.add_parser("croissant", help="describe an Examples artifact as Croissant JSON-LD")
    croissant.add_argument("examples", help="folder of the artifact, with Split-train and findings.json")
    croissant.add_argument("--out", required=True, help="file to write")
    croissant.add_argument(
        "--name", default="panet-bus-examples", help="of the data set (default: %(default)s)"
    )
    croissant.add_argument("--license", help="URL or SPDX identifier of the data set's terms")
    croissant.add_argument("--url", help="page of the data set")
    croissant.set_defaults(run=_croissant)


def _run(arguments):
    from pipeline.config import load_config

    config = load_config(arguments.config, arguments.set)
    from pipeline.orchestration import built_before
    from pipeline.orchestration.local_runner import LocalRunner

    try:
        built_before.check(config.trainer.recipe, config.run.root)
    except ValueError as error:
        raise PipelineError(f"trainer.recipe.model: {error}") from None
    runner = LocalRunner(config)
    name, results, stop = runner.run()
    print(f"report: {runner.root / 'runs' / name / 'report.html'}")
    if stop:
        LOG.error("pipeline run: stopped after %s: %s", results[-1].component, stop)
        return 2
    pushed = results[-1].outputs["pushed_model"]
    if not pushed.properties.get("pushed"):
        LOG.error("pipeline run: %s", results[-1].summary)
        return 3
    print(f"pushed: {pushed.version_folder}")
    return 0


def _compile(arguments):
    from pipeline.config import load_config
    from pipeline.orchestration.kubeflow_runner import compile_pipeline

    output = pathlib.Path(arguments.output).expanduser()
    compile_pipeline(load_config(arguments.config, arguments.set), arguments.image, output)
    print(f"written: {output}")
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
    rows, skipped = infer(
        request,
        arguments.query,
        arguments.out,
        engine,
        arguments.recursive,
        arguments.overwrite,
        arguments.csv,
        arguments.format,
    )
    if skipped:
        print(f"pipeline infer: not segmented: {describe(skipped)}", file=sys.stderr)
    broken = sum(bool(row["error"]) for row in rows)
    table = arguments.csv or pathlib.Path(arguments.out) / "predictions.csv"
    print(f"{len(rows)} pictures, {broken} of them unreadable: {table}")
    return name_unread("pipeline infer", rows) or 0


def _sign(arguments):
    from pipeline.papers.signing import sign

    print(f"signed: {sign(arguments.model, arguments.key)}")
    return 0


def _verify(arguments):
    from serving.models.signatures import SignatureCheck

    SignatureCheck(arguments.key)(arguments.model)
    print(f"{arguments.model} is as it was signed with the key of {arguments.key}")
    return 0


def _sbom(arguments):
    from panet_keras.files import write_whole
    from pipeline.papers.sbom import sbom

    write_whole(arguments.out, sbom())
    print(f"written: {arguments.out}")
    return 0


def _croissant(arguments):
    from panet_keras.files import write_whole
    from pipeline.orchestration.artifacts import Examples
    from pipeline.papers.croissant import croissant

    examples = Examples(arguments.examples)
    if not examples.findings.is_file():
        raise PipelineError(
            f"{examples.path} has no findings.json; expected the folder that ExampleGen wrote."
        )
    text = croissant(examples, arguments.name, arguments.license, arguments.url)
    write_whole(arguments.out, text)
    print(f"written: {arguments.out}")
    return 0


def _metadata(root):
    from pipeline.lineage.metadata import Metadata

    file = pathlib.Path(root).expanduser() / "metadata.db"
    if not file.is_file():
        raise PipelineError(f"{file}: no such file; expected the run.root of an earlier run.")
    return Metadata(file)


def _lineage(arguments):
    from pipeline.lineage import answers, queries

    metadata, what, logs = _metadata(arguments.root), arguments.what, arguments.audit_log
    back, forth, why = None, None, []
    try:
        if answers.is_id(what):
            found = answers.resolve(metadata, logs, what)
            print(_json(found) if arguments.json else answers.resolved_text(found))
            return 0
        back = queries.backward(metadata, what)
    except PipelineError as error:
        why.append(str(error))
    # 17 may be an artifact and a patient, and a patient may be called by a UUID: both are told.
    try:
        forth = queries.forward(metadata, what)
    except PipelineError as error:
        why.append(str(error))
    if back is None and forth is None:
        raise PipelineError(" And ".join(why))
    masks, untold = answers.of_patient(metadata, logs, what) if forth and logs else (None, 0)
    if arguments.json:
        found = [*(back or ()), *(forth or ())]
        print(_json(found if masks is None else {"found": found, "masks": masks, "untold": untold}))
        return 0
    if back:
        print(queries.backward_text(back))
    if back and forth:
        print(f"{what} is an image or a patient, too:")
    if forth:
        print(queries.forward_text(forth))
    if masks is not None:
        print(answers.masks_text(masks, untold))
    return 0


def _compare(arguments):
    from pipeline.lineage import queries

    result = queries.compare(_metadata(arguments.root), arguments.first, arguments.second)
    print(_json(result) if arguments.json else queries.compare_text(result))
    return 0


def _runs(arguments):
    from pipeline.lineage import queries

    metadata = _metadata(arguments.root)
    for run in metadata.runs():
        print(queries.run_line(queries.summary(metadata, run)))
        if arguments.verbose:
            print("\n".join(queries.run_details(metadata, run)))
    return 0


def _json(value):
    return json.dumps(value, indent=1, ensure_ascii=False)


if __name__ == "__main__":
    sys.exit(main())
