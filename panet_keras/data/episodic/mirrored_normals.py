"""Normal frames from lesion images: the side without lesion, mirrored over the rest."""

import numpy as np

MARGIN = 10 / 256
"""Share of the width that is kept clear beside the lesion."""
NARROWEST = 0.33
"""Share of the width from which a side is used."""
DARKEST = 20.0
"""Mean grey level (0 to 255) below which a side is outside the beam."""


def mirrored_normal(image, mask):
    """A frame without lesion of the same scanner, depth and layers; the seam is a mirror, as augmentation
    makes them.

    Args:
        image: uint8 [H, W, 3]. mask: [H, W], not 0 = lesion.

    Returns:
        uint8 [H, W, 3], or None where no side is wide and bright enough.
    """
    columns = np.flatnonzero((mask > 0).any(0))
    width = mask.shape[1]
    margin = round(MARGIN * width)
    left, right = columns[0] - margin, width - columns[-1] - 1 - margin
    side = max(left, right)
    if side < NARROWEST * width:
        return None
    seen = image if left >= right else image[:, ::-1]
    part = seen[:, :side]
    if part.mean() < DARKEST:
        return None
    full = np.concatenate([part, part[:, ::-1], part, part[:, ::-1]], 1)[:, :width]
    return full if left >= right else full[:, ::-1]
