"""Pictures of masks and maps."""

import numpy as np
from PIL import Image
from scipy import ndimage

COLOURS = ((0, 200, 120), (240, 80, 60), (80, 140, 255), (250, 190, 40))


def draw_mask(image, mask, colours=COLOURS):
    """Tints each way's pixels and draws its outline.

    Args:
        image: uint8 [H, W, 3]. mask: bool or uint8 [H, W]; 0 = background, 1..N.
        colours: RGB of each way, used in turn.

    Returns:
        uint8 [H, W, 3].
    """
    picture = image.astype(np.float32)
    for way in range(1, int(np.max(mask)) + 1):
        inside = np.asarray(mask) == way
        colour = np.array(colours[(way - 1) % len(colours)], np.float32)
        picture[inside] = 0.7 * picture[inside] + 0.3 * colour
        edge = inside & ~ndimage.binary_erosion(inside, iterations=2)
        picture[edge] = colour
    return picture.astype(np.uint8)


def draw_heat(image, heat):
    """Lays a map [H, W] in [0, 1] over an image: blue is low, red is high, and the map's weight grows with
    its value.

    A map that is zero everywhere has nothing to show: the image comes back as it is.
    """
    import matplotlib

    if not np.any(heat):
        return image.copy()
    colour = matplotlib.colormaps["jet"](heat)[..., :3] * 255
    weight = 0.25 + 0.4 * heat[..., None]
    return (image * (1 - weight) + colour * weight).astype(np.uint8)


def side_by_side(pictures, height=256, gap=6):
    """Joins uint8 [H, W, 3] pictures into one row of the given height, white between them."""
    scaled = [
        np.asarray(
            Image.fromarray(p).resize(
                (max(1, round(p.shape[1] * height / p.shape[0])), height), Image.Resampling.BILINEAR
            )
        )
        for p in pictures
    ]
    white = np.full((height, gap, 3), 255, np.uint8)
    row = []
    for picture in scaled:
        row += [picture, white]
    return np.concatenate(row[:-1], 1)
