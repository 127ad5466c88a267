"""Files and arrays to 8-bit RGB: the same pixels, or the same refusal, at every door."""

import io
import os
import struct
import zlib

import numpy as np
from PIL import Image, UnidentifiedImageError

from .kinds import PICTURES, kind_of

MAX_PIXELS = 50_000_000
"""Pictures with more pixels are refused before they are decoded: a small file can hold a huge picture."""
MAX_BYTES = 1 << 30
FORMATS = ("PNG", "JPEG", "BMP", "DIB", "GIF", "TIFF", "WEBP", "PPM", "JPEG2000")
"""What Pillow may open; of an MPO (a phone's JPEG with previews behind it) the picture that viewers show is
read."""
BYTES = (bytes, bytearray, memoryview)
LOSSY = ("JPEG", "MPO")
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What undoes each value of the EXIF tag Orientation (Exif 2.32, section 4.6.4)."""
BITS_PER_SAMPLE, COMPRESSION, PHOTOMETRIC, SAMPLE_FORMAT = 258, 259, 262, 339
"""Tags of TIFF 6.0."""
LOSSY_TIFF = {6: "JPEG", 7: "JPEG", 33003: "JPEG 2000", 33005: "JPEG 2000", 34712: "JPEG 2000", 50001: "WebP"}
"""Values of the tag Compression (TIFF 6.0, its technical note 2, and libtiff's tiff.h)."""
BASELINE = {0xC0, 0xC1, 0xC2}
"""Starts of frame of JPEG (ITU T.81, table B.1) that every decoder reads: Huffman-coded, baseline, extended
and progressive."""


class Refused(ValueError):
    """A picture that is not decoded; the message names the file, what came, what was expected, and the
    mend."""


def read_bytes(source, name):
    """Bytes of a path or of bytes.

    Raises:
        Refused: no such file, a folder, or a file that cannot be read.
    """
    if isinstance(source, BYTES):
        return bytes(source)
    try:
        if os.path.getsize(source) > MAX_BYTES:
            raise Refused(
                f"{name}: {os.path.getsize(source):,} bytes; the limit is {MAX_BYTES:,}. Save the picture alone, as PNG."
            )
        with open(source, "rb") as file:
            return file.read()
    except FileNotFoundError:
        raise Refused(f"{name}: no such file; expected a picture. Check the path.") from None
    except IsADirectoryError:
        raise Refused(f"{name}: a folder; expected a picture. Name a file in it.") from None
    except OSError as error:
        raise Refused(f"{name}: cannot be read ({error.strerror}); expected a picture.") from None


def open_pages(content, name, max_pixels=MAX_PIXELS, page=None, several=False):
    """Pages (TIFF) or frames (GIF, APNG, WebP) of a file, turned as it says.

    Args:
        content: bytes of a file.
        name: what to call it in an error.
        max_pixels: limit on the pixels of all pages that are read.
        page: number from 0 of the one to read; None: the only one, and a file with more is refused.
        several: whether all are read.

    Returns:
        List of `PIL.Image.Image`, loaded.

    Raises:
        Refused: no picture, not whole, too large, or several pages where one is expected.
    """
    kind, mend = kind_of(content)
    try:
        check_whole(content, name)
        content = _without_notes(content)
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            count = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
            if page is None and count > 1 and not several:
                raise Refused(
                    f"{name}: {kind} of {count} pages or frames; expected a picture of one. Save the one that you mean as a file of "
                    "its own, or name it: decode_image(path, page=0)."
                )
            if not several and (page or 0) >= count:
                raise Refused(f"{name}: page {page}; it has {count}, counted from 0.")
            pixels = image.width * image.height * (count if several else 1)
            if pixels > max_pixels:
                raise Refused(
                    f"{name}: {image.width} x {image.height}{f' x {count} pages' if several and count > 1 else ''} = {pixels:,} pixels; "
                    f"the limit is {max_pixels:,}. Shrink the picture, or raise panet_keras.pictures.limits.MAX_PIXELS."
                )
            pages = []
            for number in range(count) if several else [page or 0]:
                if count > 1:
                    image.seek(number)
                pages.append(_loaded(image, content))
            return pages
    except Refused:
        raise
    except UnidentifiedImageError:
        what = f"it is {kind}" if mend else f"it is {kind} of a variety that Pillow does not know"
        raise Refused(
            f"{name}: not a picture that can be read: {what}; expected {PICTURES}. {mend or 'Export it as PNG.'}"
        ) from None
    except Image.DecompressionBombError as error:
        raise Refused(f"{name}: {error}; the limit is {max_pixels:,} pixels. Shrink the picture.") from None
    except Exception as error:  # what Pillow's readers raise for a broken file is not listed anywhere
        raise Refused(
            f"{name}: cannot be decoded ({error}); expected a whole picture. Copy or export the file again."
        ) from None


def _loaded(image, content):
    """A copy of the present page with what Pillow leaves to the caller: orientation, 16-bit white,
    transparent grey of few bits; and whether it was compressed with loss."""
    wanted = (BITS_PER_SAMPLE, COMPRESSION, PHOTOMETRIC, SAMPLE_FORMAT) if image.format == "TIFF" else ()
    tags = {tag: image.tag_v2[tag] for tag in wanted if tag in image.tag_v2}
    inverted = tags.get(PHOTOMETRIC) == 0 and image.mode.startswith("I;16")
    if image.mode == "L" and 2 in tags.get(SAMPLE_FORMAT, ()):
        raise ValueError("TIFF of signed 8-bit numbers")
    image.load()
    page = turned(image) if image.format != "TIFF" else image.copy()  # Pillow has turned a TIFF
    page.format = image.format
    bits = tags.get(BITS_PER_SAMPLE, ()) or (content[24],) * (image.format == "PNG")
    page.info["lossy"] = _lossy(image.format, tags.get(COMPRESSION), content)
    page.info["deep_colour"] = (
        page.mode not in ("1", "L", "P") and not page.mode.startswith(("I", "F")) and 16 in bits
    )
    if 12 in bits and page.mode == "I;16":
        deep = np.asarray(page).astype(np.uint16)
        page = Image.fromarray((deep << 4) | (deep >> 8))
    if inverted:
        page = Image.fromarray(65535 - np.asarray(page).astype(np.uint16))
    grey = page.info.get("transparency")
    if image.format == "PNG" and isinstance(grey, int) and page.mode == "L" and content[24] in (2, 4):
        page.info["transparency"] = grey * (255 // (2 ** content[24] - 1))
    return page


def _lossy(form, compression, content):
    """Name of the compression with loss of a picture of Pillow's format `form`; False where there was none."""
    if form == "WEBP":  # RIFF: an even number of bytes behind name and length of each part
        place, parts = 12, []
        while place + 8 <= len(content):
            kind, length = struct.unpack("<4sI", content[place : place + 8])
            place += 8 + (16 if kind == b"ANMF" else length + length % 2)  # a frame has parts of its own
            parts.append(kind)
        return "WebP" if b"VP8 " in parts else False
    if (
        form == "JPEG2000"
    ):  # the marker COD ends with the transformation; 0 is not reversible (ISO 15444-1, A.6.1)
        place = content.find(b"\xff\x52", max(content.find(b"\xff\x4f\xff\x51"), 0))
        return "JPEG 2000" if content[place + 13 : place + 14] == b"\0" else False
    return LOSSY_TIFF.get(compression, False) if form == "TIFF" else "JPEG" if form in LOSSY else False


def turned(image):
    """A copy of a loaded image, turned as its EXIF says; one that says nothing readable is left as it
    lies."""
    value = 1
    if "exif" in image.info:
        exif = Image.Exif()
        try:
            exif.load(image.info["exif"])
            value = exif.get(0x0112, 1)
        except (SyntaxError, OSError, ValueError, KeyError, TypeError, IndexError, struct.error):
            pass
    turn = TURNS.get(value) if isinstance(value, int) else None
    return image.copy() if turn is None else image.transpose(turn)


CRITICAL = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
"""The chunks of a PNG that a decoder must know (PNG, third edition, 11.2); others whose first letter is a
capital are of no agreed kind."""


def check_whole(content, name):
    """Refuses a PNG, JPEG or JPEG 2000 that is cut off, and a PNG or JPEG that is damaged or of a kind that not
    every decoder reads, before any decodes it; other content passes.

    Raises:
        Refused: what is wrong with it.
    """
    _check_png(content, name)
    _check_jpeg(content, name)
    _check_jpeg2000(content, name)


def _check_png(content, name):
    """Pillow decodes a PNG where only its end, its header or a checksum is wrong, TensorFlow where a checksum
    of its notes is."""
    if content[:8] != b"\x89PNG\r\n\x1a\n":
        return

    def damaged(what):
        return Refused(
            f"{name}: cannot be decoded (PNG {what}); expected a whole picture. Copy or export the file again."
        )

    place, kinds, palette = 8, [], 0
    while place + 12 <= len(content):
        length, kind = struct.unpack(">I4s", content[place : place + 8])
        end = place + 12 + length
        if end > len(content):
            break
        if zlib.crc32(content[place + 4 : end - 4]) != int.from_bytes(content[end - 4 : end], "big"):
            raise damaged("with a wrong checksum")
        if not kinds and (kind != b"IHDR" or length != 13 or content[26:28] != b"\0\0"):
            raise damaged("with a wrong header")
        problem = kinds and _png_problem(kinds, kind, length, content, palette)
        if problem:
            raise damaged(problem)
        palette = length // 3 if kind == b"PLTE" else palette
        kinds.append(kind)
        if kind == b"IEND":
            if b"IDAT" not in kinds:
                raise damaged("without pixels")
            if content[24:26] == b"\x10\x02" and b"tRNS" in kinds:
                raise Refused(
                    f"{name}: PNG of 16 bits with a transparent colour; its look is not agreed. Export it as 8 bit."
                )
            return
        place = end
    raise damaged("that is cut off")


SEEN = (*CRITICAL, b"tRNS", b"eXIf", b"acTL", b"fcTL", b"fdAT")
"""The chunks of a PNG that change what is shown here: pixels, transparency, orientation, frames."""


def _without_notes(content):
    """A PNG without the chunks that change nothing, for one of which, long or damaged, Pillow would refuse the
    picture; other content as it is."""
    if content[:8] != b"\x89PNG\r\n\x1a\n":
        return content
    place, parts, dropped = 8, [content[:8]], False
    while place + 12 <= len(content):
        length, kind = struct.unpack(">I4s", content[place : place + 8])
        if kind in SEEN:
            parts.append(content[place : place + 12 + length])
        else:
            dropped = True
        place += 12 + length
    return b"".join(parts) if dropped else content


def _png_problem(kinds, kind, length, content, palette):
    """What is wrong with a chunk behind those of `kinds`, or None; decoders differ in what they make of each.

    Args:
        kinds: of the chunks before it. kind, length: its own. content: of the file. palette: number of colours.
    """
    bits, colour = content[24], content[25]
    if kind == b"IHDR":
        return "with two headers"
    if kind not in CRITICAL and not kind[0] & 32:
        return f"with an unknown part {kind.decode('latin-1')!a}"
    if kind == b"PLTE":
        most = 2**bits if colour == 3 else 256
        wrong = length % 3 or not 1 <= length // 3 <= most
        return "with a wrong palette" if wrong or b"PLTE" in kinds or b"IDAT" in kinds else None
    if kind == b"tRNS":
        fits = {0: length == 2, 2: length == 6, 3: 1 <= length <= palette}.get(colour, False)
        return None if fits and not {b"IDAT", b"tRNS"} & set(kinds) else "with a wrong transparency (tRNS)"
    if kind == b"IDAT":
        if colour == 3 and b"PLTE" not in kinds:
            return "without its palette"
        return "with pixels in several places" if b"IDAT" in kinds and kinds[-1] != b"IDAT" else None
    return None


def _check_jpeg(content, name):
    """Refuses JPEGs that not every decoder reads, or reads alike."""
    if content[:3] != b"\xff\xd8\xff":
        return
    place = 2
    while place + 10 <= len(content) and content[place] == 0xFF:
        marker = content[place + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            if marker not in BASELINE or content[place + 4] != 8:
                raise Refused(
                    f"{name}: JPEG of a rare kind (lossless, arithmetic or 12 bit); expected the common one. Convert it to PNG."
                )
            if content[place + 9] == 4:
                raise Refused(f"{name}: {INKS}")
            return
        if marker == 0xDA:
            return
        place += 1 if marker == 0xFF else 2 + int.from_bytes(content[place + 2 : place + 4], "big")


def _check_jpeg2000(content, name):
    """OpenJPEG fills what a file that is cut off lacks with a blur, or with grey, and says nothing."""
    start, end = 0, len(content)
    if content[4:12] == b"jP  \r\n\x87\n":
        # Boxes: length, kind; a length of 1 stands before a long one, 0 for all that is left (ISO 15444-1, I.4).
        while content[start + 4 : start + 8] != b"jp2c" and start + 8 <= len(content):
            start += _box(content, start)[1] or len(content)
        header, length = _box(content, start)
        end = start + length if length else end
        start += header
    elif content[:4] != b"\xff\x4f\xff\x51":
        return
    # The codestream ends with the marker EOC (A.4.4), whose bytes are never pixels; padding may lie behind it.
    if end > len(content) or content.rfind(b"\xff\xd9", start, end) < 0:
        raise Refused(
            f"{name}: cannot be decoded (JPEG 2000 that is cut off); expected a whole picture. Copy or export the file again."
        )


def _box(content, place):
    """Lengths in bytes of a JP2 box's header and of the whole box; 0 for one that goes on to the end."""
    length = int.from_bytes(content[place : place + 4], "big")
    return (16, int.from_bytes(content[place + 8 : place + 16], "big")) if length == 1 else (8, length)


INKS = "colours of four inks (CMYK), whose look depends on a printer; expected grey or RGB. Export it as RGB."


def to_rgb(image, name):
    """uint8 [H, W, 3] of a loaded `PIL.Image.Image`: 16-bit greys v / 257, transparency over black.

    Raises:
        Refused: a kind without an agreed look.
    """
    if image.mode == "CMYK":
        raise Refused(f"{name}: {INKS}")
    if image.mode == "F":
        raise Refused(
            f"{name}: floating-point picture (mode F); its white is undefined. Export it as 8 or 16 bit."
        )
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise Refused(
                f"{name}: grey values {values.min()} to {values.max()}; expected 0 to 65535. Export it as 8 or 16 bit."
            )
        return array_to_rgb(_without(values.astype(np.uint16), image), name)
    if image.mode in ("1", "L"):
        return array_to_rgb(_without(np.asarray(image.convert("L")), image), name)
    if image.has_transparency_data:
        return array_to_rgb(np.asarray(image.convert("RGBA")), name)
    try:
        return np.asarray(image.convert("RGB"))
    except (ValueError, OSError) as error:
        raise Refused(
            f"{name}: cannot be decoded ({error}); expected grey or RGB. Export it as RGB."
        ) from None


def _without(grey, image):
    """Greys with the transparent one made black."""
    return (
        np.where(grey == image.info["transparency"], grey.dtype.type(0), grey)
        if "transparency" in image.info
        else grey
    )


def whole_array(array, name):
    """An array of anything array-like; what numpy would show as if it were there is refused.

    Raises:
        Refused: a masked array (`numpy.ma`) with a masked element.
    """
    if np.ma.is_masked(array):
        raise Refused(
            f"{name}: a masked array of which {np.ma.count_masked(array)} values are masked; expected plain values. Fill them: "
            "array.filled(0)."
        )
    return np.asarray(array)


def array_to_rgb(array, name="image"):
    """Turns an array of any usual kind into 8-bit RGB, by the same rules as a file.

    Args:
        array: [H, W], [H, W, 1], [H, W, 2] (grey, alpha), [H, W, 3] or [H, W, 4]; bool, uint8, uint16 (0 to
            65535), or float in [0, 1].
        name: what to call it in an error.

    Returns:
        uint8 [H, W, 3].

    Raises:
        Refused: another shape, type or range.
    """
    array = whole_array(array, name)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)  # of another machine's order
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[-1] not in (1, 2, 3, 4) or 0 in array.shape:
        raise Refused(f"{name} has shape {array.shape}; expected [H, W], or [H, W, C] with 1 to 4 channels.")
    if array.dtype == np.uint8:
        scaled = array.astype(np.uint8)
    elif array.dtype == bool:
        scaled = array.astype(np.uint8) * np.uint8(255)
    elif array.dtype == np.uint16:
        scaled = ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
    elif array.dtype.kind == "f":
        if not np.isfinite(array).all() or array.min() < 0 or array.max() > 1:
            raise Refused(
                f"{name}: float values from {np.min(array):g} to {np.max(array):g}; expected finite values in [0, 1]. Divide 0..255 "
                "values by 255, or pass uint8."
            )
        scaled = np.rint(array.astype(np.float64) * 255).astype(np.uint8)
    else:
        raise Refused(f"{name} has dtype {array.dtype}; expected bool, uint8, uint16, or float in [0, 1].")
    if scaled.shape[-1] in (2, 4):
        alpha = scaled[..., -1:].astype(np.uint16)
        scaled = ((scaled[..., :-1].astype(np.uint16) * alpha + 127) // 255).astype(np.uint8)
    return np.repeat(scaled, 3, -1) if scaled.shape[-1] == 1 else scaled


def is_plain_png(content):
    """Whether file bytes are an 8-bit RGB PNG without transparency, orientation or frames: decoding them
    would change nothing.

    Args:
        content: bytes of a file.
    """
    header = content[:26]
    if header[:8] != b"\x89PNG\r\n\x1a\n" or header[24:26] != b"\x08\x02":
        return False
    before_pixels = content[: content.find(b"IDAT")]
    return b"tRNS" not in before_pixels and b"acTL" not in before_pixels and b"eXIf" not in content
