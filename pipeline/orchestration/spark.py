"""Apache Spark as an engine: `beam.runner=PySpark`, `--beam_runner PySpark`.

The package pyspark carries Spark itself and asks for Java only, while Beam's own SparkRunner and FlinkRunner fetch
a job server from Maven. No stage shuffles anything: each is a map over pieces of work whose results are files, so
that Spark schedules, moves and repeats pieces without Beam between.
https://spark.apache.org/docs/latest/spark-standalone.html

Every worker needs this project at the same place, the same packages, and the folders of data and outputs.
"""

import contextlib
import functools
import gc
import os
import sys

from pipeline.errors import ConfigError, PipelineError
from pipeline.orchestration.cache import PROJECT

NAME = "PySpark"
SLICES = 10_000
"""At most so many Spark tasks; more pieces share one."""
ENVIRONMENT = ("TF_", "KERAS_", "OMP_", "OPENBLAS_", "PANET_")
"""Beginnings of variables that a worker must share, or it would round otherwise."""


def is_spark(engine):
    """Whether the fields of `pipeline.config.Beam` name Spark."""
    return engine.get("runner", "").casefold() == NAME.casefold()


def settings(options):
    """Spark's settings of the engine's options.

    Args:
        options: `--master=URL`, such as spark://host:7077 or local[4], and `--conf=KEY=VALUE`, any number, both as
            spark-submit knows them.

    Returns:
        Dictionary of Spark's keys to texts.

    Raises:
        ConfigError: another option.
    """
    found = {}
    for option in options:
        name, _, value = option.partition("=")
        key, equals, text = value.partition("=")
        if name == "--master" and value:
            found["spark.master"] = value
        elif name == "--conf" and key.startswith("spark.") and equals:
            found[key] = text
        else:
            raise ConfigError(
                f"beam.options has {option!r}; with {NAME} expected --master=spark://HOST:7077 (or local[4]) and "
                "--conf=spark.KEY=VALUE."
            )
    return found


@contextlib.contextmanager
def session(engine):
    """Keeps one Spark application for all `for_each` of the block: each worker imports TensorFlow once, not once a
    call. Nothing where the engine is not Spark, or an application runs already (a notebook's).

    Args:
        engine: fields of `pipeline.config.Beam`.

    Raises:
        ConfigError: pyspark is missing, or an unknown option. PipelineError: no Java or no master.
    """
    if not is_spark(engine):
        yield
        return
    given = settings(engine["options"])
    try:
        import pyspark
    except ImportError:
        raise ConfigError(
            f"beam.runner is {NAME}, and pyspark is not installed. Install it with pip install pyspark; it needs Java 17."
        ) from None
    if pyspark.SparkContext._active_spark_context:
        yield
        return
    # Spark starts workers by this name, and would take whatever python3 is first on their path.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    path = os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH")]))
    shared = {name: value for name, value in os.environ.items() if name.startswith(ENVIRONMENT)}
    conf = pyspark.SparkConf()
    if not conf.contains("spark.master"):
        conf.setMaster("local[*]")
    conf.setAll(
        {
            "spark.app.name": "panet-bus",
            "spark.ui.enabled": "false",
            "spark.ui.showConsoleProgress": "false",
            **{f"spark.executorEnv.{name}": value for name, value in (shared | {"PYTHONPATH": path}).items()},
            **given,
        }.items()
    )
    with _told_plainly():
        context = pyspark.SparkContext(conf=conf)
    try:
        yield
    finally:
        context.stop()


def for_each(function, items, engine):
    """Calls a function with each item on Spark's workers; what fails is tried again by Spark, on another worker.

    Args:
        function: of an item; what it returns is dropped. It is pickled.
        items: list of small values. engine: fields of `pipeline.config.Beam`.

    Raises:
        ConfigError: as `session`. PipelineError: as `session`; or an item that failed as often as Spark tries. Says
            the cause.
    """
    with session(engine), _told_plainly():
        from pyspark import SparkContext

        context = SparkContext.getOrCreate()
        context.parallelize(items, min(len(items), SLICES) or 1).foreach(functools.partial(_worked, function))


def _worked(function, item):
    """Calls the function; afterwards the collection of garbage that Spark forces after every task passes over
    TensorFlow's objects, 0.2 s each time."""
    function(item)
    _freeze_once()


@functools.cache
def _freeze_once():
    gc.freeze()


@contextlib.contextmanager
def _told_plainly():
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    try:
        yield
    except (Py4JError, PySparkException) as error:
        raise PipelineError(f"Spark: {_cause(error)}") from None


def _cause(error):
    """The line of a Java error's text that says what happened: of a failed worker the last of its traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    java = next((n for n, line in enumerate(lines) if line.startswith("at ") and n > 1), len(lines))
    told = [line for line in lines[:java] if not line.startswith(("at ", "File ", "Traceback"))]
    return told[-1] if told else type(error).__name__
