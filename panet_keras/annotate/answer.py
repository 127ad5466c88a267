"""From probabilities at model size to a mask, by the rules of `panet_keras.FewShotSegmenter`."""

import numpy as np

from panet_keras.presence_share import PRESENCE_SHARE

NEAR = 0.25
"""Distance of a presence from its threshold from which on the presence leaves no doubt."""


def presence(probability):
    """Mean of the highest 0.1 % of a probability [h, w], from 0 to 1."""
    flat = np.ravel(probability)
    count = max(1, round(PRESENCE_SHARE * flat.size))
    return float(np.partition(flat, flat.size - count)[-count:].mean())


def enlarge(small, size, rows=slice(None), columns=slice(None)):
    """Bilinear, half-pixel centres, no antialiasing: `tf.image.resize`.

    Args:
        small: float32 [h, w]. size: (H, W). rows, columns: the part of the result that is wanted: most of a
            frame is no lesion.

    Returns:
        float32 [H, W], or the part of it.
    """
    for axis, wanted in enumerate((rows, columns)):
        low, high, share = (item[wanted] for item in _between(small.shape[axis], size[axis]))
        share = share[:, None] if axis == 0 else share[None]
        one, other = small.take(low, axis), small.take(high, axis)
        small = one + (other - one) * share
    return small


def _between(old, new):
    place = ((np.arange(new, dtype=np.float32) + np.float32(0.5)) * np.float32(old / new)) - np.float32(0.5)
    low = np.floor(place)
    share = (place - low).astype(np.float32)
    return np.clip(low, 0, old - 1).astype(int), np.clip(low + 1, 0, old - 1).astype(int), share


def answer(probabilities, thresholds, size):
    """Mask, presence and doubt of a frame.

    Each label has been segmented by itself, as one way; a pixel goes to the most probable label above 0.5
    whose presence reaches its threshold.

    Args:
        probabilities: dictionary of label number to float32 [h, w]. thresholds: of the presence, by label.
        size: (H, W) of the frame.

    Returns:
        uint8 [H, W], the highest presence of all labels, and the doubt from 0 to 1: how near a presence is to
        its threshold, or one minus the Dice that the probabilities themselves expect of the mask, whichever
        is more.
    """
    mask, best = np.zeros(size, np.uint8), np.full(size, np.float32(0.5))
    seen, doubt = 0.0, 0.0
    for label, probability in probabilities.items():
        found, threshold = presence(probability), thresholds[label]
        seen = max(seen, found)
        doubt = max(doubt, 1 - abs(found - threshold) / NEAR)
        if found < threshold or not (probability > 0.5).any():
            continue
        doubt = max(doubt, 1 - expected_dice(probability))
        rows, columns = (_reach(probability > 0.5, axis, size[axis]) for axis in (0, 1))
        full = enlarge(probability, size, rows, columns)
        ahead = full > best[rows, columns]
        mask[rows, columns][ahead] = label
        best[rows, columns] = np.where(ahead, full, best[rows, columns])
    return mask, seen, float(min(max(doubt, 0.0), 1.0))


def expected_dice(probability):
    """Dice of the mask (above 0.5) that its own probabilities expect, from 0 to 1."""
    inside = probability > 0.5
    return float(2 * probability[inside].sum() / (probability.sum() + np.count_nonzero(inside)))


def _reach(above, axis, length):
    """The pixels of the frame, along an axis, that a small pixel above 0.5 can lift above it."""
    hit = np.flatnonzero(above.any(1 - axis))
    step = length / above.shape[axis]
    return slice(max(0, int((hit[0] - 1) * step)), min(length, int(np.ceil((hit[-1] + 2) * step))))
