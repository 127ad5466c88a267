"""Have the pictures changed since the training? Each feature against its training statistics, by the measures
of TFDV's drift comparators.

Numbers: Jensen-Shannon divergence, base 2, from 0 (alike) to 1 (nothing in common), on the buckets of the
training's histogram and one below and one above them. (TFDV joins the edges of both histograms; the finer
one's detail, which the coarser never saw, counts as drift then.) Text: the L-infinity distance, the largest
difference of a value's share.
"""

import dataclasses

import numpy as np

from pipeline.validation.statistics import feature_name, read_statistics

THRESHOLD = 0.3
"""Of a feature for which nothing else is asked: that of the curated schema's drift comparators."""
THRESHOLDS = {"label": 0.2}
FEWEST = 30
"""Pictures below which a divergence says little."""
WORDS = {
    "image/brightness": ("brightness", "darker", "brighter"),
    "image/contrast": ("contrast", "flatter", "richer in contrast"),
    "image/height": ("height in pixels", "lower", "higher"),
    "image/width": ("width in pixels", "narrower", "wider"),
    "lesion/area_fraction": ("share of the frame that is lesion", "smaller", "larger"),
    "lesion/count": ("lesions in a frame", "fewer", "more"),
    "label": ("label", "", ""),
}
"""What a feature is called, and what less and more of it mean."""


@dataclasses.dataclass(frozen=True)
class Numbers:
    """A numeric feature as buckets: `low`, `high` and `counts`, [B] each; where both ends are equal, all of a
    bucket has that value."""

    low: np.ndarray
    high: np.ndarray
    counts: np.ndarray
    mean: float

    @classmethod
    def of(cls, values):
        """Of plain values."""
        values = np.asarray(values, float)
        unique, counts = np.unique(values, return_counts=True)
        return cls(unique, unique, counts.astype(float), float(values.mean()))


@dataclasses.dataclass(frozen=True)
class Texts:
    """A text feature: share of each value."""

    shares: dict

    @classmethod
    def of(cls, values):
        names, counts = np.unique(np.asarray(values, str), return_counts=True)
        return cls({str(name): float(count) / len(values) for name, count in zip(names, counts)})


@dataclasses.dataclass(frozen=True)
class Drift:
    """A feature and how far it has moved.

    Attributes:
        measure: `Jensen-Shannon` or `L-infinity`. value: from 0 to 1. text: in plain words.
    """

    feature: str
    measure: str
    value: float
    threshold: float
    text: str

    @property
    def moved(self):
        return self.value > self.threshold


def features_of(path):
    """Dictionary of feature name to `Numbers` or `Texts`, and the number of Examples, of a file of
    statistics (`DatasetFeatureStatisticsList`); features without values are left out."""
    dataset = read_statistics(path).datasets[0]
    found = {}
    for feature in dataset.features:
        kind = feature.WhichOneof("stats")
        if not getattr(feature, kind).common_stats.num_non_missing:
            continue
        if kind == "num_stats" and feature.num_stats.histograms:
            buckets = feature.num_stats.histograms[0].buckets
            parts = [np.array([getattr(b, name) for b in buckets]) for name in BUCKET]
            found[feature_name(feature)] = Numbers(*parts, feature.num_stats.mean)
        elif kind == "string_stats":
            ranks = feature.string_stats.rank_histogram.buckets
            total = sum(bucket.sample_count for bucket in ranks)
            if total:
                shares = {bucket.label: bucket.sample_count / total for bucket in ranks}
                found[feature_name(feature)] = Texts(shares)
    return found, dataset.num_examples


BUCKET = ("low_value", "high_value", "sample_count")


def compare(training, own, thresholds=None, default=THRESHOLD):
    """Compares all features that both sides have and that have a name in `WORDS`.

    Args:
        training, own: dictionaries of feature name to `Numbers` or `Texts`. thresholds: dictionary of feature
            to threshold. default: of all others.

    Returns:
        List of `Drift`, in the order of `WORDS`.
    """
    limits = THRESHOLDS | (thresholds or {})
    result = []
    for name in WORDS:
        first, second = training.get(name), own.get(name)
        if type(first) is not type(second) or first is None:
            continue
        if isinstance(first, Numbers):
            value, measure, text = divergence(first, second), "Jensen-Shannon", _told(name, first, second)
        else:
            value, measure, text = *_distance(first, second), _told_texts(name, first, second)
        result.append(Drift(name, measure, value, limits.get(name, default), text))
    return result


def divergence(training, own):
    """Jensen-Shannon divergence of two `Numbers`, base 2, on the buckets of the first."""
    # A value of its own, such as the one width that all pictures have, is a bucket apart from what is above.
    single = np.nextafter(training.high[training.low == training.high], np.inf)
    edges = np.unique(np.concatenate([training.low, training.high, single]))
    shares = [_shares(numbers, edges) for numbers in (training, own)]
    middle = (shares[0] + shares[1]) / 2
    total = 0.0
    for share in shares:
        inside = share > 0
        total += 0.5 * float((share[inside] * np.log2(share[inside] / middle[inside])).sum())
    return min(max(total, 0.0), 1.0)


def _shares(numbers, edges):
    """Share below the edges, in each bucket (closed on both sides where it is the last), and above."""
    inner = np.concatenate([[-np.inf], edges, [np.inf]])
    result = np.zeros(len(inner) - 1)
    for low, high, count in zip(numbers.low, numbers.high, numbers.counts):
        if high > low:
            # A bucket is spread evenly over its width.
            overlap = np.clip(np.minimum(high, inner[1:]) - np.maximum(low, inner[:-1]), 0, None)
            result += count * overlap / (high - low)
            continue
        place = int(np.searchsorted(inner, low, side="right")) - 1
        # The largest value of the training belongs to its last bucket.
        place = place - 1 if low == edges[-1] and len(edges) > 1 else place
        result[place] += count
    return result / max(result.sum(), 1e-12)


def _distance(training, own):
    names = {*training.shares, *own.shares}
    return max(abs(training.shares.get(n, 0.0) - own.shares.get(n, 0.0)) for n in names), "L-infinity"


def _told(name, training, own):
    called, less, more = WORDS[name]
    way = less if own.mean < training.mean else more
    return f"{called}: {way}, mean {own.mean:.4g} against {training.mean:.4g} in training"


def _told_texts(name, training, own):
    def difference(value):
        return abs(own.shares.get(value, 0.0) - training.shares.get(value, 0.0))

    value = max(sorted({*training.shares, *own.shares}), key=difference)
    return f"{WORDS[name][0]} {value}: {own.shares.get(value, 0):.0%} against {training.shares.get(value, 0):.0%} in training"
