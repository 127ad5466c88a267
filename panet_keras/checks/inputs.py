"""Values at the model's door: images in [0, 1] and masks of 0, 1 and 255, or an error that names the input
and the mend.

Outside a graph the values themselves are looked at. Inside one, only what costs nothing: the types, when the
graph is made; so an exported model has no further operation. Training, evaluation and prediction add
`assert_values` to their steps.
"""

import re

import keras
import tensorflow as tf

from panet_keras.errors import PANetError
from panet_keras.layers.prototypes import IGNORE

IMAGES = ("support_images", "query_images")
TOLERANCE = 0.01
"""How far an image may leave [0, 1]: half precision and smooth filters overshoot."""
SIZES = (
    "support_images has shape {}, support_masks {}, query_images {}; expected one mask for each image, of its height and width, "
    "and one support for each episode: the same but for the last axis, and the same first axis. Several queries of one "
    "support go along the second axis of query_images."
)
_SAID = re.compile(r"PANet: (.*?) \|", re.DOTALL)


def check_types(inputs):
    """Refuses images that are no floats and masks that are no numbers, in a graph too.

    Raises:
        PANetError: names the input, its type and the mend.
    """
    for name in IMAGES:
        dtype = tf.as_dtype(inputs[name].dtype)
        if not dtype.is_floating:
            raise PANetError(
                f"{name} has dtype {dtype.name}; expected floats in [0, 1]. Divide 0..255 by 255: tf.cast({name}, tf.float32) / 255."
            )
    if tf.as_dtype(inputs["support_masks"].dtype).is_bool:
        raise PANetError(
            "support_masks has dtype bool; expected numbers: 1 = lesion, 0 = background, 255 = counts nowhere. Write "
            "tf.cast(support_masks, tf.uint8)."
        )


def check_shapes(inputs):
    """Refuses support images, masks and queries that do not belong together, in a graph too where it knows the
    sizes; TensorFlow would take one mask for all shots, and one support for all episodes.

    Raises:
        PANetError: names the inputs, their shapes and what was expected.
    """
    images, masks, queries = (
        tf.TensorShape(inputs[name].shape) for name in ("support_images", "support_masks", "query_images")
    )
    if not (images[:-1].is_compatible_with(masks[:-1]) and images[:1].is_compatible_with(queries[:1])):
        raise PANetError(SIZES.replace("{}", "%s") % (images, masks, queries))
    if not masks[-1:].is_compatible_with([1]):
        raise PANetError(
            f"support_masks has shape {masks}; expected 1 on its last axis: one value for each pixel."
        )


def check_labels(inputs, labels):
    """Refuses labels of another shape than the queries', in a graph too where it knows the sizes.

    Args:
        inputs: as in `check_shapes`. labels: as they came.

    Raises:
        PANetError: names both shapes.
    """
    if labels is None or not isinstance(inputs, dict) or "query_images" not in inputs:
        return
    shape, queries = tf.TensorShape(labels.shape), tf.TensorShape(inputs["query_images"].shape)
    if not shape.is_compatible_with(queries[:-1].concatenate(1)):
        mend = " Add the last axis: y[..., None]." if shape.is_compatible_with(queries[:-1]) else ""
        raise PANetError(
            f"the labels y have shape {shape}, query_images {queries}; expected [B, Q, H, W, 1], a label for each "
            f"pixel.{mend}"
        )


def check_loss(loss):
    """Refuses a loss of probabilities, for the model gives logits: the clipped logarithm of a logit says nothing.

    Raises:
        PANetError: names the loss that is meant.
    """
    known = keras.losses.get(loss) if isinstance(loss, str) else loss
    plain = known is keras.losses.sparse_categorical_crossentropy
    sparse = isinstance(known, keras.losses.SparseCategoricalCrossentropy)
    if plain or sparse and not known.get_config()["from_logits"]:
        raise PANetError(
            f"loss={loss!r} is of probabilities, and PANet gives logits; expected "
            "keras.losses.SparseCategoricalCrossentropy(from_logits=True), or CrossEntropyDice()."
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


def assert_values(inputs, labels=None, ways=None):
    """Adds the same checks, and that of the labels, to the graph of a step of training, evaluation or prediction.

    A value that is wrong ends the step with InvalidArgumentError; `said` finds the message in it. The numbers
    in the message are only computed then.

    Args:
        inputs: as in `check_values`. labels: [B, Q, H, W, 1], or None. ways: N, integer tensor.
    """
    sizes = [tf.shape(inputs[name]) for name in ("support_images", "support_masks", "query_images")]
    _assert(_belong_together(*sizes), lambda: _sizes_text(*sizes))
    for name in IMAGES:
        _assert(_image_is_right(inputs[name]), lambda name=name: _image_text(name, inputs[name]))
    _assert(_mask_is_right(inputs["support_masks"]), lambda: _mask_text(inputs["support_masks"]))
    if labels is not None:
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


def _belong_together(images, masks, queries):
    return tf.reduce_all(tf.equal(images[:-1], masks[:-1])) & tf.equal(images[0], queries[0])


def _sizes_text(*sizes):
    return tf.strings.format(SIZES, sizes)


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
    values = tf.reshape(tf.cast(values, tf.float32), [-1])
    nan = tf.math.is_nan(values)
    known = tf.boolean_mask(values, ~nan)
    return tf.reduce_min(known), tf.reduce_max(known), tf.math.count_nonzero(nan)


def _text(tensor):
    return tensor.numpy().decode()
