"""From the arguments to a segmenter that knows its support."""

import numpy as np

from panet_keras.errors import PANetError
from panet_keras.inference.segmenter import open_segmenter, read_mask


def open_model(model, size, support, presence_threshold=None, adapt=False):
    """`FewShotSegmenter` with its support set.

    Args:
        model, size: as in `panet_keras.inference.open_segmenter`.
        support: `Support`.
        presence_threshold: from 0 to 1; None: the model's own.
        adapt: whether a copy of the model is fine-tuned on the support.

    Raises:
        PANetError: a model or a support that cannot be used.
    """
    segmenter = open_segmenter(model, size)
    if presence_threshold is not None:
        segmenter.presence_threshold = presence_threshold
    more = {"normals": list(support.normals)} if support.normals else {}
    segmenter.set_support(list(support.images), support_masks(support), **more)
    return segmenter.adapt() if adapt else segmenter


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
        raise PANetError(f"masks of one picture have different sizes ({sizes}); expected that of the picture.")
    return np.logical_or.reduce(parts)
