"""StatisticsGen: TFDV statistics of each split."""

from pipeline.orchestration.annotations import Engine, InputArtifact, OutputArtifact, component
from pipeline.orchestration.artifacts import Examples, ExampleStatistics

PICTURES = ("image/encoded", "mask/encoded")


@component
def StatisticsGen(
    examples: InputArtifact[Examples], engine: Engine[dict], statistics: OutputArtifact[ExampleStatistics]
):
    """Computes statistics with TFDV on Beam.

    Pictures are left out: ExampleGen has decoded each of them, which says more than byte statistics do.

    Args:
        examples: input. engine: fields of `pipeline.config.Beam`. statistics: output.
    """
    from panet_keras.data.examples import FEATURES, OPTIONAL
    from pipeline.orchestration.beam import pipeline_options
    from pipeline.validation.tfdv import import_tfdv

    tfdv = import_tfdv()

    options = tfdv.StatsOptions(
        feature_allowlist=[name for name in (*FEATURES, *OPTIONAL) if name not in PICTURES]
    )
    total = 0
    for split in Examples.SPLITS:
        target = statistics.split(split)
        target.parent.mkdir(parents=True)
        files = str(examples.split(split) / "data_tfrecord-*.gz")
        result = tfdv.generate_statistics_from_tfrecord(
            files, stats_options=options, pipeline_options=pipeline_options(engine)
        )
        # TFX keeps the serialised list itself, not a TFRecord of it.
        target.write_bytes(result.SerializeToString())
        total += result.datasets[0].num_examples
    return {"summary": f"{total} Examples"}
