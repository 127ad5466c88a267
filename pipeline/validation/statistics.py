"""Reads statistics, and makes plain numbers of them for the report."""

import pathlib

from tensorflow_metadata.proto.v0 import statistics_pb2


def read_statistics(path):
    """`DatasetFeatureStatisticsList` of a FeatureStats.pb."""
    statistics = statistics_pb2.DatasetFeatureStatisticsList()
    statistics.ParseFromString(pathlib.Path(path).read_bytes())
    return statistics


def feature_name(feature):
    return "/".join(feature.path.step) or feature.name


def as_table(path):
    """Rows for people: name, type, count, missing, and the range or the commonest values."""
    rows = []
    dataset = read_statistics(path).datasets[0]
    for feature in sorted(dataset.features, key=feature_name):
        kind = feature.WhichOneof("stats")
        common = getattr(feature, kind).common_stats
        if kind == "num_stats":
            numbers = feature.num_stats
            text = f"{numbers.min:.4g} to {numbers.max:.4g}, mean {numbers.mean:.4g}, median {numbers.median:.4g}"
        else:
            top = feature.string_stats.top_values[:4]
            text = f"{feature.string_stats.unique} values: " + ", ".join(
                f"{item.value} ({item.frequency:.0f})" for item in top
            )
        rows.append(
            {
                "feature": feature_name(feature),
                "count": int(common.num_non_missing),
                "missing": int(common.num_missing),
                "values": text,
            }
        )
    return rows


def histogram(path, name):
    """(edges, counts) of a numeric feature's standard histogram, or None."""
    for feature in read_statistics(path).datasets[0].features:
        if feature_name(feature) == name and feature.WhichOneof("stats") == "num_stats":
            buckets = feature.num_stats.histograms[0].buckets
            return [b.low_value for b in buckets] + [buckets[-1].high_value], [
                b.sample_count for b in buckets
            ]
    return None
