"""Pictures on the client's side, with Pillow and numpy, and pydicom for DICOM alone.

A client may import neither TensorFlow nor the model library, so `serving/rules` holds a copy of the library's
rules (panet_keras/pictures/rules); tests/panet_keras/test_doors.py holds both to the same result.
"""

import io
import os
import warnings

import numpy as np
from PIL import Image

from .rules import dicom, rgb
from .rules.kinds import kind_of
from .rules.regions import array_levels, lesion, mask_pages, resize_mask


def open_rgb(source):
    """Decodes a path, file bytes, PIL image or array to uint8 [H, W, 3], as `panet_keras.data.decode_image`
    does.

    Raises:
        ValueError: names the file, what came, what was expected and the mend.
    """
    if isinstance(source, np.ndarray):
        return rgb.array_to_rgb(source)
    if isinstance(source, Image.Image):
        source.load()
        return rgb.to_rgb(rgb.turned(source), _name(source))
    content = rgb.read_bytes(source, _name(source))
    if kind_of(content[:512])[0] == "DICOM":
        return dicom.decode_dicom(content, _name(source))
    [image] = rgb.open_pages(content, _name(source), page=None)
    return rgb.to_rgb(image, _name(source))


def open_mask(source):
    """bool [H, W]; not black is foreground, by the library's rule (`rules.regions.lesion`).

    Raises:
        ValueError: as `open_rgb`, or a mask whose levels stand for nothing certain.

    Warns:
        UserWarning: pixels between black and a label, which went to the nearer side.
    """
    name = _name(source)
    if isinstance(source, np.ndarray):
        mask, mixed = lesion(array_levels(source, "mask"), "mask")
    elif isinstance(source, Image.Image):
        source.load()
        page = rgb.turned(source)
        page.format = source.format
        mask, mixed = mask_pages([page], name)
    else:
        content = rgb.read_bytes(source, name)
        if kind_of(content[:512])[0] == "DICOM":
            mask, mixed = dicom.decode_mask(content, name)
        else:
            mask, mixed = mask_pages(rgb.open_pages(content, name, several=True), name)
    if mixed:
        warnings.warn(
            f"{name}: {mixed} pixels have mixed colours; each went to the nearest legal colour.", stacklevel=2
        )
    return mask


def _name(source):
    if isinstance(source, (bytes, bytearray, memoryview)):
        return f"<{len(source)} bytes>"
    return (
        os.fspath(source)
        if isinstance(source, (str, os.PathLike))
        else getattr(source, "filename", "") or "image"
    )


def shrink(picture, size):
    """uint8 [H, W, 3] to float32 [h, w, 3] in [0, 1]: bilinear with antialiasing, the model's own resizing
    rule."""
    channels = [
        np.asarray(
            Image.fromarray(picture[..., c].astype(np.float32)).resize(size[::-1], Image.Resampling.BILINEAR)
        )
        for c in range(3)
    ]
    return np.clip(np.stack(channels, -1) / np.float32(255), 0.0, 1.0)


def enlarge(probability, size):
    """float32 [h, w] to [H, W], bilinear between pixel centres and without antialiasing where it shrinks, as
    the segmenter does."""
    for axis, (old, new) in enumerate(zip(probability.shape, size)):
        centre = (np.arange(new) + 0.5) * (old / new) - 0.5
        low = np.floor(centre).astype(int)
        share = (centre - low).astype(np.float32).reshape(-1, *[1] * (1 - axis))
        below, above = (probability.take(np.clip(low + step, 0, old - 1), axis) for step in (0, 1))
        probability = below + (above - below) * share
    return probability


def shrink_mask(mask, size):
    """bool [H, W] to uint8 [h, w], nearest neighbour; a lesion between the sampled pixels keeps one."""
    return resize_mask(mask, size).astype(np.uint8)


def query_bytes(source):
    """Bytes that a server decodes to what `open_rgb` shows: plain PNG and JPEG as they are, all else as a PNG
    made here.

    Raises:
        ValueError: as `open_rgb`.
    """
    picture = open_rgb(source)
    if not isinstance(source, (np.ndarray, Image.Image)):
        content = rgb.read_bytes(source, _name(source))
        if rgb.is_plain_png(content):
            return content
        if kind_of(content)[0] == "JPEG" and Image.open(io.BytesIO(content)).getexif().get(0x0112, 1) == 1:
            return content
    return encode_png(picture)


def encode_png(array):
    """PNG bytes of uint8 [H, W] or [H, W, 3]."""
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


def unite_masks(paths):
    """bool [H, W] of several masks of one picture, as `panet_keras.commands.model.support_masks` unites them.

    Raises:
        ValueError: masks of different sizes, or one that cannot be read.
    """
    parts = [open_mask(path) for path in paths]
    if len({part.shape for part in parts}) > 1:
        sizes = ", ".join(f"{path}: {part.shape[1]} x {part.shape[0]}" for path, part in zip(paths, parts))
        raise ValueError(
            f"masks of one picture have different sizes ({sizes}); expected that of the picture."
        )
    return np.logical_or.reduce(parts)


def overlay(picture, mask):
    """Tints the mask green and draws its outline."""
    inside = np.asarray(mask, bool)
    eroded = inside.copy()
    for axis in (0, 1):
        for step in (-2, 2):
            eroded &= np.roll(inside, step, axis)
    result = picture.astype(np.float32)
    green = np.array([0, 200, 120], np.float32)
    result[inside] = 0.7 * result[inside] + 0.3 * green
    result[inside & ~eroded] = green
    return result.astype(np.uint8)
