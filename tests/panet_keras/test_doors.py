"""The cross-table: rows are files, columns are doors; every cell has the same pixels, or the same refusal."""

import filecmp
import gzip
import io
import pathlib
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from panet_keras import ImageError
from panet_keras.data import Record, decode_image, load_folder
from panet_keras.pictures.decode import read_image
from panet_keras.pictures.masks import decode_mask
from panet_keras.pictures.rules.regions import regions, resize_mask
from serving.pictures import open_mask, open_rgb, query_bytes, shrink_mask

HEIGHT, WIDTH = 19, 27
RNG = np.random.default_rng(0)
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""First x, first y, step in x, step in y of each pass (PNG, third edition, 8.2)."""


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def rows_of(samples, depth):
    """Unfiltered rows of samples [H, W, C]."""
    if depth >= 8:
        return b"".join(b"\0" + row.astype(">u2" if depth == 16 else "u1").tobytes() for row in samples)
    bits = ((samples[..., 0, None] >> np.arange(depth)[::-1]) & 1).reshape(len(samples), -1).astype(np.uint8)
    return b"".join(b"\0" + np.packbits(row).tobytes() for row in bits)


def png(samples, depth, colour, extra=(), interlaced=False, after=b""):
    """A PNG file of samples [H, W, C], with chunks before its pixels."""
    header = struct.pack(">IIBBBBB", samples.shape[1], samples.shape[0], depth, colour, 0, 0, int(interlaced))
    parts = [samples[y::dy, x::dx] for x, y, dx, dy in ADAM7] if interlaced else [samples]
    pixels = zlib.compress(b"".join(rows_of(part, depth) for part in parts if part.size))
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + b"".join(extra)
        + chunk(b"IDAT", pixels)
        + after
        + chunk(b"IEND", b"")
    )


def saved(image, kind, **options):
    stream = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(stream, kind, **options)
    return stream.getvalue()


def grey(values):
    return np.repeat(np.asarray(values, np.uint8)[..., None], 3, -1)


def over_black(colours, alpha):
    return ((colours.astype(int) * alpha + 127) // 255).astype(np.uint8)


def png_rows():
    """(name, file, expected pixels) of every bit depth and colour type."""
    for depth in (1, 2, 4, 8, 16):
        top = 2**depth - 1
        samples = RNG.integers(0, top + 1, (HEIGHT, WIDTH, 1))
        seen = (samples[..., 0] + 128) // 257 if depth == 16 else samples[..., 0] * 255 // top
        for interlaced in (False, True):
            yield (
                f"grey {depth}{' interlaced' * interlaced}",
                png(samples, depth, 0, interlaced=interlaced),
                grey(seen),
            )
        clear = int(samples[3, 3, 0])
        transparent = [chunk(b"tRNS", struct.pack(">H", clear))]
        yield (
            f"grey {depth} tRNS",
            png(samples, depth, 0, transparent),
            grey(np.where(samples[..., 0] == clear, 0, seen)),
        )
        if depth == 16:
            continue
        palette = RNG.integers(0, 256, (top + 1, 3)).astype(np.uint8)
        alpha = RNG.integers(0, 256, top + 1).astype(np.uint8)
        table = chunk(b"PLTE", palette.tobytes())
        yield f"palette {depth}", png(samples, depth, 3, [table]), palette[samples[..., 0]]
        yield (
            f"palette {depth} tRNS",
            png(samples, depth, 3, [table, chunk(b"tRNS", alpha.tobytes())]),
            over_black(palette[samples[..., 0]], alpha[samples][..., :1]),
        )
    for depth, shift in ((8, 0), (16, 8)):
        samples = RNG.integers(0, 2**depth, (HEIGHT, WIDTH, 4))
        seen = (samples >> shift).astype(np.uint8)
        yield f"rgb {depth}", png(samples[..., :3], depth, 2), seen[..., :3]
        yield f"rgb {depth} interlaced", png(samples[..., :3], depth, 2, interlaced=True), seen[..., :3]
        yield f"rgba {depth}", png(samples, depth, 6), over_black(seen[..., :3], seen[..., 3:])
        yield (
            f"grey alpha {depth}",
            png(samples[..., 2:], depth, 4),
            grey(over_black(seen[..., 2], seen[..., 3])),
        )
    clear = chunk(b"tRNS", struct.pack(">3H", *seen[2, 2, :3]))
    yield (
        "rgb 8 tRNS",
        png(seen[..., :3], 8, 2, [clear]),
        np.where((seen[..., :3] == seen[2, 2, :3]).all(-1, keepdims=True), 0, seen[..., :3]),
    )


PIXELS = RNG.integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)
NOTES = {
    "long text": chunk(b"tEXt", b"a\0" + b"x" * 2_000_000),
    "packed text": chunk(b"iTXt", b"a\0\1\0\0\0" + zlib.compress(bytes(3_000_000))),
    "packed colour profile": chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(3_000_000))),
    "half a gamma": chunk(b"gAMA", b"1"),
    "half a size": chunk(b"pHYs", b"1"),
}
"""Parts of a PNG that change no pixel, and that one of the decoders stumbles over."""
SMOOTH = np.asarray(Image.fromarray(PIXELS[:4, :5]).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))
DEEP = RNG.integers(0, 65536, (HEIGHT, WIDTH)).astype(np.uint16)


def tiff(image, *more, **options):
    pages = [Image.fromarray(page) for page in more]
    return saved(image, "TIFF", save_all=bool(pages), append_images=pages, **options)


def white_is_zero():
    """A 16-bit TIFF whose tag PhotometricInterpretation (262) says 0."""
    content = tiff(DEEP)
    entry = struct.pack("<HHIHH", 262, 3, 1, 1, 0)
    assert content.count(entry) == 1
    return content.replace(entry, struct.pack("<HHIHH", 262, 3, 1, 0, 0))


def twelve_bits(values):
    """A TIFF of samples of 12 bits, which Pillow reads and does not write: one of bytes, its tags changed."""
    bits = (values[..., None] >> np.arange(12)[::-1]) & 1
    rows = np.packbits(bits.reshape(len(values), -1).astype(np.uint8), axis=1)
    content = tiff(rows)
    for tag, kind, old, new in ((256, 4, rows.shape[1], values.shape[1]), (258, 3, 8, 12)):
        entry = struct.pack("<HHII", tag, kind, 1, old)
        assert content.count(entry) == 1
        content = content.replace(entry, struct.pack("<HHII", tag, kind, 1, new))
    return content


def other_rows():
    """(name, file, expected pixels) of kinds that Pillow writes."""
    deep = (DEEP.astype(int) + 128) // 257
    yield "BMP", saved(PIXELS, "BMP"), PIXELS
    yield "GIF", saved(PIXELS[..., 0], "GIF"), grey(PIXELS[..., 0])
    yield "WebP", saved(PIXELS, "WEBP", lossless=True), PIXELS
    yield "PGM", saved(PIXELS[..., 0], "PPM"), grey(PIXELS[..., 0])
    yield "TIFF 8", tiff(PIXELS, compression="tiff_lzw"), PIXELS
    yield "TIFF 16", tiff(DEEP), grey(deep)
    twelve = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) * 4095 // (HEIGHT * WIDTH - 1)
    yield "TIFF 12", twelve_bits(twelve), grey(((twelve * 16 + twelve // 256) + 128) // 257)
    yield "TIFF 16 white is zero", white_is_zero(), grey((65535 - DEEP.astype(int) + 128) // 257)
    yield "TIFF 32", tiff(DEEP.astype(np.int32)), grey(deep)
    yield "TIFF 1", tiff(PIXELS[..., 0] > 127), grey((PIXELS[..., 0] > 127) * 255)
    for name, part in NOTES.items():
        yield f"PNG with {name}", png(PIXELS, 8, 2, [part]), PIXELS
    yield "PNG of 1 x 1", png(PIXELS[:1, :1], 8, 2), PIXELS[:1, :1]
    yield "PNG of 60,000 x 1", png(np.zeros((1, 60_000, 1), int), 1, 0), np.zeros((1, 60_000, 3), np.uint8)
    yield "TIFF turned", tiff(PIXELS, tiffinfo={274: 6}), np.rot90(PIXELS, -1)


def animated(kind, count=2, **options):
    frames = [Image.fromarray(np.roll(PIXELS, shift, 1)) for shift in range(count)]
    return saved(frames[0], kind, save_all=True, append_images=frames[1:], **options)


WHOLE = png(PIXELS, 8, 2)
JPEG = saved(SMOOTH, "JPEG", quality=92)
SIZE = struct.pack(">HH", HEIGHT, WIDTH)
NOT = "not a picture that can be read: it is "
DAMAGED = r"cannot be decoded \(PNG {}\); expected a whole picture"
# Name: file, what library and client say, what the server says (None: the same, of the picture's place).
REFUSED = {
    "PNG cut off": (WHOLE[:-40], r"cannot be decoded \(PNG that is cut off\)", "PNG that is cut off"),
    "PNG without end": (WHOLE[:-12], r"cannot be decoded \(PNG that is cut off\)", "PNG that is cut off"),
    "PNG damaged": (WHOLE[:80] + b"\0\1\2" + WHOLE[83:], DAMAGED.format("with a wrong checksum"), None),
    "PNG with a damaged note": (
        png(PIXELS, 8, 2, [chunk(b"tEXt", b"a\0b")[:-1] + b"?"]),
        DAMAGED.format("with a wrong checksum"),
        None,
    ),
    "PNG with a damaged end": (WHOLE[:-1] + b"?", DAMAGED.format("with a wrong checksum"), None),
    "PNG of two headers": (
        png(PIXELS, 8, 2, [WHOLE[8:33]]),
        DAMAGED.format("with two headers"),
        None,
    ),
    "PNG whose header is not the first": (
        WHOLE[:8] + chunk(b"gAMA", bytes(4)) + WHOLE[8:],
        DAMAGED.format("with a wrong header"),
        None,
    ),
    "PNG with an unknown part": (
        png(PIXELS, 8, 2, [chunk(b"CgBI", bytes(4))]),
        DAMAGED.format("with an unknown part 'CgBI'"),
        None,
    ),
    "PNG without palette": (png(PIXELS[..., :1], 8, 3), DAMAGED.format("without its palette"), None),
    "PNG of two palettes": (
        png(PIXELS[..., :1] % 2, 8, 3, [chunk(b"PLTE", bytes(6))] * 2),
        DAMAGED.format("with a wrong palette"),
        None,
    ),
    "PNG with half a palette": (
        png(PIXELS[..., :1] % 2, 8, 3, [chunk(b"PLTE", bytes(5))]),
        DAMAGED.format("with a wrong palette"),
        None,
    ),
    "PNG with more transparency than colours": (
        png(PIXELS[..., :1] % 2, 8, 3, [chunk(b"PLTE", bytes(6)), chunk(b"tRNS", bytes(9))]),
        DAMAGED.format(r"with a wrong transparency .tRNS."),
        None,
    ),
    "PNG with half a transparent colour": (
        png(PIXELS, 8, 2, [chunk(b"tRNS", bytes(3))]),
        DAMAGED.format(r"with a wrong transparency .tRNS."),
        None,
    ),
    "PNG with pixels in two places": (
        png(PIXELS, 8, 2, after=chunk(b"tEXt", b"a\0b") + chunk(b"IDAT", b"")),
        DAMAGED.format("with pixels in several places"),
        None,
    ),
    "PNG without pixels": (WHOLE[:33] + chunk(b"IEND", b""), DAMAGED.format("without pixels"), None),
    "PNG with a wrong zlib stream": (
        WHOLE[:33] + chunk(b"IDAT", b"x\x9cnonsense" * 9) + chunk(b"IEND", b""),
        "cannot be decoded .*expected a whole picture",
        None,
    ),
    "JPEG without its tables": (
        JPEG.replace(b"\xff\xdb", b"\xff\xfe"),
        "cannot be decoded .*expected a whole picture",
        None,
    ),
    "JPEG cut off with an end": (
        JPEG[:200] + b"\xff\xd9",
        "cannot be decoded .*expected a whole picture",
        None,
    ),
    "JPEG of no height": (
        JPEG.replace(SIZE, bytes(2) + SIZE[2:]),
        f"{NOT}JPEG of a variety that Pillow does not know",
        None,
    ),
    "PNG rgb 16 tRNS": (
        png(PIXELS.astype(int) * 257, 16, 2, [chunk(b"tRNS", struct.pack(">3H", 1, 2, 3))]),
        "PNG of 16 bits with a transparent colour.*Export it as 8 bit",
        "PNG of 16 bits with a transparent colour",
    ),
    "APNG": (animated("PNG"), "PNG of 2 pages or frames; expected a picture of one", r"PNG of.*2.*frames"),
    "APNG whose picture is no frame": (
        animated("PNG", default_image=True),
        "PNG of 2 pages or frames",
        "PNG of.*2.*frames",
    ),
    "GIF of frames": (animated("GIF", 3), "GIF of 3 pages or frames", "but.*GIF.*convert it to PNG"),
    "WebP of frames": (animated("WEBP", lossless=True), "WebP of 2 pages or frames", "but.*WebP"),
    "TIFF of pages": (tiff(PIXELS, PIXELS, PIXELS), "TIFF of 3 pages or frames.*page=0", "but.*TIFF"),
    "TIFF of int32": (
        tiff(DEEP.astype(np.int32) + 70000),
        "grey values 7.* to 1.*; expected 0 to 65535",
        "but.*TIFF",
    ),
    "TIFF below 0": (
        tiff(-DEEP.astype(np.int32)),
        "grey values -6.* to .*; expected 0 to 65535",
        "but.*TIFF",
    ),
    "TIFF of signed bytes": (
        tiff(PIXELS[..., 0], tiffinfo={339: 2}),
        r"cannot be decoded \(TIFF of signed 8-bit numbers\)",
        "but.*TIFF",
    ),
    "TIFF of floats": (
        tiff(DEEP.astype(np.float32)),
        r"floating-point picture.*Export it as 8 or 16 bit",
        "but.*TIFF",
    ),
    "TIFF CMYK": (
        saved(Image.new("CMYK", (9, 9)), "TIFF"),
        r"colours of four inks \(CMYK\).*Export it as RGB",
        "but.*TIFF",
    ),
    "JPEG CMYK": (
        saved(Image.new("CMYK", (9, 9)), "JPEG"),
        r"colours of four inks \(CMYK\).*Export it as RGB",
        r"four inks \(CMYK\)",
    ),
    "JPEG cut off": (JPEG[: len(JPEG) // 2], "cannot be decoded", "JPEG that is cut off"),
    "JPEG lossless": (JPEG.replace(b"\xff\xc0", b"\xff\xc3"), "JPEG of a rare kind", "rare kind"),
    "empty": (b"", f"{NOT}an empty file", "an empty file"),
    "HTML": (b"<!DOCTYPE html><html>log in</html>", f"{NOT}HTML", "but.*HTML"),
    "LabelMe": (b'{"version": "5.4", "shapes": []}', f"{NOT}a LabelMe annotation.*load_labelme", "but.*JSON"),
    "COCO": (b'{"images": [], "annotations": []}', f"{NOT}a COCO annotation.*load_coco", "but.*JSON"),
    "CVAT": (
        b'<?xml version="1.0"?><annotations><image id="0"/></annotations>',
        f"{NOT}a CVAT annotation.*COCO",
        "but.*XML",
    ),
    "VIA": (b'{"_via_settings": {}}', f"{NOT}a VIA annotation.*COCO", "but.*JSON"),
    "NIfTI": (gzip.compress(bytes(344) + b"n+1\0"), rf"{NOT}NIfTI.*load_nifti", "but.*gzip"),
    "video": (b"\0\0\0\x18ftypisom" + bytes(99), f"{NOT}a video.*Save the frame", "but.*video"),
    "side file": (b"\0\x05\x16\x07" + bytes(99), f"{NOT}a side file of macOS", "but.*side file"),
    "unknown": (
        bytes([200, 1, 0, 255]) * 9,
        f"{NOT}of an unknown kind .it begins with c8 01 00 ff",
        "of an unknown kind",
    ),
}


@pytest.fixture(scope="module")
def graph():
    """The server's decoder as it runs there, in a graph; uint8."""
    import tensorflow as tf

    from panet_keras.export.graph_decoder import decode

    traced = tf.function(decode, input_signature=[tf.TensorSpec([], tf.string)])
    return lambda content: np.rint(traced(content).numpy() * 255).astype(np.uint8)


