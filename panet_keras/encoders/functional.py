"""Tells functional models from others by public means."""

import functools

import keras


def is_functional(model: keras.Model) -> bool:
    """Whether a model was made as `keras.Model(inputs, outputs)`, or rebuilt from the config of one that
    was."""
    return isinstance(model, _functional_class())


@functools.cache
def _functional_class() -> type:
    """The class that Keras makes of inputs and outputs; it has no public name."""
    inputs = keras.Input((1,), name="probe")
    return type(keras.Model(inputs, keras.layers.Identity(name="same")(inputs), name="probe_model"))
