"""Another scanner: one change of all frames, as an episode's or a hospital's frames have one machine in common."""

import dataclasses

import numpy as np
from scipy import ndimage


@dataclasses.dataclass(frozen=True)
class Scanner:
    """Ranges from which a made-up scanner is drawn; every frame gets the same change, but for the noise itself.

    Attributes:
        gamma: standard deviation of the exponent's logarithm.
        depth_gain: of the logarithm of the gain at the bottom edge, and against the sign of it at the top.
        zoom: of the logarithm of the enlargement, of height and width by themselves. What lies outside is black.
        blur: largest standard deviation of a blur, in pixels; half of the scanners have one.
        noise: largest standard deviation of multiplicative noise; half of the scanners have it.
        inverted: share of the scanners that show black as white.
    """

    gamma: float = 0.35
    depth_gain: float = 0.25
    zoom: float = 0.2
    blur: float = 1.3
    noise: float = 0.12
    inverted: float = 0.15

    def __call__(self, images, masks, rng):
        """Draws a scanner, and shows frames as it would.

        Args:
            images: float32 [F, H, W, 3] in [0, 1]. masks: uint8 [F, H, W]. rng: numpy Generator.

        Returns:
            The same, changed. A frame whose lesion would leave it keeps its place.
        """
        height, width = masks.shape[1:]
        shown = images ** np.exp(rng.normal(0, self.gamma))
        if rng.random() < 0.5:
            sigma = rng.uniform(0, self.blur)
            shown = ndimage.gaussian_filter(shown, (0, sigma, sigma, 0))
        if rng.random() < self.inverted:
            shown = 1 - shown
        depth = np.linspace(-1, 1, height)[:, None, None]
        shown = shown * np.exp(rng.normal(0, self.depth_gain) * depth)
        if rng.random() < 0.5:
            shown = shown * (1 + rng.normal(0, rng.uniform(0, self.noise), masks.shape)[..., None])
        scale = np.exp(-rng.normal(0, self.zoom, 2))
        offset = (1 - scale) * (np.array([height, width]) - 1) / 2
        moved = np.stack([ndimage.affine_transform(mask, scale, offset, order=0) for mask in masks])
        lost = masks.any((1, 2)) & ~moved.any((1, 2))
        for frame in np.flatnonzero(~lost):
            shown[frame] = ndimage.affine_transform(shown[frame], [*scale, 1], [*offset, 0], order=1)
        moved[lost] = masks[lost]
        return np.clip(shown, 0, 1).astype(np.float32), moved
