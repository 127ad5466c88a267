"""Weights of classes become weights of pixels: Keras knows them for one label an example, or for labels that are
all below the number of classes, and 255 is not."""

import numpy as np
import tensorflow as tf

from panet_keras.errors import PANetError


def with_pixel_weights(given):
    """Arguments of `fit` or `train_on_batch` with `sample_weight` in place of `class_weight`.

    Args:
        given: dictionary of arguments; `x` a `tf.data.Dataset` of (x, y), or arrays with the labels as `y`. What is
            neither is left to Keras.

    Returns:
        Dictionary. A class that has no weight, and 255, has 1.

    Raises:
        PANetError: classes outside 0 to 255, or weights of examples beside those of classes.
    """
    weights, x, y = given.get("class_weight"), given.get("x"), given.get("y")
    data = isinstance(x, tf.data.Dataset)
    if not weights or not (data or hasattr(y, "shape")):
        return given
    if not all(0 <= name <= 255 for name in weights):
        raise PANetError(f"class_weight={weights!r}; expected classes from 0 to the number of ways.")
    beside = given.get("sample_weight") is not None or data and len(x.element_spec) > 2
    if beside:
        raise PANetError(
            "class_weight beside sample_weight; expected one of them. Multiply them into sample_weight."
        )
    table = np.ones(256, np.float32)
    for name, weight in weights.items():
        table[name] = weight

    def of(labels):
        return tf.gather(table, tf.cast(labels, tf.int32))[..., 0]

    if data:
        given = {**given, "x": x.map(lambda x, y: (x, y, of(y)))}
    else:
        given = {**given, "sample_weight": of(y).numpy()}
    return {**given, "class_weight": None}
