"""Scores of one predicted mask; undefined is NaN, never quietly 0 or 1."""

import math

import numpy as np
from surface_distance import (
    compute_robust_hausdorff,
    compute_surface_dice_at_tolerance,
    compute_surface_distances,
)

NSD_TOLERANCE = 2.0
"""Pixels."""


def dice(truth: np.ndarray, mask: np.ndarray) -> float:
    """2 |T P| / (|T| + |P|); NaN when both are empty, 0 when one is. The same rule as `panet_keras.Dice`.

    Args:
        truth, mask: bool [H, W].
    """
    total = truth.sum() + mask.sum()
    return 2.0 * (truth & mask).sum() / total if total else math.nan


def iou(truth: np.ndarray, mask: np.ndarray) -> float:
    """|T P| / |T or P|; NaN when both are empty, 0 when one is."""
    union = (truth | mask).sum()
    return (truth & mask).sum() / union if union else math.nan


def sensitivity(truth: np.ndarray, mask: np.ndarray) -> float:
    """|T P| / |T|; NaN for an empty truth."""
    return (truth & mask).sum() / truth.sum() if truth.any() else math.nan


def precision(truth: np.ndarray, mask: np.ndarray) -> float:
    """|T P| / |P|; NaN for an empty prediction."""
    return (truth & mask).sum() / mask.sum() if mask.any() else math.nan


def surface_scores(
    truth: np.ndarray, mask: np.ndarray, tolerance: float = NSD_TOLERANCE
) -> tuple[float, float]:
    """95th percentile Hausdorff distance and normalised surface Dice, by DeepMind's surface-distance.

    HD95 is the larger of the two directed 95th percentiles (Nikolov et al., arXiv 1809.04430). Both empty:
    (NaN, NaN). One empty: the image's diagonal, the largest distance it has, and 0.

    Args:
        truth, mask: bool [H, W].
        tolerance: of the surface Dice, in pixels.

    Returns:
        (hd95 in pixels, nsd in [0, 1]).
    """
    if not truth.any() and not mask.any():
        return math.nan, math.nan
    if not truth.any() or not mask.any():
        return math.hypot(*truth.shape), 0.0
    distances = compute_surface_distances(truth, mask, (1.0, 1.0))
    return float(compute_robust_hausdorff(distances, 95)), float(
        compute_surface_dice_at_tolerance(distances, tolerance)
    )


def score_mask(
    truth: np.ndarray, probability: np.ndarray, threshold: float = 0.5, surface: bool = True
) -> dict[str, float]:
    """All scores of one image at its original size.

    Args:
        truth: bool [H, W].
        probability: float [H, W] of the foreground.
        threshold: above it a pixel is foreground.
        surface: whether HD95 and NSD are computed; they take most of the time.

    Returns:
        Dictionary of floats: dice, iou, hd95, nsd, sensitivity, precision, inside and outside (mean
            probability inside and
        outside the truth), false_area (share of the frame marked outside the truth), false_any (1.0 if any
        pixel is).
    """
    mask = probability > threshold
    hd95, nsd = surface_scores(truth, mask) if surface else (math.nan, math.nan)
    return {
        "dice": float(dice(truth, mask)),
        "iou": float(iou(truth, mask)),
        "hd95": hd95,
        "nsd": nsd,
        "sensitivity": float(sensitivity(truth, mask)),
        "precision": float(precision(truth, mask)),
        "inside": float(probability[truth].mean()) if truth.any() else math.nan,
        "outside": float(probability[~truth].mean()) if not truth.all() else math.nan,
        "false_area": float((mask & ~truth).mean()),
        "false_any": float((mask & ~truth).any()),
    }


def calibration_counts(truth: np.ndarray, probability: np.ndarray, bins: int = 10) -> np.ndarray:
    """Counts for the reliability of probabilities: pixels, foreground pixels and summed probability in each
    bin [3, bins]."""
    index = np.minimum((probability.ravel() * bins).astype(np.int64), bins - 1)
    flat = truth.ravel()
    return np.stack(
        [
            np.bincount(index, minlength=bins),
            np.bincount(index, weights=flat, minlength=bins),
            np.bincount(index, weights=probability.ravel(), minlength=bins),
        ]
    )


def expected_calibration_error(counts: np.ndarray) -> float:
    """Mean over pixels of |share of foreground - mean probability| of their bin (Naeini et al., AAAI
    2015)."""
    pixels, hits, total = counts
    return float(np.abs(hits - total).sum() / pixels.sum()) if pixels.sum() else math.nan
