"""The one reading of masks: not black is lesion, at every bit depth, for data readers and segmenter alike."""

import os
import warnings

import numpy as np
from PIL import Image

from panet_keras.errors import ImageError, MaskColourError, MixedColourWarning
from panet_keras.pictures import limits
from panet_keras.pictures.rules import dicom, regions, rgb
from panet_keras.pictures.rules.kinds import kind_of


def decode_mask(source, name=None):
    """Decodes a mask: which pixels are lesion, by `pictures.rules.regions.lesion`; several pages are united, and
    so are the segments of a DICOM SEG (`pictures.rules.dicom.decode_mask`).

    Args:
        source: path, the bytes of a file, a `PIL.Image.Image`, or an array [H, W] of bool or any number ([H,
            W, C] of uint8: not black).
        name: what to call it in an error; the path by default.

    Returns:
        bool [H, W], and the number of pixels that were neither black nor of a label and went to the nearer
        side.

    Raises:
        MaskColourError: levels that stand for nothing certain (a photograph, no black, NaN).
        ImageError: a picture that cannot be decoded, or an annotation in another format; names it and the way
            in.
    """
    try:
        if isinstance(source, Image.Image):
            source.load()
            page = rgb.turned(source)
            page.format = source.format
            return regions.mask_pages([page], name or "mask")
        if not isinstance(source, (str, *rgb.BYTES, os.PathLike)):
            return regions.lesion(regions.array_levels(source, name or "mask"), name or "mask")
        name = name or (f"<{len(source)} bytes>" if isinstance(source, rgb.BYTES) else os.fspath(source))
        content = rgb.read_bytes(source, name)
        if kind_of(content[:512])[0] == "DICOM":
            return dicom.decode_mask(content, name, limits.MAX_PIXELS)
        return regions.mask_pages(rgb.open_pages(content, name, limits.MAX_PIXELS, several=True), name)
    except regions.MaskRefused as error:
        raise MaskColourError(str(error)) from None
    except rgb.Refused as error:
        raise ImageError(str(error)) from None


def read_mask(source, name):
    """bool [H, W] as `decode_mask`, with a warning where pixels went to the nearer side.

    Warns:
        MixedColourWarning: how many pixels.
    """
    mask, mixed = decode_mask(
        source, name if isinstance(source, (*rgb.BYTES, Image.Image, np.ndarray)) else None
    )
    if mixed:
        warnings.warn(mixed_text(name, mixed), MixedColourWarning, stacklevel=3)
    return mask


def mixed_text(name, mixed):
    """What a `MixedColourWarning` says of a mask."""
    return (
        f"{name}: {mixed} pixels have mixed colours; each went to the nearest legal colour. Was the mask shrunk with a smooth filter, "
        "or saved as JPEG?"
    )


def sides_problem(mask, image):
    """Why a mask of one size (height, width) cannot be stretched to an image of another, or None where it
    can."""
    ratio = (mask[1] / mask[0]) / (image[1] / image[0])
    if max(ratio, 1 / ratio) <= MOST_STRETCHED:
        return None
    turned = mask[0] / mask[1] * image[0] / image[1]
    if max(turned, 1 / turned) < 1.1:
        return "its sides are swapped: one of the two was turned (an orientation in EXIF?). Turn the mask as the image is shown."
    return "it belongs to another picture, or was cropped. Draw it on this one."


MOST_STRETCHED = 1.5
"""Ratio of the sides' ratios of mask and image beyond which a mask is refused; BUS-UCLM has 1.16."""
