import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from panet_keras import DataError, DataWarning, FewShotSegmenter, ImageError
from panet_keras.data import Record, decode_all, decode_image
from panet_keras.data.records import MASK_COLOURS
from panet_keras.pictures.decode import colours_to_classes, encode_png, resize_nearest, to_uint8_rgb


def png(image):
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def ramp16():
    values = np.linspace(0, 65535, 64).astype(np.uint16)[None].repeat(48, 0)
    return png(Image.fromarray(values)), values / 65535


def half_transparent():
    pixels = np.zeros((48, 64, 4), np.uint8)
    pixels[:, :32] = (255, 0, 255, 0)
    pixels[:, 32:] = (90, 90, 90, 255)
    return png(Image.fromarray(pixels, "RGBA"))


def same_picture_five_ways():
    grey = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64), np.uint8))
    palette = grey.convert("P")
    palette.putpalette([value for level in range(256) for value in (level,) * 3])
    return {mode: png(grey.convert(mode)) for mode in ("L", "LA", "RGB", "RGBA")} | {"P": png(palette)}


def graph_decoder(content):
    """What `segment_encoded` makes of the bytes."""
    from panet_keras.export.graph_decoder import decode

    return np.asarray(decode(content)) * 255


@pytest.mark.parametrize("decode", [decode_image, graph_decoder])
def test_the_model_sees_what_a_viewer_shows(decode):
    content, values = ramp16()
    assert np.abs(decode(content) / 255.0 - values[..., None]).max() <= 1 / 255
    shown = decode(half_transparent())
    assert (shown[:, :32] == 0).all() and (np.abs(shown[:, 32:] - 90) < 1e-3).all()
    pictures = [np.asarray(decode(content)) for content in same_picture_five_ways().values()]
    for other in pictures[1:]:
        np.testing.assert_allclose(other, pictures[0], atol=1e-3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_a_picture_that_lies_on_its_side_is_turned(kind, order):
    pixels = np.random.default_rng(0).integers(0, 256, (16, 24, 3), np.uint8)
    for orientation in range(10):
        exif = Image.Exif()
        exif.endian = order
        exif[0x010F] = "a maker whose name lies elsewhere in the segment"
        exif[0x0112] = orientation
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, kind, exif=exif.tobytes(), quality=95)
        expected = decode_image(buffer.getvalue())
        assert expected.shape == ((24, 16, 3) if 5 <= orientation <= 8 else (16, 24, 3))
        np.testing.assert_allclose(
            graph_decoder(buffer.getvalue()), expected, atol=1.01 if kind == "JPEG" else 1e-3
        )


def test_a_garbled_orientation_does_no_harm():
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((16, 24, 3), np.uint8)).save(buffer, "JPEG", exif=exif.tobytes())
    assert graph_decoder(buffer.getvalue()).shape == (24, 16, 3)
    header = buffer.getvalue().index(b"Exif") + 6
    for place in range(header, header + 24):
        content = bytearray(buffer.getvalue())
        content[place : place + 3] = b"\xff\xff\xff"
        assert graph_decoder(bytes(content)).shape in ((16, 24, 3), (24, 16, 3))


def test_every_door_gives_the_same_answer(model, saved_model):
    """Dataset, segmenter and `segment_encoded` on files of five modes."""
    import tensorflow as tf

    support = np.random.default_rng(1).integers(0, 256, (64, 64), np.uint8)
    mask = np.zeros((64, 64), bool)
    mask[20:40, 20:40] = True
    segmenter = FewShotSegmenter(model, size=(64, 64)).set_support([support], [mask])
    signature = tf.saved_model.load(str(saved_model)).signatures["segment_encoded"]
    state = tf.saved_model.load(str(saved_model)).signatures["encode_support"](
        support_images=tf.constant(np.repeat(support[None, None, None, ..., None] / np.float32(255), 3, -1)),
        support_masks=tf.constant(mask[None, None, None, ..., None].astype(np.uint8)),
    )
    answers = []
    for content in same_picture_five_ways().values():
        answers.append(segmenter.predict(content).probability)
        served = signature(**state, query_bytes=tf.constant([[content]]))["probabilities"][0, 0]
        answers.append(tf.image.resize(served, (48, 64))[..., 1].numpy())
    for answer in answers[1:]:
        np.testing.assert_allclose(answer, answers[0], atol=1e-5)
    records = [
        Record(f"{mode}.png", "p", "Normal", content) for mode, content in same_picture_five_ways().items()
    ]
    first, *others = [sample.image for sample in decode_all(records)]
    assert all((other == first).all() for other in others)