def library_doors(path, content):
    """Every door of library and client to one file: name and function."""
    return {
        "decode_image, path": lambda: decode_image(str(path)),
        "decode_image, bytes": lambda: decode_image(content, str(path)),
        "segmenter": lambda: read_image(path, "image"),
        "reader": lambda: Record(str(path), "p", "Normal", str(path)).decode().image,
        "client": lambda: open_rgb(str(path)),
    }


ROWS = [*png_rows(), *other_rows()]


@pytest.mark.parametrize(("content", "expected"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_the_same_pixels_at_every_door(tmp_path, graph, content, expected):
    path = tmp_path / "scan.dat"  # known by content, not by ending
    path.write_bytes(content)
    doors = library_doors(path, content)
    doors["client to server"] = lambda: graph(query_bytes(str(path)))
    if content[:4] == b"\x89PNG":
        doors["server"] = lambda: as_server(graph, content)
    for name, door in doors.items():
        np.testing.assert_array_equal(door(), expected, err_msg=name)


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"subsampling": 2}, {"grey": True}, {"previews": True}]
)
def test_jpeg_differs_by_a_level_at_most(tmp_path, graph, options):
    """Two builds of libjpeg round differently."""
    options = dict(options)
    pixels = SMOOTH[..., 0] if options.pop("grey", False) else SMOOTH
    path = tmp_path / "scan.png"
    # A phone's file holds previews behind its picture, which no viewer shows.
    previews = (
        {"save_all": True, "append_images": [Image.fromarray(PIXELS)]}
        if options.pop("previews", False)
        else {}
    )
    path.write_bytes(saved(pixels, "MPO" if previews else "JPEG", quality=92, **options, **previews))
    expected = decode_image(str(path)).astype(int)
    for name, door in library_doors(path, path.read_bytes()).items():
        np.testing.assert_array_equal(door(), expected, err_msg=name)
    assert query_bytes(str(path)) == path.read_bytes()
    assert np.abs(graph(path.read_bytes()) - expected).max() <= 1
    # FF may fill the room before a marker (ITU T.81, B.1.1.2).
    filled = path.read_bytes()[:2] + b"\xff\xff" + path.read_bytes()[2:]
    np.testing.assert_array_equal(decode_image(filled), expected)
    np.testing.assert_array_equal(graph(filled), graph(path.read_bytes()))


