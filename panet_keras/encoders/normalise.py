"""Input normalisation that a saved encoder carries with it."""

from collections.abc import Sequence
from typing import Any

import keras


@keras.saving.register_keras_serializable(package="panet_keras")
class BGRMinusMean(keras.layers.Layer):
    """Turns RGB in [0, 1] into BGR of 0..255 minus a mean, as the Caffe weights of VGG16 want it.

    Args:
        mean: three floats, blue, green, red, of 0..255 values.

    Call arguments:
        images: [B, H, W, 3] in [0, 1], RGB.

    Output: [B, H, W, 3], same dtype.
    """

    def __init__(self, mean: Sequence[float], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mean = tuple(mean)

    def call(self, images):
        return keras.ops.flip(images, axis=-1) * 255 - keras.ops.convert_to_tensor(self.mean, images.dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mean": self.mean}
