"""Lesion-level figures: which lesions are found, and how many marks are false. Pixels cannot tell a mask in
the wrong place from a shy one."""

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
    # An untrained model makes marks by the thousand: all pairs at once.
    pixels = np.bincount((lesions * (marked + 1) + marks).ravel(), minlength=(count + 1) * (marked + 1))
    pixels = pixels.reshape(count + 1, marked + 1)
    hits = 2.0 * pixels[1:, 1:] >= FOUND_DICE * (pixels.sum(1)[1:, None] + pixels.sum(0)[None, 1:])
    for number in range(count):
        centre = tuple(np.argwhere(lesions == number + 1).mean(0).round().astype(int))
        if marks[centre]:
            hits[number, marks[centre] - 1] = True
    scores = np.array(ndimage.maximum(probability, marks, np.arange(1, marked + 1)), float)
    return Marks(tuple((hits * scores).max(1, initial=0.0).tolist()), tuple(scores[~hits.any(0)].tolist()))


def froc(images):
    """Free-response ROC (Chakraborty and Winter, Radiology 1990): share of lesions found at so many false
    marks an image.

    Args:
        images: list of `Marks`, of lesion and normal frames together.

    Returns:
        Dictionary of false marks an image (`FALSE_MARKS`) to the share of lesions found, NaN without lesions;
        and `"lesions"`, their number.
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


def lesion_figures(rows, normal_rows=()):
    """Lesion-level figures of one row of the table; a normal frame, which is answered once, counts as often
    as a lesion image.

    Args:
        rows: from `run_protocol`, of images with a lesion. normal_rows: of normal images.

    Returns:
        Dictionary: lesions (their number), found (share of the lesions that a mark finds), false_marks (an
            image), and froc: the share
        found at so many false marks an image (`FALSE_MARKS`, as text). Empty for rows of an earlier version,
        which have no marks.
    """
    repeats = max((row["repeat"] for row in rows), default=0) + 1
    chosen = [*rows, *list(normal_rows) * repeats]
    if not rows or not all("found" in row for row in chosen):
        return {}
    images = [Marks(tuple(row["found"]), tuple(row["false"])) for row in chosen]
    curve = froc(images)
    scores = [score for marks in images for score in marks.found]
    return {
        "lesions": curve.pop("lesions") // repeats,
        "found": float(np.mean(np.array(scores) > 0)) if scores else float("nan"),
        "false_marks": float(np.mean([len(marks.false) for marks in images])),
        "froc": {str(rate): share for rate, share in curve.items()},
    }