@pytest.mark.parametrize("row", REFUSED)
def test_the_same_refusal_at_every_door(tmp_path, graph, row):
    content, message, served = REFUSED[row]
    path = tmp_path / "scan.png"
    path.write_bytes(content)
    doors = library_doors(path, content)
    doors["client to server"] = lambda: query_bytes(str(path))
    said = set()
    for door in doors.values():
        with pytest.raises(ValueError, match=f"scan.png: {message}") as caught:
            door()
        said.add(str(caught.value))
    assert len(said) == 1, said
    with pytest.raises(Exception, match=served or rf"^query_bytes\[0, 0\]: {message}"):
        as_server(graph, content)


def as_server(graph, content):
    """Pixels as our server answers them: its checks, its graph, its words for what the graph refuses."""
    import tensorflow as tf

    from serving.api.encoded_pictures import check_pictures, refusal

    inputs = {"query_bytes": tf.constant([[content]])}
    check_pictures(inputs)
    try:
        return graph(content)
    except Exception as error:
        raise refusal(error, inputs) or error from None


def test_what_lies_too_deep_in_a_file_is_refused_and_not_passed_over(graph):
    """A graph that looks at a part after the other cannot look at any number of them."""
    exif = Image.Exif()
    exif[0x0112] = 6
    turn, notes = chunk(b"eXIf", exif.tobytes()[6:]), [chunk(b"tEXt", b"a\0b")] * 1001
    np.testing.assert_array_equal(decode_image(png(PIXELS, 8, 2, [*notes, turn])), np.rot90(PIXELS, -1))
    for content in (png(PIXELS, 8, 2, [*notes, turn]), png(PIXELS, 8, 2, after=b"".join([*notes, turn]))):
        with pytest.raises(Exception, match="PNG .*more than.*1000.*parts.*open and save it anew"):
            graph(content)
    np.testing.assert_array_equal(graph(png(PIXELS, 8, 2, after=b"".join(notes))), PIXELS)


