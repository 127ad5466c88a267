"""Masks as PNG: 8 bits of grey, a pixel is its label's number."""

import io
import struct

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

SIGNATURE = b"\x89PNG\r\n\x1a\n"


class MaskError(ValueError):
    """Bytes that are no mask of a frame.

    Attributes:
        status: of HTTP. mend: what to do.
    """

    def __init__(self, status, message, mend):
        super().__init__(message)
        self.status, self.mend = status, mend


def encode(mask, notes=()):
    """PNG bytes of a mask uint8 [H, W].

    Args:
        mask: the labels' numbers. notes: dictionary of texts that are kept in the file.
    """
    info = PngInfo()
    for name, text in dict(notes).items():
        info.add_text(name, text)
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, "PNG", compress_level=1, pnginfo=info)
    return buffer.getvalue()


def decode(content, size=None, labels=255):
    """uint8 [H, W] of PNG bytes.

    Args:
        content: bytes. size: (height, width) that is expected, checked before a pixel is decoded; None: any.
        labels: highest number that may occur.

    Raises:
        MaskError: no PNG of 8 bits of grey (415), another size (400), a label that is not there (400).
    """
    height, width = found = size_of(content)
    if size is not None and found != tuple(size):
        raise MaskError(
            400,
            f"the mask is {width} x {height} pixels, its picture {size[1]} x {size[0]}",
            "draw it at the picture's own size",
        )
    try:
        with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
            mask = np.array(image)
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError) as error:
        raise MaskError(415, f"the mask's PNG cannot be decoded ({error})", "send a whole PNG") from None
    if mask.dtype != np.uint8 or mask.ndim != 2:
        raise MaskError(415, "the mask is no PNG of 8 bits of grey", "send one: pixel = label number")
    if mask.max(initial=0) > labels:
        raise MaskError(
            400,
            f"label number {mask.max()} in the mask; there are {labels}",
            "add the label first (/api/labels)",
        )
    return mask


def size_of(content):
    """(height, width) of PNG bytes, from their header; MaskError where it is none of 8 bits of grey."""
    header = content[:26]
    if header[:8] != SIGNATURE or len(header) < 26 or header[24:26] != b"\x08\x00":
        raise MaskError(415, "the mask is no PNG of 8 bits of grey", "send one: pixel = label number")
    width, height = struct.unpack(">II", header[16:24])
    return height, width


def notes(content):
    """Dictionary of the texts in PNG bytes that `encode` wrote."""
    with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
        return dict(image.text)


def numbers(mask):
    """Sorted label numbers in a mask, without background."""
    return [int(number) for number in np.flatnonzero(np.bincount(mask.ravel(), minlength=1)) if number]
