"""The interface of a head: all that `PANet`, Grad-CAM, the export and the benchmarks know of one."""

import keras
import tensorflow as tf

from panet_keras.losses.alignment import reversed_episode
from panet_keras.losses.cross_entropy_dice import CrossEntropyDice
from panet_keras.optimizers import PretrainedAdamW


class Head(keras.layers.Layer):
    """Turns encoder features of support and query into logits.

    A head of one's own is a subclass with `build`, `encode_support`, `segment` and `get_config`, decorated
    with `keras.saving.register_keras_serializable`: `PANet(decoder=MyHead(...))` then trains, saves, exports
    and serves it, and no other file knows its name. Every argument of the constructor is a switch of `PANet`
    as well: `PANet(decoder="unet", refine=True)`. What depends on a tensor's value is `tf.where` or `tf.cond`:
    AutoGraph rewrites no `if`, in training, export and `FewShotSegmenter` alike.

    Everywhere `features` is the list of all feature maps of the encoder, fine to coarse, [B, ..., h, w, C]
    each.
    """

    contrast_weight = 0.3
    """Factor of the contrast loss where `PANet` is given none; chosen on one fold, see docs/decisions."""

    def __init__(self, **kwargs):
        # float32 even under mixed precision: cosines and soft-max attention lose too much in half precision.
        super().__init__(**{**kwargs, "dtype": "float32"})

    def choose_scales(self, encoder):
        """Indices of the encoder's outputs, fine to coarse, whose shapes `build` is given; all of them unless
        a head says otherwise.

        Raises:
            ValueError: the encoder has not the scales that the head needs.
        """
        return list(range(len(encoder.outputs)))

    def build_on(self, encoder):
        """Makes every weight for a functional `keras.Model`, the encoder; `self.scales` are the outputs it
        uses."""
        self.scales = self.choose_scales(encoder)
        self.build([encoder.outputs[scale].shape for scale in self.scales])

    def get_build_config(self):
        """None: the encoder decides the shapes, so a loaded head waits for `build_on`."""
        return None

    def encode_support(self, features, support_masks):
        """What queries are compared with.

        Args:
            features: of the support, each [B, N, K, h, w, C].
            support_masks: [B, N, K, H, W, 1]; 1 = the way's foreground, 0 = background, 255 = ignore. A shot
                without foreground is a normal frame: it tells what background looks like.

        Returns:
            The support state: dictionary of float32 tensors, each starting with B.
        """
        raise NotImplementedError

    def segment(self, features, state, size):
        """Logits of queries.

        Args:
            features: of the queries, each [B, Q, h, w, C]. state: from `encode_support`. size: (H, W) of the
                logits.

        Returns:
            [B, Q, H, W, N+1] float32, background first.
        """
        raise NotImplementedError

    def alignment_loss(self, support_features, query_features, support_masks, labels, state, loss):
        """Loss of the support images segmented with the queries as their support (PANet, section 3.4), a
        scalar.

        The paper takes the query's predicted mask; here it is the true one. Predictions are noise when
        training begins, and a cosine to a wrong prototype hurts less than a decoder that learns from it. The
        features are there already, so an episode teaches twice for little more than the price of once. Normal
        frames among the support teach nothing here: they would make a model of two lesions and ten normal
        frames shy.

        Args:
            support_features, query_features: as above. support_masks: [B, N, K, H, W, 1]. labels: of the
                queries, [B, Q, H, W, 1].
            state: the support's. loss: Keras loss of labels and logits.
        """
        masks, targets = reversed_episode(support_masks, labels)
        ways = tf.shape(support_masks)[1]
        shots = [_merge(tf.repeat(x[:, None], ways, 1), 2)[:, None] for x in query_features]
        queries = [_merge(x, 2) for x in support_features]
        logits = self.segment(queries, self.encode_support(shots, masks), tf.shape(support_masks)[3:5])
        # A Keras loss is divided among the replicas already.
        return loss(targets, logits) * tf.cast(tf.distribute.get_strategy().num_replicas_in_sync, tf.float32)

    def widened(self, kernel, shape):
        """A kernel of a head that reads less evidence, for one that reads more: what is new begins at zero.

        Args:
            kernel: array. shape: of the kernel wanted.

        Returns:
            Array of that shape; None where the difference is no evidence that a head knows.
        """
        return None

    def default_optimizer(self):
        """What `PANet.compile` takes without one."""
        return PretrainedAdamW(1e-3, weight_decay=1e-4, clipnorm=1.0)

    def default_loss(self):
        """What `PANet.compile` takes without one."""
        return CrossEntropyDice()


def expect(name, value, known):
    """Refuses a value of a switch that is not among the known ones.

    Raises:
        ValueError: naming the switch, what came and what was expected.
    """
    if value not in known:
        raise ValueError(f"{name}={value!r}; expected one of {list(known)}.")


def _merge(tensor, axes):
    """Joins the first axes into one."""
    return tf.reshape(tensor, tf.concat([[-1], tf.shape(tensor)[axes:]], 0))
