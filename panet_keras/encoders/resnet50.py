"""ResNet-50, dilated to stride 8: the encoder of the failed attempt, for comparison."""

from keras import Model, layers

from panet_keras.encoders.normalise import BGRMinusMean
from panet_keras.encoders.vgg16 import CAFFE_MEAN_BGR

# (blocks, inner channels, stride, dilation); He et al., CVPR 2016, table 1, the last two stages dilated as in
# DeepLab.
STAGES = ((3, 64, 1, 1), (4, 128, 2, 1), (6, 256, 1, 2), (3, 512, 1, 4))
PLAIN_STAGES = ((3, 64, 1, 1), (4, 128, 2, 1), (6, 256, 2, 1), (3, 512, 2, 1))
BATCH_NORM_EPSILON = 1.001e-5
"""Of keras.applications, whose weights these layers take."""


def resnet50(weights: str | None = None, dilated: bool = True, name: str = "resnet50") -> Model:
    """Builds ResNet-50 (He et al., CVPR 2016, arXiv 1512.03385) without its classifier.

    The stride stays at 8 from the second stage on; the third and fourth are dilated by 2 and 4 instead (Chen
    et al., DeepLab, arXiv 1606.00915), so that a lesion keeps its pixels. Layer names and arithmetic are
    those of keras.applications. Batch normalisation always uses its stored statistics: an episode holds too
    few frames for its own.

    Args:
        weights: `"imagenet"` (keras.applications; downloads on first use), or None for random values.
        dilated: False gives the classifier's strides, 4 to 32.
        name: name of the model.

    Returns:
        Functional `keras.Model` from images [B, H, W, 3] in [0, 1], RGB, to four feature maps of stride 4, 8,
        8, 8 with 256, 512, 1024 and 2048 channels.
    """
    images = layers.Input((None, None, 3), name="images")
    x = BGRMinusMean(CAFFE_MEAN_BGR, name="normalise")(images)
    x = layers.ZeroPadding2D(3, name="conv1_pad")(x)
    x = _conv(x, 64, 7, 2, name="conv1", padding="valid")
    x = layers.ReLU(name="conv1_relu")(x)
    x = layers.ZeroPadding2D(1, name="pool1_pad")(x)
    x = layers.MaxPooling2D(3, 2, name="pool1_pool")(x)
    outputs = []
    for stage, (blocks, channels, stride, dilation) in enumerate(STAGES if dilated else PLAIN_STAGES, 2):
        for block in range(1, blocks + 1):
            x = _block(
                x, channels, stride if block == 1 else 1, dilation, block == 1, f"conv{stage}_block{block}"
            )
        outputs.append(x)
    model = Model(images, outputs, name=name)
    if weights == "imagenet":
        from keras.applications import ResNet50

        copy_weights(ResNet50(include_top=False, weights="imagenet"), model)
    return model


def copy_weights(source: Model, model: Model) -> None:
    """Copies the weights of keras.applications' ResNet50, layer by layer of the same name."""
    for layer in model.layers:
        if layer.weights:
            layer.set_weights(source.get_layer(layer.name).get_weights())


def _conv(x, channels, kernel, strides=1, dilation=1, name=None, padding="same"):
    x = layers.Conv2D(channels, kernel, strides, padding, dilation_rate=dilation, name=f"{name}_conv")(x)
    norm = layers.BatchNormalization(epsilon=BATCH_NORM_EPSILON, name=f"{name}_bn")
    return norm(x, training=False)


def _block(x, channels, stride, dilation, project, name):
    """Bottleneck block: 1x1, 3x3, 1x1, with the stride in the first convolution."""
    shortcut = _conv(x, 4 * channels, 1, stride, name=f"{name}_0") if project else x
    x = layers.ReLU(name=f"{name}_1_relu")(_conv(x, channels, 1, stride, name=f"{name}_1"))
    x = layers.ReLU(name=f"{name}_2_relu")(_conv(x, channels, 3, 1, dilation, name=f"{name}_2"))
    x = layers.Add(name=f"{name}_add")([shortcut, _conv(x, 4 * channels, 1, name=f"{name}_3")])
    return layers.ReLU(name=f"{name}_out")(x)