def test_examples_keep_plain_files_and_rewrite_the_others():
    from panet_keras.data.examples import to_example

    for mode, content in same_picture_five_ways().items():
        record = Record("a.png", "a", "Normal", content)
        kept = content in to_example(record.decode())
        assert kept == (mode == "RGB")


def test_palette_masks_keep_their_classes():
    palette = Image.new("P", (64, 48))
    palette.putpalette([value for colour in MASK_COLOURS for value in colour] + [0] * (768 - 9))
    pixels = np.zeros((48, 64), np.uint8)
    pixels[10:20, 10:20] = 1
    palette.putdata(pixels.ravel())
    record = Record("a.png", "a", "Benign", png(Image.new("L", (64, 48))), (png(palette),))
    np.testing.assert_array_equal(record.decode().mask, pixels)


def test_smooth_edges_go_to_the_nearest_legal_colour_and_are_counted():
    y, x = np.mgrid[0:606, 0:856]
    ellipse = np.hypot((x - 400) / 150, (y - 300) / 100) < 1
    large = Image.fromarray(np.where(ellipse[..., None], (255, 0, 0), (0, 0, 0)).astype(np.uint8))
    small = large.resize((428, 303), Image.Resampling.BILINEAR)
    record = Record("a.png", "a", "Malignant", png(Image.new("L", (428, 303))), (png(small),))
    with pytest.warns(DataWarning, match=r"mask of a.png: \d+ pixels have mixed colours"):
        mask = record.decode().mask
    assert set(np.unique(mask)) == {0, 2}
    expected = resize_nearest(ellipse, (303, 428))
    assert ((mask > 0) ^ expected).sum() < 0.02 * expected.sum()


def test_illegal_colour_is_named_with_its_place():
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[7, 5] = (0, 0, 255)
    with pytest.raises(
        ImageError,
        match=r"m.png: pixel x=5, y=7 has colour \(0, 0, 255\); expected \(0, 0, 0\), \(0, 255, 0\)",
    ):
        colours_to_classes(picture, MASK_COLOURS, "m.png")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (encode_png(np.zeros((48, 64, 3), np.uint8))[:60], "cannot be decoded"),
        (b"hello", "not a picture"),
        (b"", "not a picture"),
    ],
)
def test_broken_files_are_refused_by_name(tmp_path, content, message):
    path = tmp_path / "scan.png"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=f"scan.png: {message}"):
        decode_image(str(path))
    with pytest.raises(DataError, match="1 problem"):
        list(decode_all([Record("scan.png", "a", "Normal", str(path))]))


def test_huge_picture_in_a_small_file_is_refused_before_it_is_decoded():
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 9000, 9000, 1, 0, 0, 0, 0)
    rows = zlib.compress(b"\0" * (9000 * (1 + 9000 // 8)), 9)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    assert len(bomb) < 50_000
    with pytest.raises(ImageError, match="81,000,000 pixels; the limit is 50,000,000"):
        decode_image(bomb)
    with pytest.raises(Exception, match="the limit is"):
        graph_decoder(bomb)


def test_arrays_of_wrong_kind_are_refused():
    for array, message in (
        (np.zeros((4, 4, 5)), "has shape"),
        (np.full((4, 4), 200.0), r"expected finite values in \[0, 1\]"),
        (np.full((4, 4), np.nan), "finite"),
        (np.zeros((4, 4), np.int32), "dtype int32"),
    ):
        with pytest.raises(ImageError, match=message):
            to_uint8_rgb(array)
    deep = np.arange(0, 65536, 257, np.uint16).reshape(16, 16)
    np.testing.assert_array_equal(to_uint8_rgb(deep.astype(">u2"))[..., 0].ravel(), np.arange(256))
