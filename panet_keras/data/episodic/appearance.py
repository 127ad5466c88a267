"""What scanners and tissue do to a B-mode picture: gain over depth, shadows, speckle, resolution."""

import dataclasses

import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Appearance:
    """Ranges from which each image draws its own change; 0 switches one off.

    Attributes:
        depth_gain: logarithm of the gain at the top and bottom edge, to either side: the time-gain curve.
        field: standard deviation of the logarithm of a slowly changing gain.
        shadow: largest logarithm of the darkening below a depth, in a column of 2 to 10 % of the width; about
            two in five images get one.
        speckle: largest standard deviation of multiplicative noise, fine or twice as coarse; about four in
            seven images get it.
        blur: share of a blur over 2 x 2 pixels that is mixed in, and 0.4 of it sharpened.
    """

    depth_gain: float = 0.35
    field: float = 0.2
    shadow: float = 1.2
    speckle: float = 0.3
    blur: float = 1.0

    def __call__(self, images, seed):
        """Changes images float32 [R, H, W, 3] in [0, 1] with a seed int64 [2]; same shape and range."""
        shape = tf.shape(images)
        count, height, width = shape[0], shape[1], shape[2]
        seeds = tf.unstack(tf.random.split(seed, 4))
        draws = tf.random.stateless_uniform([9, count, 1, 1, 1], seeds[0])
        down = tf.linspace(0.0, 1.0, height)[None, :, None, None]
        across = tf.linspace(0.0, 1.0, width)[None, None, :, None]

        slow = tf.image.resize(
            tf.random.stateless_normal([count, 4, 4, 1], seeds[1]), (height, width), "bicubic"
        )
        gain = self.depth_gain * (2 * draws[0] - 1) * (2 * down - 1) + self.field * draws[1] * slow
        column = tf.exp(-tf.square((across - draws[2]) / (0.02 + 0.08 * draws[3])))
        strength = self.shadow * tf.nn.relu(1 - 2.25 * draws[4])
        gain -= strength * column * tf.sigmoid(20 * (down - 0.7 * draws[5]))
        images *= tf.exp(gain)

        fine = tf.random.stateless_normal([count, height, width, 1], seeds[2])
        coarse = tf.random.stateless_normal([count, height // 2, width // 2, 1], seeds[3])
        # Bilinear enlargement averages the noise; 1.5 brings its spread back.
        noise = tf.where(draws[6] < 0.5, fine, 1.5 * tf.image.resize(coarse, (height, width)))
        images *= 1 + self.speckle * tf.nn.relu(1 - 1.75 * draws[7]) * noise

        # Halving and enlarging is a blur for a tenth of a convolution's price on a CPU.
        soft = tf.image.resize(tf.image.resize(images, (height // 2, width // 2)), (height, width))
        images += self.blur * (1.4 * draws[8] - 0.4) * (soft - images)
        return tf.clip_by_value(images, 0.0, 1.0)