def test_a_page_can_be_named():
    content = tiff(PIXELS, PIXELS[::-1])
    np.testing.assert_array_equal(decode_image(content, page=1), PIXELS[::-1])
    with pytest.raises(ImageError, match="page 2; it has 2, counted from 0"):
        decode_image(content, page=2)
    with pytest.raises(ImageError, match="a folder; expected a picture"):
        decode_image("/")


def test_a_pil_image_keeps_its_orientation():
    exif = Image.Exif()
    exif[0x0112] = 6
    content = saved(PIXELS, "PNG", exif=exif)
    for door in (decode_image, open_rgb, lambda image: read_image(image, "image")):
        np.testing.assert_array_equal(door(Image.open(io.BytesIO(content))), np.rot90(PIXELS, -1))


# Masks

Y, X = np.mgrid[:120, :160]
LEFT, RIGHT = np.hypot(X - 40, Y - 50) < 25, np.hypot(X - 115, Y - 70) < 30
SMALL = (abs(X - 80) < 2) & (abs(Y - 15) < 2)  # no pixel of it has eight neighbours in it but one
BOTH = LEFT | RIGHT


def labels(*values, dtype=np.uint8):
    return sum(
        (np.where(part, value, 0) for part, value in zip((LEFT, RIGHT, SMALL), values)),
        np.zeros(LEFT.shape, int),
    ).astype(dtype)


