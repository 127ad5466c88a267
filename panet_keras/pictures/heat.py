"""Pictures of maps at their images' own sizes, with the colour scale beside them."""

import numpy as np
from PIL import Image, ImageDraw

from panet_keras.pictures.overlay import draw_heat

GAP = 6
BAR = 16
"""Widths in pixels: between the pictures, and of the scale's bar."""


def draw_maps(pairs):
    """One row of images under their maps, top edges aligned, white around them; at the right the scale from 0
    to 1.

    Args:
        pairs: list of (image uint8 [H, W, 3], heat float [H, W] in [0, 1]); sizes may differ.

    Returns:
        uint8 [the highest H, sum of W and the scale, 3].
    """
    pictures = [draw_heat(image, heat) for image, heat in pairs]
    height = max(picture.shape[0] for picture in pictures)
    row = []
    for picture in pictures:
        below = ((0, height - picture.shape[0]), (0, GAP), (0, 0))
        row.append(np.pad(picture, below, constant_values=255))
    return np.concatenate([*row, colour_scale(height)], 1)


def colour_scale(height):
    """The colours of `draw_heat` with numbers beside them: uint8 [height, width, 3]."""
    import matplotlib

    ramp = matplotlib.colormaps["jet"](np.linspace(1.0, 0.0, height))[:, None, :3] * 255
    scale = Image.new("RGB", (BAR + 26, height), "white")
    scale.paste(Image.fromarray(np.repeat(ramp.astype(np.uint8), BAR, 1)), (0, 0))
    draw = ImageDraw.Draw(scale)
    for value in (1.0, 0.5, 0.0):
        text = f"{value:.1f}"
        _, top, _, bottom = draw.textbbox((0, 0), text)
        centred = (1 - value) * (height - 1) - (top + bottom) / 2
        draw.text((BAR + 4, min(max(centred, -top), height - 1 - bottom)), text, fill="black")
    return np.asarray(scale)
