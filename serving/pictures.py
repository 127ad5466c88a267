"""Pictures on the client's side, with Pillow and numpy alone.

The server owns the rules (panet_keras.pictures.decode); a client may import neither TensorFlow nor the model library, so the
few that a support image needs stand here again. tests/serving/test_client.py holds both to the same result.
"""

import io
import os

import numpy as np
from PIL import Image, ImageOps


def open_rgb(source):
    """Decodes a path, file bytes or array to uint8 [H, W, 3]: 16 bits scaled, transparency over black, EXIF turned."""
    if isinstance(source, np.ndarray):
        return _array_rgb(source)
    with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I"):
            return _array_rgb(np.asarray(image).astype(np.uint16))
        if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
            return _array_rgb(np.asarray(image.convert("RGBA")))
        return np.asarray(image.convert("RGB"))


def _array_rgb(array):
    if array.dtype == np.uint16:
        array = ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
    elif array.dtype == bool:
        array = array.astype(np.uint8) * np.uint8(255)
    elif array.dtype.kind == "f":
        array = np.rint(array.astype(np.float64) * 255).astype(np.uint8)
    if array.dtype != np.uint8 or array.ndim not in (2, 3):
        raise ValueError(
            f"image has dtype {array.dtype} and shape {array.shape}; expected [H, W] or [H, W, C] of uint8, uint16, bool or float in [0, 1]"
        )
    array = array[..., None] if array.ndim == 2 else array
    if array.shape[-1] in (2, 4):
        alpha = array[..., -1:].astype(np.uint16)
        array = ((array[..., :-1] * alpha + 127) // 255).astype(np.uint8)
    return np.repeat(array, 3, -1) if array.shape[-1] == 1 else array


def open_mask(source):
    """bool [H, W]; not black is foreground."""
    if isinstance(source, np.ndarray):
        mask = source[..., 0] if source.ndim == 3 else source
        return mask != 0
    grey = open_rgb(source).max(-1)
    return grey > (0 if grey.max() <= 2 else 127)


def shrink(picture, size):
    """uint8 [H, W, 3] to float32 [h, w, 3] in [0, 1]: bilinear with antialiasing, the model's own resizing rule."""
    channels = [
        np.asarray(Image.fromarray(picture[..., c].astype(np.float32)).resize(size[::-1], Image.Resampling.BILINEAR))
        for c in range(3)
    ]
    return np.clip(np.stack(channels, -1) / np.float32(255), 0.0, 1.0)


def enlarge(probability, size):
    """float32 [h, w] to [H, W], bilinear between pixel centres and without antialiasing where it shrinks, as the segmenter does."""
    for axis, (old, new) in enumerate(zip(probability.shape, size)):
        centre = (np.arange(new) + 0.5) * (old / new) - 0.5
        low = np.floor(centre).astype(int)
        share = (centre - low).astype(np.float32).reshape(-1, *[1] * (1 - axis))
        below, above = (probability.take(np.clip(low + step, 0, old - 1), axis) for step in (0, 1))
        probability = below + (above - below) * share
    return probability


def shrink_mask(mask, size):
    """bool [H, W] to uint8 [h, w], nearest neighbour; a lesion between the sampled pixels keeps one."""
    rows, columns = (np.minimum(((np.arange(n) + 0.5) * (o / n)).astype(int), o - 1) for n, o in zip(size, mask.shape))
    small = mask[rows[:, None], columns[None, :]].astype(np.uint8)
    if mask.any() and not small.any():
        y, x = np.argwhere(mask).mean(0)
        small[int(y * size[0] / mask.shape[0]), int(x * size[1] / mask.shape[1])] = 1
    return small


def query_bytes(source):
    """PNG or JPEG bytes that the server can decode; other kinds, and turned JPEGs, become PNG here."""
    if not isinstance(source, np.ndarray):
        content = source if isinstance(source, bytes) else open(os.fspath(source), "rb").read()
        if content[:8] == b"\x89PNG\r\n\x1a\n":
            return content
        if content[:3] == b"\xff\xd8\xff" and Image.open(io.BytesIO(content)).getexif().get(0x0112, 1) == 1:
            return content
    buffer = io.BytesIO()
    Image.fromarray(open_rgb(source)).save(buffer, "PNG")
    return buffer.getvalue()


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