def palette(*colours):
    """A picture of indices 0, 1, 2 ..."""
    image = Image.fromarray(labels(*range(1, len(colours))))
    image.putpalette([*sum(colours, ())])
    return image


def palette_mask(*colours):
    return saved(palette((0, 0, 0), *colours), "PNG")


MASKS = {
    "0/1": saved(labels(1, 1), "PNG"),
    "0/100": saved(labels(100, 100), "PNG"),
    "instances 1, 2, 3": saved(labels(1, 2, 3), "PNG"),
    "85, 170, 255": saved(labels(85, 170, 255), "PNG"),
    "one bit": saved(labels(255, 255).astype(bool), "PNG"),
    "uint16 0/1": saved(labels(1, 1, dtype=np.uint16), "PNG"),
    "uint16 0..3": saved(labels(1, 2, 3, dtype=np.uint16), "PNG"),
    "uint16 0/65535": saved(labels(65535, 65535, dtype=np.uint16), "PNG"),
    "int32": tiff(labels(1, 70000, 3, dtype=np.int32)),
    "float 0/1": tiff(labels(1, 1, dtype=np.float32)),
    "dark red and green": palette_mask((40, 0, 0), (0, 255, 0)),
    "four bits, palette": png(
        labels(1, 2)[..., None].astype(int), 4, 3, [chunk(b"PLTE", bytes([0, 0, 0, 9, 0, 0, 0, 0, 9]))]
    ),
    "transparent background": saved(
        np.dstack([np.full((*LEFT.shape, 3), 255), labels(255, 255)]).astype(np.uint8), "PNG"
    ),
    "two pages": tiff(labels(255), labels(0, 255)),
    "GIF": saved(labels(255, 255), "GIF"),
    "dark, half transparent": saved(np.dstack([labels(1, 1)] * 3 + [labels(90, 40)]), "PNG"),
    "palette, transparent white ground": saved(
        palette((255, 255, 255), (255, 0, 0), (0, 0, 9)), "PNG", transparency=0
    ),
    "lossless WebP 0/1": saved(np.dstack([labels(1, 1)] * 3), "WEBP", lossless=True),
}


