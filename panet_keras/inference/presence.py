"""Is there a lesion at all? One number for a frame, and the threshold below which nothing is marked."""

import numpy as np
import tensorflow as tf

from panet_keras.presence_share import PRESENCE_SHARE

MISS_COST = 3.0
"""How many normal frames marked weigh as much as one lesion emptied, when a threshold is fitted."""
MOST_EMPTIED = 0.05
"""Share of the lesions that a fitted threshold may empty, beside a single one: one odd lesion among a few
must not decide alone."""
BANDWIDTH = 0.5
"""Of the kernels that smooth a handful of presences, in logits."""
PRIOR = 20
"""As so many annotated lesions counts the threshold that a model comes with. Five alone would set one that empties a
tenth to a quarter of a new hospital's lesions (docs/decisions/hospitals.md)."""
CLIP = 1e-6


def presence(probability):
    """Lesion presence from a foreground probability [h, w] at model size: the mean of its highest 0.1 %, from
    0 to 1."""
    flat = tf.reshape(probability, [-1])
    count = max(1, int(round(PRESENCE_SHARE * flat.shape[0])))
    return float(tf.reduce_mean(tf.math.top_k(flat, count).values))


def fit_threshold(lesions, normals, fallback=0.0):
    """Presence threshold for a scanner, from its own annotated frames.

    The presences are smoothed (Gaussian kernels of 0.5 logits), because a handful of frames has gaps. With
    normal frames the threshold has the least `MISS_COST` x lesions emptied + normal frames marked, and is drawn
    to `fallback`, in logits, as if that were of 20 lesions; in any case it empties at most 5 % of the lesions and
    one more.

    Args:
        lesions: presence of lesion frames, each judged by a model that did not have it as support. normals:
            of normal frames.
        fallback: the model's own threshold: what is given without lesions, and not exceeded without normal frames;
            0 where it has none.

    Returns:
        float in [0, 1].
    """
    if not len(lesions):
        return float(fallback)
    lesions, normals = _logit(lesions), _logit(normals)
    grid = np.linspace(_logit(0.01), _logit(0.999), 400)
    emptied = _below(grid, lesions)
    allowed = emptied <= MOST_EMPTIED + 1 / len(lesions)
    if not allowed.any():
        return 0.0
    if not len(normals):
        return float(min(fallback, _probability(grid[allowed][-1])))
    cost = MISS_COST * emptied + 1 - _below(grid, normals)
    cost = np.where(allowed, cost, np.inf)
    best = grid[int(cost.argmin())]
    if fallback > 0:
        share = len(lesions) / (len(lesions) + PRIOR)
        best = min(share * best + (1 - share) * _logit(fallback), grid[allowed][-1])
    return float(_probability(best))


def _below(grid, values):
    """Smoothed share of the values below each point of the grid."""
    from scipy.stats import norm

    return norm.cdf((grid[:, None] - values[None]) / BANDWIDTH).mean(1)


def _logit(probability):
    clipped = np.clip(np.asarray(probability, np.float64), CLIP, 1 - CLIP)
    return np.log(clipped / (1 - clipped))


def _probability(logit):
    return 1 / (1 + np.exp(-logit))
