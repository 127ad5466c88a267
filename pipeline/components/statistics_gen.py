"""StatisticsGen: TFDV statistics of each split."""

import pathlib
import tempfile

from pipeline.orchestration.annotations import Engine, InputArtifact, OutputArtifact, WorkDir, component
from pipeline.orchestration.artifacts import Examples, ExampleStatistics

PICTURES = ("image/encoded", "mask/encoded")


@component
def StatisticsGen(
    examples: InputArtifact[Examples],
    engine: Engine[dict],
    work_dir: WorkDir,
    statistics: OutputArtifact[ExampleStatistics],
):
    """Computes statistics with TFDV, a shard at a time, and merges them in the order of the shards.

    Pictures are left out: ExampleGen has decoded each of them, which says more than byte statistics do.

    Args:
        examples: input. engine: fields of `pipeline.config.Beam`. work_dir: where workers leave what they counted; a
            folder that all of them see. statistics: output.
    """
    from panet_keras.data.examples import FEATURES, OPTIONAL, example_files
    from pipeline.components import partial_statistics
    from pipeline.orchestration.beam import map_told

    features = [name for name in (*FEATURES, *OPTIONAL) if name not in PICTURES]
    # Of this run alone: two runs in one root may count the same Examples.
    with tempfile.TemporaryDirectory(dir=work_dir) as scratch:
        shards = {}
        for split in Examples.SPLITS:
            folder = pathlib.Path(scratch).resolve() / split
            folder.mkdir()
            shards[split] = partial_statistics.shards_of(
                example_files(examples.split(split)), features, folder
            )
        work = [shard for split in Examples.SPLITS for shard in shards[split]]
        told = map_told(partial_statistics.count, work, engine, scratch, "shards")
        total = sum(row["count"] for row in told)
        for split in Examples.SPLITS:
            target = statistics.split(split)
            target.parent.mkdir(parents=True)
            # TFX keeps the serialised list itself, not a TFRecord of it.
            target.write_bytes(partial_statistics.merge(shards[split]).SerializeToString())
    return {"summary": f"{total} Examples"}
