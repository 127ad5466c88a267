"""Which Apache Beam runner does the work, and how what it did comes back."""

import json
import logging
import os
import pathlib

from pipeline.errors import ConfigError
from pipeline.terminal import Progress

LOG = logging.getLogger(__name__)


def pipeline_options(engine):
    """`PipelineOptions` of the configuration, or None for the embedded default.

    Args:
        engine: fields of `pipeline.config.Beam`.

    Raises:
        ConfigError: no such runner, or an option that Beam does not know; says what came and what is
            expected.
    """
    if not engine["runner"]:
        return None
    from apache_beam.options.pipeline_options import PipelineOptions, SetupOptions
    from apache_beam.runners.runner import create_runner

    try:
        create_runner(engine["runner"])
    except (ValueError, ImportError, AttributeError) as error:
        raise ConfigError(
            f"beam.runner is {engine['runner']!r}, which Apache Beam cannot make ({error}); expected for example DirectRunner, "
            "PrismRunner, PortableRunner, or FlinkRunner, SparkRunner, DataflowRunner with what they need."
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
    """What a function tells of each item, in this process or on a Beam runner.

    Args:
        function: of an item to JSON text; goes to the workers.
        items: list. engine: fields of `pipeline.config.Beam`.
        scratch: folder that all workers see: a runner's results come back as files.
        unit: what the items are, for the progress that is shown every few seconds in this process.

    Returns:
        List of what was told; of this process in the order of the items, of a runner in any.
    """
    options = pipeline_options(engine)
    if options is None:
        told, progress = [], Progress(LOG, unit)
        for number, item in enumerate(items, 1):
            told.append(json.loads(function(item)))
            progress(number, len(items))
        return told
    import apache_beam as beam

    with beam.Pipeline(options=options) as graph:
        lines = graph | beam.Create(items) | beam.Reshuffle() | beam.Map(function)
        lines | beam.io.WriteToText(os.path.join(scratch, "told"))
    return [
        json.loads(line)
        for file in pathlib.Path(scratch).glob("told*")
        for line in file.read_text("utf-8").splitlines()
    ]


def _name(option):
    return option.removeprefix("--").partition("=")[0].replace("-", "_")
