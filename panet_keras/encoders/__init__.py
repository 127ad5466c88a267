"""Encoders by name; each is a functional `keras.Model` with several scales, from fine to coarse."""

import contextlib
import pathlib
import types

import keras

from panet_keras.encoders.efficientnet_lite import efficientnet_lite0, efficientnet_lite2
from panet_keras.encoders.functional import is_functional
from panet_keras.encoders.resnet50 import resnet50
from panet_keras.encoders.vgg16 import vgg16

ENCODERS = types.MappingProxyType(
    {
        "efficientnet_lite0": efficientnet_lite0,
        "efficientnet_lite2": efficientnet_lite2,
        "resnet50": resnet50,
        "vgg16": vgg16,
    }
)
AUTO_WEIGHTS = types.MappingProxyType(
    {
        "efficientnet_lite0": "imagenet",
        "efficientnet_lite2": "imagenet",
        "resnet50": "imagenet",
        "vgg16": "hed",
    }
)
"""The weights that `weights="auto"` takes: those inside a package; ResNet-50 has none and downloads them."""

MATCHING_STRIDE = 16


def get(encoder, weights="auto", dtype=None):
    """Builds an encoder by name, or checks the one given.

    Args:
        encoder: `"vgg16"`, `"efficientnet_lite0"`, `"efficientnet_lite2"`, `"resnet50"`, or a functional
            `keras.Model` from [B, H, W, 3] images in [0, 1] to one feature map or a list of them, fine to coarse.
        weights: `"auto"` (the packaged ones where there are any), a name the encoder knows (`"hed"`,
            `"imagenet"`), the path of a `.weights.h5` file, or None for random values. A model passed as an
            object keeps its own.
        dtype: policy of an encoder by name; Keras' own (`keras.config.dtype_policy`) without it.

    Returns:
        `keras.Model`.

    Raises:
        ValueError: unknown name, or a model that is not functional, or has other inputs and outputs.
        FileNotFoundError: `weights` looks like a file and there is none.
    """
    if isinstance(encoder, keras.Model):
        if not is_functional(encoder):
            raise ValueError(
                f"encoder={encoder.name!r} is a {type(encoder).__name__}; expected a functional keras.Model, "
                "for Grad-CAM and the decoder read its inner layers. Build it as keras.Model(inputs, outputs)."
            )
        if isinstance(encoder.output, dict) or len(encoder.inputs) != 1:
            raise ValueError(
                f"encoder={encoder.name!r} has {len(encoder.inputs)} input(s), and its output is a "
                f"{type(encoder.output).__name__}; expected one input, and a feature map or a list of them, fine to coarse."
            )
        found = strides(encoder)
        if found != sorted(found):
            raise ValueError(
                f"encoder={encoder.name!r} has outputs of strides {found}; expected fine to coarse. Sort them: "
                "keras.Model(inputs, outputs[::-1])."
            )
        return encoder
    if encoder not in ENCODERS:
        raise ValueError(
            f"encoder={encoder!r} is unknown; expected one of {sorted(ENCODERS)} or a functional keras.Model."
        )
    with _policy(dtype or keras.config.dtype_policy()):
        return _built(encoder, weights)


@contextlib.contextmanager
def _policy(dtype):
    """Makes the layers that are built in it compute so; Keras keeps the policy for each thread."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(dtype)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _built(encoder, weights):
    if weights == "auto":
        weights = AUTO_WEIGHTS[encoder]
    if weights in (None, "hed", "imagenet"):
        if weights == "hed" and encoder != "vgg16":
            raise ValueError(
                f'weights="hed" are of VGG16; encoder={encoder!r} has "imagenet", a file path, or None.'
            )
        return ENCODERS[encoder](weights)
    if not pathlib.Path(weights).is_file():
        raise FileNotFoundError(
            f"weights={str(weights)!r}: no such file; expected 'auto', 'imagenet', 'hed' (VGG16), None, "
            "or the path of a .weights.h5 file."
        )
    model = ENCODERS[encoder](None)
    model.load_weights(weights)
    return model


def finalize(encoder):
    """Lets layers that compute with constants made of their weights (`keras.layers.Normalization`) make them anew:
    Keras does so where it loads a file, not where weights are set.

    Args:
        encoder: model whose weights were set.
    """
    for layer in encoder.layers:
        if hasattr(layer, "finalize_state"):
            layer.finalize_state()
        elif hasattr(layer, "layers"):
            finalize(layer)


def strides(encoder):
    """Strides of the encoder's outputs, fine to coarse, found from its own shape rule."""
    _, height, width, channels = encoder.inputs[0].shape
    height, width = height or 256, width or 256
    shapes = encoder.compute_output_shape((1, height, width, channels))
    shapes = shapes if isinstance(shapes[0], (list, tuple)) else [shapes]
    return [height // shape[1] for shape in shapes]


def matched_scale(encoder):
    """Index of the output on which the paper's matching runs: the deepest of stride up to 16."""
    return max(
        scale for scale, stride in enumerate(strides(encoder)) if stride <= MATCHING_STRIDE or scale == 0
    )
