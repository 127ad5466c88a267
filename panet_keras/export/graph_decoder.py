"""PNG and JPEG files decoded in the graph, to the pixels that `data.decode_image` gives, or with its
refusals."""

import tensorflow as tf

from panet_keras.export.orientation import MOST_PARTS, contains, jpeg_frame, number, oriented, png_chunk
from panet_keras.pictures.limits import MAX_PIXELS
from panet_keras.pictures.resize import resize_images
from panet_keras.pictures.rules.kinds import MAGIC

OTHERS = (
    *((place, magic, name) for place, magic, name, _ in MAGIC if name not in ("PNG", "JPEG")),
    (0, b"<", "HTML or XML"),
    (0, b"{", "JSON"),
    (0, b"\x1f\x8b", "gzip"),
)
"""What else clients send: (place, bytes there, name)."""
INKS = 4
"""Components of a JPEG for a printer (CMYK)."""


def decode_batch(query_bytes, size):
    """Decodes pictures in the graph by the rules of `data.decode_image`, and brings them to model size.

    Args:
        query_bytes: string [B, Q].
        size: (height, width).

    Returns:
        float32 [B, Q, height, width, 3] in [0, 1].
    """
    flat = tf.map_fn(
        lambda content: resize_images(decode(content), size),
        tf.reshape(query_bytes, [-1]),
        fn_output_signature=tf.TensorSpec([*size, 3], tf.float32),
    )
    return tf.reshape(flat, tf.concat([tf.shape(query_bytes), [*size, 3]], 0))


def decode(content):
    """Decodes one picture.

    Args:
        content: scalar string, a PNG or JPEG file.

    Returns:
        float32 [H, W, 3] in [0, 1]. Another kind of file, one that is cut off, has several frames, a rare
        coding or too many pixels is refused with INVALID_ARGUMENT and a message that names it.
    """
    # Zeros, so that a short file has all the places that are looked at.
    head = tf.strings.substr(tf.strings.join([content, b"\0" * 360]), 0, 360)
    is_png = tf.equal(tf.strings.substr(head, 0, 8), b"\x89PNG\r\n\x1a\n")
    is_jpeg = tf.equal(tf.strings.substr(head, 0, 3), b"\xff\xd8\xff")
    with _checked(
        is_png | is_jpeg,
        "query_bytes: not a PNG or JPEG file but",
        _kind(content, head),
        "; convert it to PNG",
    ):
        content = tf.identity(content)
    pixels = tf.cond(is_png, lambda: _decode_png(content), lambda: _decode_jpeg(content))
    return oriented(content, is_png, pixels)


def _checked(holds, *message):
    """Context whose operations run only after a check: DecodePng would else fail first, with a message of its
    own."""
    return tf.control_dependencies([tf.debugging.Assert(holds, list(message))])


def _kind(content, head):
    """Name of a file's kind; never its bytes, which would not be text."""
    kind = tf.constant("of an unknown kind")
    for place, magic, name in reversed(OTHERS):
        kind = tf.where(tf.equal(tf.strings.substr(head, place, len(magic)), magic), name, kind)
    return tf.where(tf.equal(tf.strings.length(content), 0), "an empty file", kind)


def _check_pixels(height, width):
    pixels = tf.cast(height, tf.int64) * tf.cast(width, tf.int64)
    return _checked(
        pixels <= MAX_PIXELS,
        "query_bytes: picture of",
        width,
        "x",
        height,
        "pixels; the limit is",
        MAX_PIXELS,
        "in all; shrink it",
    )


def _decode_png(content):
    data = tf.io.decode_raw(content, tf.uint8)
    bits, colour = number(data, 24, 1), number(data, 25, 1)
    place, [animated, _] = png_chunk(data, b"acTL", b"IDAT")
    _, [framed, _] = png_chunk(data, b"fcTL", b"IDAT")
    _, [transparent, reached] = png_chunk(data, b"tRNS", b"IDAT")
    # The picture of a file without frame control before its pixels is none of the frames.
    frames = tf.where(animated, number(data, place + 8, 4) + tf.cast(~framed, tf.int64), 1)
    with (
        _check_pixels(number(data, 20, 4), number(data, 16, 4)),
        _checked(
            contains(data, b"IEND"),
            "query_bytes: PNG that is cut off: its end (IEND) is missing; send the whole file",
        ),
        _checked(
            transparent | reached,
            "query_bytes: PNG of more than",
            MOST_PARTS,
            "parts before its pixels; open and save it anew",
        ),
        _checked(
            frames <= 1,
            "query_bytes: PNG of",
            frames,
            "frames; expected a picture of one; send the one that you mean",
        ),
        _checked(
            ~(transparent & tf.equal(bits, 16) & tf.equal(colour, 2)),
            "query_bytes: PNG of 16 bits with a transparent colour; export it as 8 bit",
        ),
    ):
        # Greys of 16 bits are rounded to 8; of colours both decoders take the high byte.
        rgba = tf.cond(
            tf.equal(bits, 16) & tf.equal(colour, 0),
            lambda: tf.round(tf.cast(tf.io.decode_png(content, 4, tf.uint16), tf.float32) / 257.0),
            lambda: tf.cast(tf.io.decode_png(content, 4, tf.uint8), tf.float32),
        )
    # Below 8 bits TensorFlow fills an alpha that the file lacks with 1, 3 or 15 instead of 255.
    has_alpha = transparent | tf.equal(colour, 4) | tf.equal(colour, 6)
    alpha = tf.where(has_alpha, rgba[..., 3:], 255.0)
    return tf.round(rgba[..., :3] * alpha / 255.0) / 255.0


def _decode_jpeg(content):
    data = tf.io.decode_raw(content, tf.uint8)
    marker, bits, components = jpeg_frame(data)
    common = tf.reduce_any(tf.equal(marker, [0xFFC0, 0xFFC1, 0xFFC2])) & tf.equal(bits, 8)
    with (
        _checked(
            common,
            "query_bytes: JPEG that is damaged or of a rare kind (lossless, arithmetic, 12 bit); convert it to PNG",
        ),
        _checked(components != INKS, "query_bytes: JPEG in colours of four inks (CMYK); export it as RGB"),
        _checked(
            contains(data, b"\xff\xd9"),
            "query_bytes: JPEG that is cut off: its end is missing; send the whole file",
        ),
    ):
        shape = tf.io.extract_jpeg_shape(content)
    with _check_pixels(shape[0], shape[1]):
        pixels = tf.io.decode_jpeg(content, 3, dct_method="INTEGER_ACCURATE", fancy_upscaling=True)
    return tf.cast(pixels, tf.float32) / 255.0
