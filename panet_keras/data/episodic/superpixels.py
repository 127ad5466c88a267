"""Superpixels: regions of alike pixels that stand in for annotations in self-supervised episodes."""

import numpy as np

SCALE = 100
"""Of Felzenszwalb's method: larger means larger regions."""
AREA = (0.004, 0.15)
"""Smallest and largest region that is kept, as a share of the frame."""
DARK = 0.06
"""Regions of a lower mean brightness are outside the beam, and left out."""


def superpixels(image):
    """Regions of one image (Felzenszwalb and Huttenlocher, IJCV 2004), as SSL-ALPNet takes them (Ouyang et
    al., ECCV 2020, section 3.3).

    Args:
        image: uint8 [H, W, 3].

    Returns:
        uint8 [H, W]: 1, 2, ... for each region that can stand for a lesion, 0 elsewhere.
    """
    from skimage.segmentation import felzenszwalb

    grey = image.mean(-1) / 255.0
    regions = felzenszwalb(grey, scale=SCALE, sigma=0.8, min_size=int(AREA[0] * grey.size))
    area = np.bincount(regions.ravel()) / grey.size
    brightness = np.bincount(regions.ravel(), weights=grey.ravel()) / (area * grey.size)
    kept = np.flatnonzero((area >= AREA[0]) & (area <= AREA[1]) & (brightness >= DARK))[:255]
    numbers = np.zeros(len(area), np.uint8)
    numbers[kept] = np.arange(1, len(kept) + 1)
    return numbers[regions]
