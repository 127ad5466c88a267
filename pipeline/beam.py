"""Which Apache Beam runner does the work."""

from pipeline.errors import ConfigError


def pipeline_options(engine):
    """`PipelineOptions` of the configuration, or None for the embedded default.

    Args:
        engine: fields of `pipeline.config.Beam`.

    Raises:
        ConfigError: no such runner, or an option that Beam does not know; says what came and what is expected.
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
        option for option in engine["options"] if _name(option) not in known and _name(option).removeprefix("no_") not in known
    )
    if unknown:
        raise ConfigError(f"beam.options has {unknown}, which Apache Beam does not know.")
    options.view_as(SetupOptions).save_main_session = False
    return options


def _name(option):
    return option.removeprefix("--").partition("=")[0].replace("-", "_")
