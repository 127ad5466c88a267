"""The paper's head: the class of the most similar prototype, upsampled."""

import keras
import tensorflow as tf

from panet_keras import encoders
from panet_keras.heads.head import Head, expect
from panet_keras.layers.attention import AttentionPooling, CrossAttention
from panet_keras.layers.local_prototypes import local_cosine, local_prototypes
from panet_keras.layers.prototypes import episode_masks, fullest_shares, mean_prototypes, shot_weights
from panet_keras.layers.similarity import SIMILARITY_SCALE, scaled_cosine
from panet_keras.losses.alignment import alignment_loss
from panet_keras.losses.cross_entropy_dice import CrossEntropyDice

PROTOTYPES = ("mean", "attention", "local")


@keras.saving.register_keras_serializable(package="panet_keras")
class PrototypeHead(Head):
    """Compares every query pixel with the background and each way, at one scale, and upsamples the
    similarities (PANet, section 3.3).

    Args:
        prototype: `"mean"`, masked average pooling (the paper); `"attention"`, with learned weights of the
            support's pixels that depend on the query (`AttentionPooling`); or `"local"`, the mean and a grid
            of local means, of which each pixel takes the most alike (ALPNet, Ouyang et al., ECCV 2020, arXiv
            2007.09886, section 3.2).
        refine: whether the query's features first attend to the support's (`CrossAttention`).

    Raises:
        ValueError: an argument outside the values above.
    """

    contrast_weight = 0.0
    """The paper has no contrast."""

    def __init__(self, prototype="mean", refine=False, **kwargs):
        super().__init__(**kwargs)
        expect("prototype", prototype, PROTOTYPES)
        expect("refine", refine, (False, True))
        self.prototype = prototype
        self.refine = refine
        self.pooling = AttentionPooling(name="pooling") if prototype == "attention" else None
        self.attention = CrossAttention(name="attention") if refine else None

    def choose_scales(self, encoder):
        return [encoders.matched_scale(encoder)]

    def build(self, input_shape):
        [(*_, channels)] = input_shape
        for layer in (self.pooling, self.attention):
            if layer is not None:
                layer.build(channels)
        self.built = True

    def encode_support(self, features, support_masks):
        """As `Head.encode_support`: `prototypes` [B, N+1, C]; what the kind of prototype adds
        (`keys` [B, N, K*h*w, C] and `foreground`, `background` [B, N, K*h*w]; or `cells` [B, N, K*66, C] and
        `cell_foreground`, `cell_background` [B, N, K*66]; and `marks` [B, N, K*h*w] where refined).
        """
        features = features[self.scales[0]]
        state = {"prototypes": mean_prototypes(features, support_masks)}
        foreground, background = episode_masks(support_masks)
        shape = tf.shape(features)
        pixels = tf.stack([shape[0], shape[1], -1])
        if self.prototype == "attention" or self.refine:
            state["keys"] = tf.reshape(tf.cast(features, tf.float32), tf.concat([pixels, shape[-1:]], 0))
        if self.prototype == "attention":
            state["foreground"] = tf.reshape(shot_weights(foreground, (shape[3], shape[4])), pixels)
            state["background"] = tf.reshape(shot_weights(background, (shape[3], shape[4])), pixels)
        if self.refine:
            state["marks"] = tf.reshape(fullest_shares(foreground, (shape[3], shape[4])), pixels)
        if self.prototype == "local":
            state |= local_prototypes(features, foreground, background)
        return state

    def segment(self, features, state, size):
        similarities = self.match(features[self.scales[0]], state)
        shape = tf.shape(similarities)
        maps = tf.image.resize(tf.reshape(similarities, tf.concat([[-1], shape[2:]], 0)), size)
        return tf.reshape(maps, tf.concat([shape[:2], size, shape[4:]], 0))

    def alignment_loss(self, support_features, query_features, support_masks, labels, state, loss):
        """The paper's: prototypes of the query's predicted mask segment the support (section 3.4, equations 6
        to 8)."""
        query = query_features[self.scales[0]]
        similarities = self.match(query, state)
        return tf.reduce_mean(
            alignment_loss(query, similarities, support_features[self.scales[0]], support_masks)
        )

    def match(self, features, state):
        """Scaled similarities [B, Q, h, w, N+1] of query features [B, Q, h, w, C] of the matched scale."""
        shape = tf.shape(features)
        if self.refine:
            features = self._refined(features, state)
        if self.prototype == "mean":
            return scaled_cosine(features, state["prototypes"])
        if self.prototype == "local":
            return SIMILARITY_SCALE * local_cosine(features, state)
        keys, batch = state["keys"], shape[0]
        everything = [batch, 1, -1]
        descriptor = tf.reduce_mean(tf.cast(features, tf.float32), [2, 3])
        ways = self.pooling(keys, state["foreground"], descriptor)
        rest = self.pooling(
            tf.reshape(keys, [*everything, keys.shape[-1]]),
            tf.reshape(state["background"], everything),
            descriptor,
        )
        prototypes = tf.concat([rest, ways], 2)
        flat = tf.reshape(features, tf.concat([[-1], shape[2:]], 0))
        flat = scaled_cosine(flat, tf.reshape(prototypes, tf.concat([[-1], tf.shape(prototypes)[2:]], 0)))
        return tf.reshape(flat, tf.concat([shape[:-1], [-1]], 0))

    def _refined(self, features, state):
        shape = tf.shape(features)
        joint = [shape[0], -1]
        pixels = tf.reshape(features, [shape[0], -1, features.shape[-1]])
        keys = tf.reshape(state["keys"], [*joint, features.shape[-1]])
        return tf.reshape(self.attention(pixels, keys, tf.reshape(state["marks"], joint)), shape)

    def default_optimizer(self):
        """As the paper trained (section 4.1)."""
        return keras.optimizers.SGD(1e-3, momentum=0.9, weight_decay=5e-4)

    def default_loss(self):
        return CrossEntropyDice(dice_weight=0.0)

    def get_config(self):
        return {**super().get_config(), "prototype": self.prototype, "refine": self.refine}
