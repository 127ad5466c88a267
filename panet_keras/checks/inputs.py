"""Values at the model's door: images in [0, 1] and masks of 0, 1 and 255, or an error that names the input
and the mend.

Outside a graph the values themselves are looked at. Inside one, only what costs nothing: the types, when the
graph is made; so an exported model has no further operation. Training and evaluation add `assert_values` to
their steps.
"""

import re

import tensorflow as tf

from panet_keras.errors import PANetError
from panet_keras.layers.prototypes import IGNORE

IMAGES = ("support_images", "query_images")
TOLERANCE = 0.01
"""How far an image may leave [0, 1]: half precision and smooth filters overshoot."""
_SAID = re.compile(r"PANet: (.*?) \|", re.DOTALL)


def check_types(inputs):
    """Refuses images that are no floats, in a graph too.

    Raises:
        PANetError: names the input, its type and the mend.
    """
    for name in IMAGES:
        dtype = tf.as_dtype(inputs[name].dtype)
        if not dtype.is_floating:
            raise PANetError(
                f"{name} has dtype {dtype.name}; expected floats in [0, 1]. Divide 0..255 by 255: tf.cast({name}, tf.float32) / 255."
            )


def check_values(inputs):
    """Refuses images outside [0, 1], NaN, and masks without meaning; passes over tensors of a graph, whose
    values nobody knows yet.

    Args:
        inputs: dictionary of `support_images`, `support_masks` and `query_images`.

    Raises:
        PANetError: names the input, its values and the mend.
    """
    check_types(inputs)
    if not tf.executing_eagerly():
        return
    for name in IMAGES:
        if not _image_is_right(inputs[name]):
            raise PANetError(_text(_image_text(name, inputs[name])))
    if not _mask_is_right(inputs["support_masks"]):
        raise PANetError(_text(_mask_text(inputs["support_masks"])))


def assert_values(inputs, labels, ways):
    """Adds the same checks, and that of the labels, to the graph of a training or evaluation step.

    A value that is wrong ends the step with InvalidArgumentError; `said` finds the message in it. The numbers
    in the message are only computed then.

    Args:
        inputs: as in `check_values`. labels: [B, Q, H, W, 1]. ways: N, integer tensor.
    """
    for name in IMAGES:
        _assert(_image_is_right(inputs[name]), lambda name=name: _image_text(name, inputs[name]))
    _assert(_mask_is_right(inputs["support_masks"]), lambda: _mask_text(inputs["support_masks"]))
    _assert(_labels_are_right(labels, ways), lambda: _labels_text(labels, ways))


def said(error):
    """The message of `assert_values` inside TensorFlow's error, or None."""
    found = _SAID.search(str(error))
    return found and found[1]


def _assert(right, text):
    def refuse():
        tf.raw_ops.Assert(condition=False, data=[tf.strings.join(["PANet: ", text(), " |"])])
        return tf.constant(False)

    tf.cond(right, lambda: tf.constant(True), refuse)


def _image_is_right(images):
    # A comparison with NaN is False, so one pass finds it too.
    return tf.reduce_all((images >= -TOLERANCE) & (images <= 1 + TOLERANCE))


def _mask_is_right(masks):
    foreground, ignored = tf.equal(masks, 1), tf.equal(masks, IGNORE)
    known = tf.reduce_all(foreground | ignored | tf.equal(masks, 0))
    return known & (tf.reduce_any(foreground) | ~tf.reduce_any(ignored))


def _labels_are_right(labels, ways):
    labels = tf.cast(labels, tf.float32)
    way = (labels >= 0) & (labels <= tf.cast(ways, tf.float32)) & tf.equal(labels, tf.round(labels))
    return tf.reduce_all(way | tf.equal(labels, float(IGNORE)))


def _image_text(name, images):
    mend = "expected floats in [0, 1] without NaN. Divide 0..255 by 255, and leave mean and deviation to the encoder."
    return tf.strings.format(name + " has values from {} to {}, {} of them NaN; " + mend, _range(images))


def _mask_text(masks):
    mend = (
        "expected 1 = lesion, 0 = background, 255 = counts nowhere. A mask of 0 and 255, or of labels, becomes one by "
        "tf.cast(masks > 0, tf.uint8)."
    )
    ones = tf.math.count_nonzero(tf.equal(masks, 1))
    return tf.strings.format(
        "support_masks has values from {} to {}, {} of them NaN, and {} pixels of 1; " + mend,
        (*_range(masks), ones),
    )


def _labels_text(labels, ways):
    mend = "expected 0 = background, 1 to the number of ways, and 255 = counts nowhere."
    return tf.strings.format(
        "the labels y have values from {} to {}, {} of them NaN, for {} way(s); " + mend,
        (*_range(labels), ways),
    )


def _range(values):
    """Lowest, highest, and number of NaN, leaving NaN out of the first two."""
    values = tf.cast(values, tf.float32)
    nan = tf.math.is_nan(values)
    known = tf.boolean_mask(values, ~nan)
    return tf.reduce_min(known), tf.reduce_max(known), tf.math.count_nonzero(nan)


def _text(tensor):
    return tensor.numpy().decode()
