"""From the arguments to a segmenter that knows its support, and what it decided on the way."""

import sys

import numpy as np

from panet_keras.commands.progress import counted
from panet_keras.errors import PANetError
from panet_keras.inference.adapt import MARKED_COST
from panet_keras.inference.segmenter import FEWEST_TO_ADAPT, open_segmenter, read_mask

ENOUGH_TO_ADAPT = 8
"""Annotated pictures from which fine-tuning is worth its minutes; so is the page's learning."""


def open_model(model, size, support, presence_threshold=None, adapt=False):
    """`FewShotSegmenter` with its support set; what was decided is said on stderr.

    Args:
        model, size: as in `panet_keras.inference.open_segmenter`.
        support: `Support`.
        presence_threshold: from 0 to 1; wins over all else. None: set by `adapt`; with a normal frame and two
            lesions calibrated on the support, unless the model is a preset that was calibrated before; else
            the model's own.
        adapt: whether a copy of the model is fine-tuned on the support, where that helps.

    Raises:
        PANetError: a model or a support that cannot be used.
    """
    segmenter = set_support(open_segmenter(model, size), support)
    own = segmenter.presence_threshold
    if adapt:
        adapt_model(segmenter)
    elif len(support.images) >= ENOUGH_TO_ADAPT and not segmenter.calibrated:
        tell(
            f"{len(support.images)} annotated pictures: --adapt fine-tunes the model on them where that helps (a few minutes; "
            "python -m panet_keras check --adapt --save FOLDER keeps the result for --model)"
        )
    if presence_threshold is not None:
        segmenter.presence_threshold = presence_threshold
        return segmenter
    if not segmenter.calibrated and support.normals and len(support.images) > 1:
        segmenter.calibrate()
    elif segmenter.adaptation is None:
        return segmenter
    tell(
        f"presence threshold {segmenter.presence_threshold:.2f}, set by {len(support.images)} annotated pictures and "
        f"{len(support.normals)} normal frames (the model's own: {own:.2f}); --presence-threshold sets another"
    )
    return segmenter


def set_support(segmenter, support):
    """Gives a segmenter the pictures of a `Support`; the segmenter."""
    return segmenter.set_support(list(support.images), support_masks(support), normals=list(support.normals))


def adapt_model(segmenter):
    """Fine-tunes a segmenter on its support where that helps, with a bar, and says what was decided."""
    with counted("steps of fine-tuning") as progress:
        segmenter.adapt(progress=progress)
    decided = segmenter.adaptation
    if decided is None:
        tell(
            f"adapt: too few annotated pictures with a lesion; at least {FEWEST_TO_ADAPT} are needed to decide anything. The model "
            "stays as it is."
        )
        return
    before, after = decided.scores[0], decided.scores[decided.share]
    if decided.steps:
        said = f"fine-tuned for {decided.steps} steps, weights taken {decided.share:.0%} of the way: score {before:.3f} before, {after:.3f} after"
    else:
        best = max(score for share, score in decided.scores.items() if share)
        said = f"the model stays as it is: score {before:.3f}, and {best:.3f} at best after fine-tuning"
    tell(f"adapt: {said} (mean Dice - {MARKED_COST} x share of normal frames marked, of pictures left out)")


def tell(line):
    """Says something of the work, beside the answers: on stderr."""
    print(line, file=sys.stderr, flush=True)


def support_masks(support):
    """A mask for each image, as `set_support` takes them: its path, or the union of several as an array.

    Raises:
        PANetError: masks of one image with different sizes, or a picture that cannot be read.
    """
    return [masks[0] if len(masks) == 1 else _united(masks) for masks in support.masks]


def _united(paths):
    parts = [read_mask(path, path) for path in paths]
    if len({part.shape for part in parts}) > 1:
        sizes = ", ".join(f"{path}: {part.shape[1]} x {part.shape[0]}" for path, part in zip(paths, parts))
        raise PANetError(
            f"masks of one picture have different sizes ({sizes}); expected that of the picture."
        )
    return np.logical_or.reduce(parts)
