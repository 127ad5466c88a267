"""What the model is compared with: rows that are no switch of `PANet`."""

import keras
import numpy as np
import tensorflow as tf

from panet_keras import CrossEntropyDice, Dice, encoders
from panet_keras.training.loop import optimizer


class SupervisedUNet(keras.Model):
    """A U-Net on the same encoder that never looks at the support: the ceiling to reach or pass.

    Takes the same episodes as `PANet`, and trains on the query and on the support's images alike, so that it
    sees as many masks.
    """

    def __init__(self, encoder="efficientnet_lite0", weights="auto", encoder_rate=0.2, channels=64):
        super().__init__()
        self.encoder = encoders.get(encoder, weights)
        for variable in self.encoder.variables:
            variable.learning_rate_factor = encoder_rate
        used = [i for i, stride in enumerate(encoders.strides(self.encoder)) if stride >= 4]
        maps = [self.encoder.outputs[i] for i in used]
        x = None
        for level in reversed(maps):
            skip = keras.layers.Conv2D(channels, 1, use_bias=False)(level)
            x = (
                skip
                if x is None
                else keras.layers.Concatenate()(
                    [skip, keras.layers.UpSampling2D(2, interpolation="bilinear")(x)]
                )
            )
            x = keras.layers.Conv2D(channels, 3, padding="same")(x)
            x = keras.layers.ReLU()(keras.layers.GroupNormalization(8)(x))
            x = keras.layers.Conv2D(channels, 3, padding="same", activation="relu")(x)
        self.network = keras.Model(self.encoder.inputs, keras.layers.Conv2D(1, 1)(x))
        self.built = True

    def call(self, inputs, training=False):
        queries = inputs["query_images"]
        shape = tf.shape(queries)
        logits = self.network(tf.reshape(queries, tf.concat([[-1], shape[2:]], 0)), training=training)
        logits = tf.reshape(tf.image.resize(logits, shape[2:4]), tf.concat([shape[:4], [1]], 0))
        return tf.concat([tf.zeros_like(logits), logits], -1)

    def compile(self, optimizer):
        super().compile(optimizer=optimizer, loss=CrossEntropyDice(), metrics=[Dice()])

    def train_step(self, data):
        inputs, labels = data
        support, masks = inputs["support_images"], inputs["support_masks"]
        rest = tf.shape(support)[3:]
        images = tf.reshape(support, tf.concat([[tf.shape(support)[0], -1], rest], 0))
        masks = tf.reshape(masks, tf.concat([tf.shape(images)[:-1], [1]], 0))
        images = tf.concat([images, inputs["query_images"]], 1)
        return super().train_step(
            ({"query_images": images}, tf.concat([masks, tf.cast(labels, masks.dtype)], 1))
        )


class ConstantMask:
    """The mean training mask, whatever the image shows."""

    def __init__(self, masks):
        self.mean = np.mean([mask > 0 for mask in masks], 0)

    def __call__(self, support_images, support_masks, query_images):
        return np.stack([1 - self.mean, self.mean], -1)[None, None]


def supervised(recipe):
    """For `panet_keras.train(build=...)`."""
    model = SupervisedUNet(recipe.model["encoder"])
    model.compile(optimizer(recipe))
    return model