def mask_doors(path):
    image = saved(np.zeros(LEFT.shape, np.uint8), "PNG")
    return {
        "segmenter": lambda: decode_mask(str(path))[0],
        "reader": lambda: Record("a.png", "a", "Malignant", image, (str(path),), "binary").decode().mask == 2,
        "client": lambda: open_mask(str(path)),
    }


@pytest.mark.parametrize("row", MASKS)
def test_not_black_is_lesion_at_every_door(tmp_path, row):
    path = tmp_path / "a_mask.PNG"
    path.write_bytes(MASKS[row])
    expected = BOTH | SMALL if "3" in row.split("/")[0] or "170" in row or "int32" in row else BOTH
    for name, door in mask_doors(path).items():
        np.testing.assert_array_equal(door(), expected, err_msg=name)
    if row not in (
        "two pages",
        "dark red and green",
        "four bits, palette",
        "palette, transparent white ground",
    ):
        array = np.asarray(Image.open(path))
        np.testing.assert_array_equal(decode_mask(array, "mask")[0], expected)
        np.testing.assert_array_equal(open_mask(array), expected)


@pytest.mark.parametrize("values", [(255, 255), (255, 254), (85, 255)])
@pytest.mark.parametrize("kind", [100, 98, 95, "scattered"])
def test_noise_around_a_mask_is_no_lesion(values, kind):
    """A JPEG of high quality that was saved as PNG, or 1 and 254 scattered over a mask of 0 and 255."""
    if kind == "scattered":
        noisy = labels(*values).astype(int)
        noisy += np.where(noisy > 250, -1, 1) * (RNG.random(noisy.shape) < 0.3)
    else:
        noisy = np.asarray(Image.open(io.BytesIO(saved(labels(*values), "JPEG", quality=kind))))
    changed = int((noisy != labels(*values)).sum())
    for source in (noisy.astype(np.uint8), saved(noisy.astype(np.uint8), "PNG")):
        mask, count = decode_mask(source, "mask")
        np.testing.assert_array_equal(mask, BOTH)
        assert changed / 2 < count <= changed + BOTH.sum()
        with pytest.warns(UserWarning, match=f"{count} pixels have mixed colours"):
            np.testing.assert_array_equal(open_mask(source), BOTH)


def test_few_pixels_of_many_labels_are_no_noise():
    mask = np.zeros((60, 200), np.uint8)
    for label in range(1, 41):
        mask[10 + label % 3 * 9 : 12 + label % 3 * 9, 4 * label : 4 * label + 2] = label
    np.testing.assert_array_equal(decode_mask(mask)[0], mask > 0)
    mask = np.where(mask == 1, 1, 255 * (mask > 9)).astype(np.uint8)
    mask[40:50, 40:50] = 1  # a label that fills a region is one, however dark
    np.testing.assert_array_equal(decode_mask(mask)[0], mask > 0)


