"""The orientation that a camera or a viewer noted in a file, applied in the graph as `data.decode_image`
applies it."""

import tensorflow as tf

ORIENTATION = 0x0112
"""The tag (Exif 2.32, section 4.6.4); its value is 1 to 8."""
MOST_PARTS = 1000
"""Segments or chunks that are looked at."""


def oriented(content, is_png, pixels):
    """Turns decoded pixels the way their file says.

    Args:
        content: scalar string, a JPEG or PNG file. is_png: scalar bool, which of the two.
        pixels: [H, W, C] as stored.

    Returns:
        [H, W, C], or [W, H, C] where the file says that it lies on its side; unchanged where it says nothing
        readable.
    """
    data = tf.io.decode_raw(content, tf.uint8)
    value = _orientation(data, tf.cond(is_png, lambda: _in_png(data), lambda: _in_jpeg(data)))
    pixels = tf.cond(value >= 5, lambda: tf.transpose(pixels, [1, 0, 2]), lambda: pixels)
    pixels = tf.cond(_among(value, 2, 3, 6, 7), lambda: tf.reverse(pixels, [1]), lambda: pixels)
    return tf.cond(_among(value, 3, 4, 7, 8), lambda: tf.reverse(pixels, [0]), lambda: pixels)


def _among(value, *wanted):
    return tf.reduce_any(tf.equal(value, wanted))


def number(data, places, size, little=False):
    """Unsigned numbers of `size` bytes at the given places, int64; what would lie outside the file is read as
    0."""
    index = tf.cast(places, tf.int64)[..., None] + tf.range(size, dtype=tf.int64)
    inside = (index >= 0) & (index < tf.size(data, tf.int64))
    found = tf.gather(data, tf.where(inside, index, 0))
    found = tf.where(inside, tf.cast(found, tf.int64), 0)
    powers = tf.constant([256**power for power in reversed(range(size))], tf.int64)
    return tf.reduce_sum(found * tf.where(little, tf.reverse(powers, [0]), powers), -1)


def contains(data, wanted):
    """Whether bytes [L] hold the wanted ones in a row."""
    last = len(wanted) - 1
    rows = [
        tf.equal(data[place : tf.maximum(tf.size(data) - last + place, place)], byte)
        for place, byte in enumerate(wanted)
    ]
    return tf.reduce_any(tf.reduce_all(tf.stack(rows), 0))


def _walk(goes_on, following, start):
    """Place at which a walk from part to part of a file ends; not endless in a file that a stranger made of
    tiny parts."""
    start = tf.constant(start, tf.int64)
    return tf.while_loop(goes_on, lambda place: [following(place)], [start], maximum_iterations=MOST_PARTS)[0]


def _in_jpeg(data):
    """Where the TIFF header of a JPEG file's EXIF segment begins; -1 without one (JPEG, ITU T.81, annex B;
    Exif 2.32, 4.5.4)."""
    exif, identifier = 0xE1, 0x457869660000

    def here(place):
        return tf.equal(number(data, place + 1, 1), exif) & tf.equal(number(data, place + 4, 6), identifier)

    def goes_on(place):
        marker = number(data, place, 2)
        # Pixels begin at a start of scan.
        return (marker >= 0xFF01) & (marker != 0xFFDA) & ~here(place)

    place = _walk(goes_on, lambda place: _after_segment(data, place), 2)
    return tf.where(here(place), place + 10, -1)


def _after_segment(data, place):
    """Where the next segment of a JPEG file begins; FF may fill the room before one (ITU T.81, B.1.1.2)."""
    return tf.where(
        tf.equal(number(data, place, 2), 0xFFFF), place + 1, place + 2 + number(data, place + 2, 2)
    )


def png_chunk(data, *names):
    """Place at which the first chunk of one of these names (bytes) begins in a PNG file, and which of them it
    is: a list of scalar bools."""
    wanted = [int.from_bytes(name, "big") for name in names]

    def goes_on(place):
        return (place + 8 < tf.size(data, tf.int64)) & ~_among(number(data, place + 4, 4), *wanted)

    place = _walk(goes_on, lambda place: place + 12 + number(data, place, 4), 8)
    found = number(data, place + 4, 4)
    return place, [tf.equal(found, name) for name in wanted]


def jpeg_frame(data):
    """Marker, bits and components of a JPEG file's start of frame (ITU T.81, B.2.2); what is not found is
    another marker, or 0."""
    tables = (0xFFC4, 0xFFC8, 0xFFCC)

    def goes_on(place):
        marker = number(data, place, 2)
        frame = (marker >= 0xFFC0) & (marker <= 0xFFCF) & ~_among(marker, *tables)
        return (marker >= 0xFF01) & (marker != 0xFFDA) & ~frame

    place = _walk(goes_on, lambda place: _after_segment(data, place), 2)
    return number(data, place, 2), number(data, place + 4, 1), number(data, place + 9, 1)


def _in_png(data):
    """Where the TIFF header of a PNG file's eXIf chunk begins; -1 without one (PNG, third edition,
    11.3.4.4)."""
    place, [found] = png_chunk(data, b"eXIf")
    # A large file may have as many parts of pixels alone.
    cut = ~found & (place + 8 < tf.size(data, tf.int64))
    unseen = tf.cond(cut, lambda: contains(data, b"eXIf"), lambda: tf.constant(False))
    message = [
        "query_bytes: PNG with an orientation behind more than",
        MOST_PARTS,
        "parts; open and save it anew",
    ]
    with tf.control_dependencies([tf.debugging.Assert(~unseen, message)]):
        return tf.where(found, place + 8, -1)


def _orientation(data, start):
    """Value of the orientation tag in the first directory of a TIFF header at `start`; 1 without one."""
    little = tf.equal(number(data, start, 2), int.from_bytes(b"II"))
    directory = start + number(data, start + 4, 4, little)
    entries = directory + 2 + 12 * tf.range(number(data, directory, 2, little))
    entries = tf.boolean_mask(entries, tf.equal(number(data, entries, 2, little), ORIENTATION))
    value = tf.reduce_max(tf.concat([number(data, entries + 8, 2, little), [0]], 0))
    return tf.where((start > 0) & (value >= 1) & (value <= 8), value, 1)
