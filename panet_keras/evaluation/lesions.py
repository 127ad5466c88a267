"""Lesion-level figures: which lesions are found, and how many marks are false. Pixels cannot tell a mask in the wrong place from a shy one."""

import dataclasses

import numpy as np
from scipy import ndimage

FOUND_DICE = 0.3
"""A lesion is found by a mark of at least this Dice with it, or that holds its centre."""
FALSE_MARKS = (0.25, 0.5, 1.0, 2.0)
"""False marks an image at which the FROC curve is read."""
EIGHT = np.ones((3, 3), int)


@dataclasses.dataclass(frozen=True)
class Marks:
    """The marks of one image.

    Attributes:
        found: for each lesion of the truth the score of the best mark that finds it, 0 where none does.
        false: scores of the marks that find none. A score is the highest probability within the mark.
    """

    found: tuple
    false: tuple


def find_lesions(truth, probability, threshold=0.5):
    """Compares the connected regions of a mask with those of the truth (8-neighbourhood).

    Args:
        truth: bool [H, W]; may be empty. probability: float [H, W]. threshold: above it a pixel is marked.

    Returns:
        `Marks`.
    """
    lesions, count = ndimage.label(truth, EIGHT)
    marks, marked = ndimage.label(probability > threshold, EIGHT)
    found, false = [0.0] * count, []
    centres = [np.argwhere(lesions == number).mean(0).round().astype(int) for number in range(1, count + 1)]
    for mark in range(1, marked + 1):
        inside = marks == mark
        score, hits = float(probability[inside].max()), False
        for number, centre in enumerate(centres):
            lesion = lesions == number + 1
            overlap = 2.0 * (lesion & inside).sum() / (lesion.sum() + inside.sum())
            if overlap >= FOUND_DICE or inside[tuple(centre)]:
                found[number], hits = max(found[number], score), True
        if not hits:
            false.append(score)
    return Marks(tuple(found), tuple(false))


def froc(images):
    """Free-response ROC (Chakraborty and Winter, Radiology 1990): share of lesions found at so many false marks an image.

    Args:
        images: list of `Marks`, of lesion and normal frames together.

    Returns:
        Dictionary of false marks an image (`FALSE_MARKS`) to the share of lesions found, NaN without lesions; and `"lesions"`, their number.
    """
    found = np.array([score for marks in images for score in marks.found])
    false = np.sort([score for marks in images for score in marks.false])[::-1]
    result = {"lesions": len(found)}
    for rate in FALSE_MARKS:
        allowed = int(rate * len(images))
        # The lowest score at which no more than the allowed false marks remain.
        lowest = np.nextafter(false[allowed], 2) if len(false) > allowed else 0.0
        result[rate] = float((found >= max(lowest, 1e-12)).mean()) if len(found) else float("nan")
    return result
