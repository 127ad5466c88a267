"""U-Net-style head that sees the query only through its similarity to the support."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from panet_keras import encoders
from panet_keras.heads.head import Head, expect
from panet_keras.heads.prototype_head import PROTOTYPES
from panet_keras.layers.attention import AttentionPooling, CrossAttention
from panet_keras.layers.local_prototypes import local_cosine, local_prototypes
from panet_keras.layers.prototypes import episode_masks, fullest_shares, masked_average, shot_weights
from panet_keras.layers.similarity import group_cosine, unit

DETAIL_STRIDE = 4
"""The finest scale that is read is the deepest that is not coarser than this."""


@keras.saving.register_keras_serializable(package="panet_keras")
class UNetHead(Head):
    """Draws each way's mask from evidence of similarity at several scales, coarse to fine.

    At every matched scale the features are projected, and the query's pixels are compared with the support:

    * `groups` cosines to the foreground and `groups` to the background prototype, one for each group of
      channels;
    * at all scales but the finest, where pixel pairs are many, the prior mask: softmax attention of the query
      pixel over all support pixels, read out on the support mask;
    * there, too, the best correlation with a foreground and with a background pixel (prior of PFENet, Tian et
      al., TPAMI 2020, arXiv 2008.01449).

    A U-Net path joins them. Features of the finest scale enter last and only multiplied by the coarse
    prediction, so that they can sharpen what the support found and never find anything of their own. Ways
    share all weights and are decoded one by one against a background logit of 0: any number of ways and shots
    goes through one set of weights.

    Args:
        channels: width of projections and convolutions; a multiple of `groups`.
        groups: groups of channels that give a cosine each.
        detail_channels: width of the gated detail path.
        prototype: `"mean"`; `"attention"`: the foreground prototype of each query has learned weights
            (`AttentionPooling`); `"local"`: two more maps a scale, the cosine to the most alike cells of a
            grid over the support (`local_cosine`).
        refine: whether the query attends to the support (`CrossAttention`) at the scales where pixel pairs
            are few.
        prior_masks: whether pixels are compared with pixels at all: the prior mask and the best correlations.
        normal_evidence: whether normal frames among the support (shots without foreground) are evidence of
            their own, where pixels are compared with pixels: the best correlation with one of their pixels,
            and by how much the best foreground pixel is more alike than that; both 0 without normal frames.

    Raises:
        ValueError: an argument outside the values above.
    """

    def __init__(
        self,
        channels=64,
        groups=16,
        detail_channels=16,
        prototype="mean",
        refine=False,
        prior_masks=True,
        normal_evidence=False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        expect("prototype", prototype, PROTOTYPES)
        for name, value in (
            ("refine", refine),
            ("prior_masks", prior_masks),
            ("normal_evidence", normal_evidence),
        ):
            expect(name, value, (False, True))
        if channels % groups:
            raise ValueError(
                f"channels={channels} is not a multiple of groups={groups}; choose for example {groups * 4}."
            )
        self.channels = channels
        self.groups = groups
        self.detail_channels = detail_channels
        self.prototype = prototype
        self.refine = refine
        self.prior_masks = prior_masks
        self.normal_evidence = normal_evidence

    def choose_scales(self, encoder):
        strides = encoders.strides(encoder)
        detail = max((i for i, stride in enumerate(strides) if stride <= DETAIL_STRIDE), default=0)
        scales = [detail] + [i for i, stride in enumerate(strides) if stride > DETAIL_STRIDE]
        if len(scales) < 2:
            raise ValueError(
                f'decoder="unet" needs encoder outputs of stride up to {DETAIL_STRIDE} and above; found {strides}. '
                'Give the encoder more outputs, or use decoder="bilinear".'
            )
        return scales

    def build(self, input_shape):
        detail, *matched = [shape[-1] for shape in input_shape]

        def conv(filters, kernel, name, **kwargs):
            return layers.Conv2D(
                filters,
                kernel,
                padding="same",
                kernel_initializer="he_normal",
                dtype="float32",
                name=name,
                **kwargs,
            )

        def build(layer, width):
            layer.build((None, None, None, width))
            return layer

        self.projections, self.first, self.second, self.norms = [], [], [], []
        self.poolings, self.attentions, self.has_prior = [], [], []
        for scale, width in enumerate(matched):
            pairs = scale > 0 or len(matched) == 1
            self.has_prior.append(self.prior_masks and pairs)
            evidence = (
                2 * self.groups
                + (3 + 2 * self.normal_evidence if self.has_prior[-1] else 0)
                + (2 if self.prototype == "local" else 0)
            )
            deepest = scale == len(matched) - 1
            self.projections.append(build(conv(self.channels, 1, f"project{scale}", use_bias=False), width))
            self.first.append(
                build(conv(self.channels, 3, f"first{scale}"), evidence + (0 if deepest else self.channels))
            )
            self.second.append(build(conv(self.channels, 3, f"second{scale}"), self.channels))
            norm = layers.GroupNormalization(8, dtype="float32", name=f"norm{scale}")
            self.norms.append(build(norm, self.channels))
            self.poolings.append(
                AttentionPooling(name=f"pooling{scale}") if self.prototype == "attention" else None
            )
            self.attentions.append(
                CrossAttention(name=f"attention{scale}") if self.refine and pairs else None
            )
            for layer in (self.poolings[-1], self.attentions[-1]):
                if layer is not None:
                    layer.build(self.channels)
        self.coarse = build(layers.Conv2D(1, 1, dtype="float32", name="coarse"), self.channels)
        self.detail = build(conv(self.detail_channels, 1, "detail", activation="relu"), detail)
        self.fine = build(
            conv(self.channels // 2, 3, "fine", activation="relu"), self.channels + self.detail_channels + 1
        )
        # Zero at the start: training begins from what the similarities say.
        self.correction = build(
            layers.Conv2D(
                1, 3, padding="same", kernel_initializer="zeros", dtype="float32", name="correction"
            ),
            self.channels // 2,
        )
        self.attention_scale = [
            self.add_weight(
                name=f"attention_scale{scale}", shape=(), initializer=keras.initializers.Constant(15.0)
            )
            if prior
            else None
            for scale, prior in enumerate(self.has_prior)
        ]
        self.built = True

    def encode_support(self, features, support_masks):
        """As `Head.encode_support`: for each matched scale s `prototypes_s` [B, N, 2, D] (background, way),
        and for those with a prior mask or `refine` `keys_s` [B, N, K*h*w, D] of unit length and `masks_s` [B,
        N, K*h*w], the share of foreground in each cell, 1 at the fullest cell of each shot; with attention
        `pixels_s` and `weights_s`, with local prototypes `cells_s`, `cell_foreground_s` and
        `cell_background_s`, with normal evidence `normal_s` [B, N, K*h*w], 1 in normal frames.
        """
        foreground, background = episode_masks(support_masks)
        state = {}
        for scale, maps in enumerate(features[i] for i in self.scales[1:]):
            projected = self._project(scale, maps)
            shape = tf.shape(projected)
            ways = tf.reduce_mean(masked_average(projected, foreground), 2)
            rest = tf.reduce_mean(masked_average(projected, background), [1, 2])
            rest = tf.broadcast_to(rest[:, None], tf.shape(ways))
            state[f"prototypes_{scale}"] = tf.stack([rest, ways], 2)
            if self.prototype == "attention":
                flat = tf.stack([shape[0], shape[1], -1])
                state[f"pixels_{scale}"] = tf.reshape(projected, tf.concat([flat, shape[-1:]], 0))
                state[f"weights_{scale}"] = tf.reshape(shot_weights(foreground, (shape[3], shape[4])), flat)
            elif self.prototype == "local":
                local = local_prototypes(projected, foreground, background)
                state |= {f"{name}_{scale}": value for name, value in local.items()}
            if not self.has_prior[scale] and self.attentions[scale] is None:
                continue
            pixels = tf.stack([shape[0], shape[1], -1])
            state[f"keys_{scale}"] = unit(tf.reshape(projected, tf.concat([pixels, shape[-1:]], 0)))
            state[f"masks_{scale}"] = tf.reshape(fullest_shares(foreground, (shape[3], shape[4])), pixels)
            if self.normal_evidence:
                normal = 1.0 - tf.cast(tf.reduce_any(foreground > 0, [3, 4], keepdims=True), tf.float32)
                state[f"normal_{scale}"] = tf.reshape(tf.broadcast_to(normal, shape[:-1]), pixels)
        return state

    def segment(self, features, state, size):
        """As `Head.segment`; the background's logit is 0."""
        detail, *matched = [features[scale] for scale in self.scales]
        batch, queries = tf.shape(detail)[0], tf.shape(detail)[1]
        ways = tf.shape(state["prototypes_0"])[1]
        x = None
        for scale in reversed(range(len(matched))):
            evidence = self._evidence(scale, matched[scale], state)
            if x is not None:
                evidence = tf.concat([evidence, tf.image.resize(x, tf.shape(evidence)[1:3])], -1)
            x = tf.nn.relu(self.norms[scale](self.first[scale](evidence)))
            x = tf.nn.relu(self.second[scale](x))
        coarse = self.coarse(x)
        shape = tf.shape(detail)[2:4]
        coarse = tf.image.resize(coarse, shape)
        detail = self.detail(tf.reshape(detail, [batch * queries, shape[0], shape[1], detail.shape[-1]]))
        gated = tf.sigmoid(coarse) * self._each_way(detail, batch, ways)
        fine = self.fine(tf.concat([tf.image.resize(x, shape), gated, coarse], -1))
        logits = tf.image.resize(coarse + self.correction(fine), size)
        logits = tf.reshape(logits, [batch, ways, queries, size[0], size[1]])
        logits = tf.transpose(logits, [0, 2, 3, 4, 1])
        return tf.concat([tf.zeros_like(logits[..., :1]), logits], -1)

    def widened(self, kernel, shape):
        """As `Head.widened`, of the first convolutions' [h, w, C, D]: new channels end the evidence."""
        extra = shape[2] - kernel.shape[2] if len(shape) == 4 else 0
        if extra <= 0 or kernel.shape[:2] + kernel.shape[3:] != shape[:2] + shape[3:]:
            return None
        # What comes from the next coarser scale lies behind the evidence, at every scale but the coarsest.
        coarser = self.channels if kernel.shape[2] > self.channels else 0
        return np.insert(kernel, [kernel.shape[2] - coarser] * extra, 0, axis=2)

    def _project(self, scale, maps):
        shape = tf.shape(maps)
        flat = self.projections[scale](tf.reshape(maps, tf.concat([[-1], shape[-3:-1], maps.shape[-1:]], 0)))
        return tf.reshape(flat, tf.concat([shape[:-1], [self.channels]], 0))

    def _each_way(self, maps, batch, ways):
        """[B*Q, h, w, C] to [B*N*Q, h, w, C], the same for every way."""
        shape = tf.shape(maps)
        maps = tf.reshape(maps, tf.concat([[batch, 1, -1], shape[1:]], 0))
        maps = tf.repeat(maps, ways, 1)
        return tf.reshape(maps, tf.concat([[-1], shape[1:3], maps.shape[-1:]], 0))

    def _evidence(self, scale, maps, state):
        """How the query's pixels relate to the support: [B*N*Q, h, w, 2 * groups (+ 3)]."""
        projected = self._project(scale, maps)
        shape = tf.shape(projected)
        batch, queries, height, width = shape[0], shape[1], shape[2], shape[3]
        ways = tf.shape(state[f"prototypes_{scale}"])[1]
        pixels = tf.reshape(projected, [batch, queries * height * width, self.channels])

        if self.attentions[scale] is not None:
            keys = tf.reshape(state[f"keys_{scale}"], [batch, -1, self.channels])
            pixels = self.attentions[scale](pixels, keys, tf.reshape(state[f"masks_{scale}"], [batch, -1]))
        grouped = self._grouped(scale, tf.reshape(pixels, shape), state)
        grouped = tf.reshape(grouped, [batch, -1, ways, 2 * self.groups])
        grouped = tf.transpose(grouped, [0, 2, 1, 3])

        evidence = [grouped]
        if self.prototype == "local":
            local = {
                name: state[f"{name}_{scale}"] for name in ("cells", "cell_foreground", "cell_background")
            }
            alike = tf.reshape(local_cosine(tf.reshape(pixels, shape), local), [batch, -1, ways + 1])
            alike = tf.stack([tf.repeat(alike[..., :1], ways, -1), alike[..., 1:]], -1)
            evidence.append(tf.transpose(alike, [0, 2, 1, 3]))
        if self.has_prior[scale]:
            evidence.append(self._prior(scale, pixels, state))
        evidence = tf.concat(evidence, -1)
        return tf.reshape(evidence, [batch * ways * queries, height, width, evidence.shape[-1]])

    def _grouped(self, scale, pixels, state):
        """Group-wise cosines of query pixels [B, Q, h, w, D] to background and ways: [B, Q*h*w, N*2, G]."""
        shape = tf.shape(pixels)
        batch, queries = shape[0], shape[1]
        prototypes = state[f"prototypes_{scale}"]
        if self.poolings[scale] is None:
            prototypes = tf.reshape(prototypes, [batch, -1, self.channels])
            return group_cosine(tf.reshape(pixels, [batch, -1, self.channels]), prototypes, self.groups)
        descriptor = tf.reduce_mean(pixels, [2, 3])
        own = self.poolings[scale](state[f"pixels_{scale}"], state[f"weights_{scale}"], descriptor)
        rest = tf.broadcast_to(prototypes[:, None, :, 0], tf.shape(own))
        prototypes = tf.reshape(tf.stack([rest, own], 3), [batch * queries, -1, self.channels])
        grouped = group_cosine(
            tf.reshape(pixels, [batch * queries, -1, self.channels]), prototypes, self.groups
        )
        return tf.reshape(grouped, tf.concat([[batch, -1], tf.shape(grouped)[2:]], 0))

    def _prior(self, scale, pixels, state):
        """Prior mask, best foreground and best background correlation of each query pixel, and what normal
        frames say: [B, N, P, 3 or 5]."""
        keys, masks = state[f"keys_{scale}"], state[f"masks_{scale}"]
        correlation = tf.einsum("bpc,bnkc->bnpk", unit(pixels), keys)
        attention = tf.nn.softmax(self.attention_scale[scale] * correlation)
        prior = tf.einsum("bnpk,bnk->bnp", attention, masks)
        likeness = (correlation + 1.0) / 2.0
        best = tf.reduce_max(likeness * masks[:, :, None], -1)
        rest = tf.reduce_max(likeness * (1.0 - masks[:, :, None]), -1)
        evidence = [prior, best, rest]
        if self.normal_evidence:
            normal = state[f"normal_{scale}"]
            known = tf.reduce_max(likeness * normal[:, :, None], -1)
            evidence += [known, (best - known) * tf.reduce_max(normal, -1)[..., None]]
        return tf.stack(evidence, -1)

    def get_config(self):
        return {
            **super().get_config(),
            "channels": self.channels,
            "groups": self.groups,
            "detail_channels": self.detail_channels,
            "prototype": self.prototype,
            "refine": self.refine,
            "prior_masks": self.prior_masks,
            "normal_evidence": self.normal_evidence,
        }