@pytest.mark.parametrize("values", [(255, 255), (85, 255)])
@pytest.mark.parametrize("kind", ["JPEG", "bilinear", "bicubic"])
def test_edges_go_to_the_nearer_side_and_are_counted(values, kind):
    drawn = Image.fromarray(labels(*values))
    if kind == "JPEG":
        content, expected = saved(drawn, "JPEG", quality=75), BOTH
    else:
        content = saved(drawn.resize((80, 60), Image.Resampling[kind.upper()]), "PNG")
        expected = np.asarray(drawn.resize((80, 60), Image.Resampling.NEAREST)) > 0
    for source in (content, np.asarray(Image.open(io.BytesIO(content)))):
        mask, count = decode_mask(source, "mask")
        assert count > 50 and regions(mask)[1] == 2
        assert (mask ^ expected).sum() <= 0.05 * expected.sum()
        with pytest.warns(UserWarning, match=f"{count} pixels have mixed colours"):
            np.testing.assert_array_equal(open_mask(source), mask)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            saved(labels(1, 1), "JPEG", quality=98),
            "JPEG whose brightest value is [1-9]; JPEG loses labels.*Save the mask as PNG",
        ),
        (
            saved(RNG.integers(0, 256, LEFT.shape).astype(np.uint8), "PNG"),
            "a photograph, or a map of probabilities.*change places",
        ),
        (saved(labels(50, 80) + np.uint8(100), "PNG"), "no black pixel, values 100, 150, 180"),
        (saved(np.dstack([labels(1, 1)] * 3), "WEBP", quality=60), "a WebP whose brightest value is 1"),
        (tiff(labels(1, 1), compression="jpeg"), "a JPEG whose brightest value is 1"),
        (
            saved(np.dstack([labels(0)] * 3 + [labels(255, 255)]), "PNG"),
            "all that is seen is black, and only the transparency differs",
        ),
        (np.dstack([labels(0), labels(255, 255)]), "all that is seen is black, and only the transparency"),
        (saved(labels(255, 255), "PNG", transparency=255), "all that is seen is black"),
        (saved(labels(9, 9, dtype=np.uint16), "PNG", transparency=9), "all that is seen is black"),
        (
            png(np.dstack([labels(9, 9), labels(255, 255)]).astype(int) * 257, 16, 4),
            "colours of 16 bits.*Save it as grey",
        ),
        (palette_mask((0, 0, 0), (0, 0, 0)), "a palette that shows the indices 0, 1, 2 as black"),
        (
            png(labels(1, 2)[..., None].astype(int), 8, 3, [chunk(b"PLTE", bytes([0, 0, 0, 255, 0, 0]))]),
            "a palette of 2 colours, and pixels of index 2",
        ),
        (
            saved(255 - labels(255, 255), "PNG"),
            "its whole border is lesion, and 2.*% within is background: black and white in exch",
        ),
        (
            np.pad(labels(255)[5:-5, 5:-5], 5, constant_values=255),
            "or the white margin of a figure.*cut the margin",
        ),
        (
            LEFT & ~np.roll(LEFT, 1, 0)
            | LEFT & ~np.roll(LEFT, -1, 0)
            | LEFT & ~np.roll(LEFT, 1, 1)
            | LEFT & ~np.roll(LEFT, -1, 1),
            "an outline, with 1[67].. black pixels inside",
        ),
        (np.where(BOTH, np.nan, 0.0), "pixel x=.*is nan; expected finite numbers"),
        (tiff(labels(255), labels(255)[:50]), "page 1 is 160 x 50, the first 160 x 120"),
        (REFUSED["LabelMe"][0], "LabelMe annotation.*load_labelme"),
        (bytes(128) + b"DICM", "no DICOM image that can be read"),
    ],
    ids=[
        "0/1 as JPEG",
        "photograph",
        "no black",
        "0/1 as WebP",
        "0/1 as JPEG in TIFF",
        "alpha",
        "alpha of an array",
        "white is clear",
        "16 bits, clear",
        "alpha of 16 bits",
        "black palette",
        "short palette",
        "black on white",
        "margin",
        "outline",
        "NaN",
        "pages of two sizes",
        "LabelMe",
        "DICOM",
    ],
)
def test_masks_that_mean_nothing_certain_are_refused(source, message):
    for door in (lambda: decode_mask(source, "mask"), lambda: open_mask(source)):
        with pytest.raises(ValueError, match=message):
            door()


@pytest.mark.parametrize(
    ("mask", "message"),
    [((160, 120), "its sides are swapped.*Turn the mask"), ((40, 160), "another picture")],
)
def test_a_mask_of_another_shape_is_not_stretched(mask, message):
    image = saved(np.zeros((120, 160), np.uint8), "PNG")
    record = Record("a.png", "a", "Benign", image, (saved(np.eye(*mask, dtype=np.uint8), "PNG"),), "binary")
    with pytest.raises(
        ImageError,
        match=f"mask of a.png: mask is {mask[1]} x {mask[0]}, image a.png is 160 x 120; .*{message}",
    ):
        record.decode()


