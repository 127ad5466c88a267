"""The one decoder of pictures and masks: the model sees what a viewer shows."""

import io
import itertools
import os

import numpy as np
from PIL import Image

from panet_keras.errors import ImageError, MaskColourError
from panet_keras.pictures import limits
from panet_keras.pictures.rules import rgb
from panet_keras.pictures.rules.kinds import kind_of
from panet_keras.pictures.rules.regions import sampled
from panet_keras.pictures.rules.rgb import is_plain_png

__all__ = [
    "colours_to_classes",
    "decode_image",
    "encode_png",
    "is_plain_png",
    "read_image",
    "resize_nearest",
    "to_uint8_rgb",
]

BLEND_TOLERANCE = 32.0
"""How far, in RGB units, a mask pixel may lie from the straight line between two legal colours."""


def decode_image(source, name=None, page=None):
    """Decodes a picture to 8-bit RGB.

    16-bit greys are scaled (v / 257), not clipped; of 16-bit colours the high byte counts. Transparent pixels
    are laid over black, so hidden colours never show. An orientation in EXIF is applied. A DICOM file is
    shown as a viewer shows it (`pictures.dicom`).

    Args:
        source: path, the bytes of a file (PNG, JPEG, BMP, TIFF, GIF, WebP, DICOM; known by content, not by
            ending), or a `PIL.Image.Image`.
        name: what to call it in an error; the path by default.
        page: number from 0 of the page (TIFF) or frame (GIF, DICOM) to decode; without it a file of several
            is refused.

    Returns:
        uint8 [H, W, 3].

    Raises:
        ImageError: cut off, foreign, too large, of several pages, or of a kind without an agreed look.
    """
    try:
        if isinstance(source, Image.Image):
            name = name or getattr(source, "filename", "") or "image"
            source.load()
            return rgb.to_rgb(rgb.turned(source), name)
        name = name or (f"<{len(source)} bytes>" if isinstance(source, rgb.BYTES) else os.fspath(source))
        content = rgb.read_bytes(source, name)
        if kind_of(content[:512])[0] == "DICOM":
            from panet_keras.pictures.dicom import decode_dicom

            return decode_dicom(content, name, page)
        [image] = rgb.open_pages(content, name, limits.MAX_PIXELS, page)
        return rgb.to_rgb(image, name)
    except rgb.Refused as error:
        raise ImageError(str(error)) from None


def to_uint8_rgb(array, name="image"):
    """Turns an array of any usual kind into 8-bit RGB, by the same rules as a file.

    Args:
        array: [H, W], [H, W, 1], [H, W, 2] (grey, alpha), [H, W, 3] or [H, W, 4]; bool, uint8, uint16 (0 to
            65535), or float in [0, 1].
        name: what to call it in an error.

    Returns:
        uint8 [H, W, 3].

    Raises:
        ImageError: another shape, type or range.
    """
    try:
        return rgb.array_to_rgb(array, name)
    except rgb.Refused as error:
        raise ImageError(str(error)) from None


def read_image(source, name):
    """uint8 RGB [H, W, 3] from a path, the bytes of a file, an array or a PIL image, see `decode_image` and
    `to_uint8_rgb`."""
    if isinstance(source, (str, *rgb.BYTES, os.PathLike, Image.Image)):
        return decode_image(source, name if isinstance(source, (*rgb.BYTES, Image.Image)) else None)
    return to_uint8_rgb(source, name)


def colours_to_classes(image, colours, name="mask"):
    """Class index of every pixel of a coloured mask.

    A mask that was shrunk with a smooth filter has mixed colours along its edges; a mix of two legal colours
    goes to the nearer one, and is counted. Any other colour is an error, never a guess.

    Args:
        image: uint8 [H, W, 3].
        colours: sequence of (red, green, blue), 0..255; the position is the class index.
        name: what to call it in an error.

    Returns:
        uint8 [H, W], and the number of mixed pixels.

    Raises:
        MaskColourError: a pixel whose colour is no mix of two legal colours; names x, y and the colour.
    """
    legal = np.asarray(colours, np.float64)
    codes = image.astype(np.int32) @ np.array([65536, 256, 1], np.int32)
    found, inverse = np.unique(codes, return_inverse=True)
    rgb = np.stack([found >> 16, (found >> 8) & 255, found & 255], -1).astype(np.float64)
    distance = np.linalg.norm(rgb[:, None] - legal[None], axis=-1)
    mixed = distance.min(1) > 0
    off_line = np.full(len(found), np.inf)
    for a, b in itertools.combinations(legal, 2):
        along = np.clip((rgb - a) @ (b - a) / ((b - a) @ (b - a)), 0, 1)
        off_line = np.minimum(off_line, np.linalg.norm(rgb - (a + along[:, None] * (b - a)), axis=-1))
    inverse = inverse.reshape(codes.shape)
    if (off_line > BLEND_TOLERANCE).any():
        y, x = np.argwhere((off_line > BLEND_TOLERANCE)[inverse])[0]
        allowed = ", ".join(str(tuple(colour)) for colour in colours)
        raise MaskColourError(
            f"{name}: pixel x={x}, y={y} has colour {tuple(image[y, x].tolist())}; expected {allowed}. Redraw it in a legal colour."
        )
    return distance.argmin(1).astype(np.uint8)[inverse], int(mixed[inverse].sum())


def resize_nearest(mask, size):
    """Stretches a mask [H, W] to `size` = (height, width) by nearest neighbour, pixel centres aligned."""
    rows, columns = (sampled(old, new) for old, new in zip(mask.shape, size))
    return mask[rows[:, None], columns[None, :]]


def encode_png(array):
    """PNG bytes of a uint8 array [H, W] or [H, W, 3]; lossless, the same bytes for the same array."""
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()
