"""Which Apache Beam runner, or Spark, does the work, and how what it did comes back."""

import json
import logging
import os
import tempfile

from pipeline.errors import ConfigError
from pipeline.orchestration import pieces, spark
from pipeline.terminal import Progress

LOG = logging.getLogger(__name__)


def pipeline_options(engine):
    """`PipelineOptions` of the configuration; None without a runner, and for Spark, which Beam has no part in.

    Args:
        engine: fields of `pipeline.config.Beam`.

    Raises:
        ConfigError: no such runner, or an option that Beam does not know; says what came and what is
            expected.
    """
    if not engine["runner"]:
        return None
    if spark.is_spark(engine):
        spark.settings(engine["options"])
        return None
    from apache_beam.options.pipeline_options import PipelineOptions, SetupOptions
    from apache_beam.runners.runner import create_runner

    try:
        create_runner(engine["runner"])
    except (ValueError, ImportError, AttributeError) as error:
        raise ConfigError(
            f"beam.runner is {engine['runner']!r}, which Apache Beam cannot make ({error}); expected for example DirectRunner, "
            "PrismRunner, PortableRunner, or FlinkRunner, SparkRunner, DataflowRunner with what they need; or PySpark, which is "
            "Spark without Beam."
        ) from None
    wrong = [option for option in engine["options"] if not option.startswith("--")]
    if wrong:
        raise ConfigError(f"beam.options has {wrong}; expected flags such as --direct_num_workers=2.")
    options = PipelineOptions([f"--runner={engine['runner']}", *engine["options"]])
    known = options.get_all_options()
    # --no_x switches x off.
    unknown = sorted(
        option
        for option in engine["options"]
        if _name(option) not in known and _name(option).removeprefix("no_") not in known
    )
    if unknown:
        raise ConfigError(f"beam.options has {unknown}, which Apache Beam does not know.")
    options.view_as(SetupOptions).save_main_session = False
    return options


def map_told(function, items, engine, scratch, unit):
    """Yields what a function tells of each item, in the order of the items, whoever works on them.

    Args:
        function: of an item to JSON text in one line; goes to the workers.
        items: list. engine: fields of `pipeline.config.Beam`.
        scratch: folder that all workers see: items go to them and results come back as files, see
            `pipeline.orchestration.pieces`.
        unit: what the items are, for the progress that is shown every few seconds in this process.

    Raises:
        ConfigError: as `pipeline_options`. PipelineError: the runner failed, or lost something.
    """
    options = pipeline_options(engine)
    if not engine["runner"]:
        progress = Progress(LOG, unit)
        for number, item in enumerate(items, 1):
            yield json.loads(function(item))
            progress(number, len(items))
        return
    with tempfile.TemporaryDirectory(dir=scratch, prefix=".told-") as folder:
        # A worker may have another working folder.
        folder = os.path.abspath(folder)
        places = pieces.lay_out(items, folder)
        work = pieces.Work(function, folder, os.getcwd())
        if spark.is_spark(engine):
            spark.for_each(work, places, engine)
        else:
            import apache_beam as beam

            with beam.Pipeline(options=options) as graph:
                graph | beam.Create(places) | beam.Reshuffle() | beam.Map(work)
        yield from pieces.told(places, folder)


def _name(option):
    return option.removeprefix("--").partition("=")[0].replace("-", "_")
