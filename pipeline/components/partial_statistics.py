"""TFDV's statistics of a split, shard by shard: the same bytes however many workers count.

TFDV's own Beam graph merges what it counted in the order in which workers finish, and means of floats then differ
in their last bits. Here a shard's accumulators, made by TFDV's own generators, are written as a file each, and
merged in the order of the shards.
"""

import dataclasses
import json
import os
import pathlib
import pickle

from panet_keras.files import write_whole

VALUES = 65_536
"""So many different values of a feature are counted exactly; beyond it the sketches of Misra and Gries (top values)
and of the k minimum values (how many there are) estimate. Memory and time of a merge are bounded by it."""


@dataclasses.dataclass(frozen=True)
class Shard:
    """A TFRecord file, the names of the features that count, and where its accumulators go."""

    file: str
    features: tuple
    target: str


def count(shard):
    """Writes a shard's accumulators; JSON text of the number of Examples."""
    import tensorflow as tf

    options = _options(shard.features)
    from tensorflow_data_validation.statistics import stats_impl
    from tfx_bsl.coders import example_coder

    records = list(tf.data.TFRecordDataset(shard.file, compression_type="GZIP").as_numpy_iterator())
    accumulators = None
    if records:
        made = generators()
        batch = example_coder.ExamplesToRecordBatchDecoder().DecodeBatch(records)
        counted = stats_impl.generate_partial_statistics_in_memory(batch, options, made)
        accumulators = [generator.compact(one) for generator, one in zip(made, counted)]
    write_whole(shard.target, pickle.dumps(accumulators))
    return json.dumps({"count": len(records)})


def merge(shards):
    """`DatasetFeatureStatisticsList` of all shards, whose accumulators are on disk; one is in memory at a time."""
    from tensorflow_metadata.proto.v0 import statistics_pb2

    made, merged = generators(), None
    for shard in shards:
        new = pickle.loads(pathlib.Path(shard.target).read_bytes())
        if merged is None or new is None:
            merged = new if merged is None else merged
        else:
            merged = [
                generator.merge_accumulators([one, other]) for generator, one, other in zip(made, merged, new)
            ]
    if merged is None:
        return statistics_pb2.DatasetFeatureStatisticsList(
            datasets=[statistics_pb2.DatasetFeatureStatistics()]
        )
    from tensorflow_data_validation.statistics import stats_impl

    return stats_impl.extract_statistics_output(merged, made)


def generators():
    """TFDV's default generators, as `tfdv.generate_statistics_in_memory` has them, with larger sketches."""
    options = _options()
    from tensorflow_data_validation.statistics.generators import (
        basic_stats_generator,
        top_k_uniques_sketch_stats_generator,
    )

    return [
        basic_stats_generator.BasicStatsGenerator(
            num_values_histogram_buckets=options.num_values_histogram_buckets,
            num_histogram_buckets=options.num_histogram_buckets,
            num_quantiles_histogram_buckets=options.num_quantiles_histogram_buckets,
            epsilon=options.epsilon,
        ),
        top_k_uniques_sketch_stats_generator.TopKUniquesSketchStatsGenerator(
            num_top_values=options.num_top_values,
            num_rank_histogram_buckets=options.num_rank_histogram_buckets,
            num_misragries_buckets=VALUES,
            num_kmv_buckets=VALUES,
        ),
    ]


def _options(features=None):
    """`StatsOptions`; asked for first, because it imports TFDV without its advice."""
    from pipeline.validation.tfdv import import_tfdv

    return import_tfdv().StatsOptions(feature_allowlist=features and list(features))


def shards_of(files, features, folder):
    """`Shard`s of TFRecord files, whose accumulators go into a folder."""
    return [
        Shard(os.fspath(file), tuple(features), os.path.join(folder, f"{number:07d}.pickle"))
        for number, file in enumerate(files)
    ]
