"""StatisticsGen: TFDV statistics of each split."""

from pipeline.artifacts import Examples, ExampleStatistics
from pipeline.component import InputArtifact, OutputArtifact, component

PICTURES = ("image/encoded", "mask/encoded")


@component
def StatisticsGen(examples: InputArtifact[Examples], statistics: OutputArtifact[ExampleStatistics]):
    """Computes statistics with TFDV on Beam's direct runner.

    Pictures are left out: ExampleGen has decoded each of them, which says more than byte statistics do.
    """
    from panet_keras.data.examples import FEATURES, example_files
    from pipeline.validation_library import import_tfdv

    tfdv = import_tfdv()

    options = tfdv.StatsOptions(feature_allowlist=[name for name in FEATURES if name not in PICTURES])
    total = 0
    for split in Examples.SPLITS:
        [data] = example_files(examples.split(split))
        target = statistics.split(split)
        target.parent.mkdir(parents=True)
        result = tfdv.generate_statistics_from_tfrecord(data, stats_options=options)
        # TFX keeps the serialised list itself, not a TFRecord of it.
        target.write_bytes(result.SerializeToString())
        total += result.datasets[0].num_examples
    return {"summary": f"{total} Examples"}
