"""The one decoder of pictures and masks: the model sees what a viewer shows."""

import io
import itertools
import os
import struct
import zlib

import numpy as np
from PIL import Image, UnidentifiedImageError

from panet_keras.errors import ImageError, MaskColourError

MAX_PIXELS = 50_000_000
"""Pictures with more pixels are refused before they are decoded: a small file can hold a huge picture."""
BLEND_TOLERANCE = 32.0
"""How far, in RGB units, a mask pixel may lie from the straight line between two legal colours."""


def decode_image(source, name=None):
    """Decodes a picture to 8-bit RGB.

    16-bit values are scaled (v / 257), not clipped. Transparent pixels are laid over black, so hidden colours never
    show. An orientation in EXIF is applied.

    Args:
        source: path, or the bytes of a file (PNG, JPEG, BMP, TIFF or what else Pillow reads).
        name: what to call it in an error; the path by default.

    Returns:
        uint8 [H, W, 3].

    Raises:
        ImageError: cut off, foreign, too large, or of a kind without an agreed look.
    """
    name = name or (f"<{len(source)} bytes>" if isinstance(source, bytes) else os.fspath(source))
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            pixels = image.width * image.height
            if pixels > MAX_PIXELS:
                raise ImageError(
                    f"{name}: {image.width} x {image.height} = {pixels:,} pixels; the limit is {MAX_PIXELS:,}. Shrink the "
                    "picture, or raise panet_keras.pictures.decode.MAX_PIXELS."
                )
            if "exif" in image.info:
                from PIL import ImageOps

                return _to_rgb(ImageOps.exif_transpose(image), name)
            return _to_rgb(image, name)
    except ImageError:
        raise
    except FileNotFoundError:
        raise ImageError(f"{name}: no such file; expected a picture. Check the path.") from None
    except UnidentifiedImageError:
        raise ImageError(f"{name}: not a picture that can be read; expected PNG, JPEG, BMP or TIFF. Export it again.") from None
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name}: {error}; the limit is {MAX_PIXELS:,} pixels. Shrink the picture.") from None
    except (OSError, SyntaxError, ValueError, zlib.error, struct.error) as error:
        raise ImageError(f"{name}: cannot be decoded ({error}); expected a whole picture. Copy or export the file again.") from None


def is_plain_png(content):
    """Whether file bytes are an 8-bit RGB PNG without transparency or orientation: `decode_image` would change nothing.

    Args:
        content: bytes of a file.
    """
    header = content[:26]
    if header[:8] != b"\x89PNG\r\n\x1a\n" or header[24:26] != b"\x08\x02":
        return False
    before_pixels = content[: content.find(b"IDAT")]
    return b"tRNS" not in before_pixels and b"eXIf" not in content


def _to_rgb(image, name):
    image.load()
    if image.mode.startswith("I;16") or image.mode == "I":
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise ImageError(
                f"{name}: grey values {values.min()} to {values.max()}; expected 0 to 65535. Export it as 8 or 16 bit."
            )
        return to_uint8_rgb(values.astype(np.uint16), name)
    if image.mode == "F":
        raise ImageError(f"{name}: floating-point picture (mode F); its white is undefined. Export it as 8 or 16 bit.")
    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        return to_uint8_rgb(np.asarray(image.convert("RGBA")), name)
    return np.asarray(image.convert("RGB"))


def to_uint8_rgb(array, name="image"):
    """Turns an array of any usual kind into 8-bit RGB, by the same rules as a file.

    Args:
        array: [H, W], [H, W, 1], [H, W, 2] (grey, alpha), [H, W, 3] or [H, W, 4]; bool, uint8, uint16 (0 to 65535), or
            float in [0, 1].
        name: what to call it in an error.

    Returns:
        uint8 [H, W, 3].

    Raises:
        ImageError: another shape, type or range.
    """
    array = np.asarray(array)
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[-1] not in (1, 2, 3, 4) or 0 in array.shape:
        raise ImageError(f"{name} has shape {array.shape}; expected [H, W], or [H, W, C] with 1 to 4 channels.")
    if array.dtype == np.uint8:
        scaled = array.astype(np.uint8)
    elif array.dtype == bool:
        scaled = array.astype(np.uint8) * np.uint8(255)
    elif array.dtype == np.uint16:
        scaled = ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
    elif array.dtype.kind == "f":
        if not np.isfinite(array).all() or array.min() < 0 or array.max() > 1:
            raise ImageError(
                f"{name}: float values from {np.min(array):g} to {np.max(array):g}; expected finite values in [0, 1]. Divide "
                "0..255 values by 255, or pass uint8."
            )
        scaled = np.rint(array.astype(np.float64) * 255).astype(np.uint8)
    else:
        raise ImageError(f"{name} has dtype {array.dtype}; expected bool, uint8, uint16, or float in [0, 1].")
    if scaled.shape[-1] in (2, 4):
        alpha = scaled[..., -1:].astype(np.uint16)
        scaled = ((scaled[..., :-1].astype(np.uint16) * alpha + 127) // 255).astype(np.uint8)
    return np.repeat(scaled, 3, -1) if scaled.shape[-1] == 1 else scaled


def colours_to_classes(image, colours, name="mask"):
    """Class index of every pixel of a coloured mask.

    A mask that was shrunk with a smooth filter has mixed colours along its edges; a mix of two legal colours goes to
    the nearer one, and is counted. Any other colour is an error, never a guess.

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
    rows, columns = (
        np.minimum(((np.arange(new) + 0.5) * (old / new)).astype(np.int64), old - 1) for new, old in zip(size, mask.shape)
    )
    return mask[rows[:, None], columns[None, :]]


def encode_png(array):
    """PNG bytes of a uint8 array [H, W] or [H, W, 3]; lossless, the same bytes for the same array."""
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()