def test_a_tiny_lesion_keeps_its_cell_and_its_class():
    """200 x 300 to 20 x 30: rows and columns 5, 15, 25 ... are taken."""
    mask = np.zeros((200, 300), np.uint8)
    mask[20:80, 20:90] = 1
    mask[111:114, 207:209] = 2  # between the samples; its centre is (112.5, 208.0), in cell (11, 20)
    mask[150, 150] = 1  # in cell (15, 15)
    small = resize_mask(mask, (20, 30))
    expected = mask[5::10, 5::10].copy()
    expected[11, 20], expected[15, 15] = 2, 1
    np.testing.assert_array_equal(small, expected)
    np.testing.assert_array_equal(shrink_mask(mask > 0, (20, 30)), expected > 0)
    assert resize_mask(mask > 0, (20, 30)).dtype == bool
    image = saved(np.zeros((20, 30), np.uint8), "PNG")
    with pytest.warns(UserWarning, match="stretched"):
        sample = Record("a.png", "a", "Benign", image, (saved(mask * 100, "PNG"),), "binary").decode()
    np.testing.assert_array_equal(sample.mask > 0, expected > 0)


def test_regions_are_those_of_scipy():
    from scipy import ndimage

    for share in (0.05, 0.3, 0.5, 0.8):
        mask = RNG.random((60, 77)) < share
        ours, count = regions(mask)
        theirs, expected = ndimage.label(mask, np.ones((3, 3)))
        assert count == expected == len(set(zip(ours[mask], theirs[mask])))


def test_the_client_s_copy_of_the_rules_is_the_library_s():
    root = pathlib.Path(__file__).resolve().parents[2]
    ours, copy = root / "panet_keras" / "pictures" / "rules", root / "serving" / "rules"
    names = sorted(path.name for path in ours.glob("*.py"))
    assert names == sorted(path.name for path in copy.glob("*.py"))
    assert filecmp.cmpfiles(ours, copy, names, shallow=False)[1:] == ([], [])


def test_a_support_set_is_read_as_a_folder_of_data_is(tmp_path):
    """Masks of any ending; several of one picture are united."""
    from serving.models.support_sets import read_set

    (tmp_path / "ä.jpg").write_bytes(saved(np.zeros(LEFT.shape, np.uint8), "JPEG"))
    (tmp_path / "ä_mask.PNG").write_bytes(MASKS["instances 1, 2, 3"])
    _, masks = read_set(tmp_path, LEFT.shape)
    np.testing.assert_array_equal(masks[0, 0, 0, ..., 0], BOTH | SMALL)
    (tmp_path / "c.bmp").write_bytes(saved(np.zeros(LEFT.shape, np.uint8), "BMP"))
    for name, part in (("c_mask_1.png", LEFT), ("c_Mask_2.GIF", RIGHT)):
        (tmp_path / name).write_bytes(saved(part.astype(np.uint8) * 255, pathlib.Path(name).suffix[1:]))
    (tmp_path / "normals").mkdir()
    (tmp_path / "normals" / ".DS_Store").write_bytes(b"")
    _, masks = read_set(tmp_path, LEFT.shape)
    np.testing.assert_array_equal(masks[0, 0, 0, ..., 0], BOTH)
    sample = next(r for r in load_folder(tmp_path) if r.filename == "c.bmp").decode()
    np.testing.assert_array_equal(sample.mask > 0, BOTH)
    (tmp_path / "b.png").write_bytes(WHOLE)
    with pytest.raises(ValueError, match="b.png has no mask .b_mask.png"):
        read_set(tmp_path, LEFT.shape)


@pytest.mark.parametrize("part", [0.4, 0.9, "all but one byte"])
@pytest.mark.parametrize("options", [{}, {"no_jp2": True}, {"irreversible": True}], ids=str)
def test_a_jpeg_2000_that_is_cut_off_is_refused(options, part):
    whole = saved(PIXELS, "JPEG2000", **options)
    assert decode_image(whole).shape == PIXELS.shape
    cut = whole[: len(whole) - 1 if isinstance(part, str) else int(len(whole) * part)]
    for door in (decode_image, open_rgb):
        with pytest.raises(ValueError, match="JPEG 2000 that is cut off|whole picture"):
            door(cut)


@pytest.mark.parametrize("door", [read_image, decode_mask])
def test_a_masked_array_is_refused_for_what_it_hides(door):
    values = np.zeros((9, 9), np.uint8)
    values[3:6, 3:6] = 255
    door(np.ma.masked_array(values), "a")  # nothing is masked
    with pytest.raises(
        ImageError, match=r"a: a masked array of which 9 values are masked.*array.filled\(0\)"
    ):
        door(np.ma.masked_equal(values, 255), "a")
