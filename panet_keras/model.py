"""PANet: few-shot segmentation with prototype alignment, as a Keras model."""

import math

import keras
import tensorflow as tf

from panet_keras import encoders, heads, presets
from panet_keras.checks.fit import FitChecks
from panet_keras.checks.inputs import check_labels, check_loss, check_shapes, check_values
from panet_keras.export.keras_export import KerasExport
from panet_keras.layers.prototypes import IGNORE
from panet_keras.losses.contrast import contrast_loss, move_masks
from panet_keras.losses.cross_entropy_dice import CrossEntropyDice
from panet_keras.metrics import Dice

RANKS = {"support_images": 6, "support_masks": 6, "query_images": 5}


@keras.saving.register_keras_serializable(package="panet_keras")
class PANet(FitChecks, KerasExport, keras.Model):
    """Prototype Alignment Network (Wang et al., ICCV 2019, arXiv 1908.06391).

    Given k annotated support images of each way, it segments query images: masked average pooling turns the
    support into prototypes, each query pixel takes the class of the most similar one, and in training the
    prediction must, in turn, segment the support (alignment). The defaults are the paper's model;
    `decoder="unet"` is the repair for lesions, whose outline the paper's bilinear masks miss.

    Args:
        encoder: `"vgg16"` (the paper's), `"efficientnet_lite0"`, `"efficientnet_lite2"`, `"resnet50"`, or a
            functional `keras.Model` from images in [0, 1] to feature maps, fine to coarse.
        weights: of a named encoder: `"auto"` (the packaged ones), `"hed"`, `"imagenet"`, a file path, or
            None. Not kept in the config: a saved model has its weights in it.
        decoder: the head, which turns features into masks: `"bilinear"` upsampling of the similarity maps
            (the paper: `PrototypeHead`), `"unet"` (`UNetHead`), or a `Head` of one's own.
        align_weight: factor of the alignment loss, at least 0; 0 is the ablation "PANet without alignment".
            With the U-Net decoder the whole episode is reversed: the queries, with their true masks, segment
            the support (`Head.alignment_loss`).
        contrast_weight: factor of the contrast loss, at least 0: half of the episodes are segmented once more
            with the support's masks moved onto tissue, and must leave their lesions out
            (`panet_keras.losses.contrast`). None: as the head has it, 0.3 for the U-Net decoder, 0 for the
            bilinear one.
        contrast_elsewhere: whether they must show nothing else, either. False for superpixel episodes, in
            which tissue may be meant.
        train_encoder: whether the encoder learns; True leaves layers that were frozen before as they are.
        encoder_rate: the encoder's learning rate as a share of the rest's, for `PretrainedAdamW`.
        temperature: above 0; logits are divided by it outside training, so that a probability of 0.8 is right
            in 80 of 100 cases (temperature scaling: Guo et al., ICML 2017, arXiv 1706.04599). Masks stay as
            they are. Fit it on patients apart from those that were trained on.
        name, dtype, trainable: as for any Keras model.
        **switches: arguments of the head named by `decoder`, such as `prototype="attention"` or
            `refine=True`.

    Call arguments:
        inputs: dictionary of `support_images` [B, N, K, H, W, 3] in [0, 1], `support_masks` [B, N, K, H, W,
            1] (1 = the way's foreground, 0 = background, 255 = ignore) and `query_images` [B, Q, H, W, 3].
            All sizes may differ from call to call.

    Output: logits [B, Q, H, W, N+1], float32; softmax over the last axis, background first.

    Raises:
        ValueError: an argument outside the values above, or inputs of other names or ranks.

    Example:

    >>> import numpy as np
    >>> model = PANet(encoder="efficientnet_lite0", weights=None, decoder="unet")
    >>> episode = {
    ...     "support_images": np.random.rand(1, 1, 2, 64, 64, 3).astype("float32"),
    ...     "support_masks": np.ones((1, 1, 2, 64, 64, 1), "float32"),
    ...     "query_images": np.random.rand(1, 3, 64, 64, 3).astype("float32"),
    ... }
    >>> tuple(model(episode).shape)
    (1, 3, 64, 64, 2)
    """

    def __init__(
        self,
        encoder="vgg16",
        weights="auto",
        decoder="bilinear",
        align_weight=1.0,
        contrast_weight=None,
        contrast_elsewhere=True,
        train_encoder=True,
        encoder_rate=0.2,
        temperature=1.0,
        name=None,
        dtype=None,
        trainable=True,
        **switches,
    ):
        super().__init__(name=name, dtype=dtype, trainable=trainable)
        self.decoder = heads.get(decoder, **switches)
        if contrast_weight is None:
            contrast_weight = self.decoder.contrast_weight
        if not 0 <= align_weight < math.inf:
            raise ValueError(
                f"align_weight={align_weight!r}; expected a number of at least 0 (0 switches alignment off)."
            )
        if not 0 <= contrast_weight < math.inf:
            raise ValueError(
                f"contrast_weight={contrast_weight!r}; expected a number of at least 0, or None."
            )
        if not 0 <= encoder_rate < math.inf:
            raise ValueError(f"encoder_rate={encoder_rate!r}; expected a number of at least 0 (0 stops it).")
        self.encoder = encoders.get(encoder, weights, self.dtype_policy)
        self.align_weight = float(align_weight)
        self.contrast_weight = float(contrast_weight)
        self.contrast_elsewhere = bool(contrast_elsewhere)
        self.train_encoder = bool(train_encoder)
        self.encoder_rate = float(encoder_rate)
        self.temperature = temperature

        # To set True would thaw the layers that somebody froze.
        if not self.train_encoder:
            self.encoder.trainable = False
        for variable in self.encoder.variables:
            variable.learning_rate_factor = self.encoder_rate
        self.decoder.build_on(self.encoder)
        self._episode_criterion = self.decoder.default_loss()
        self._loss_weights = {"align_loss": self.align_weight, "contrast_loss": self.contrast_weight}
        self._trackers = {name: keras.metrics.Mean(name=name) for name in self._loss_weights}
        # Every variable exists from here on: callbacks that restore a model need no first batch.
        self.built = True
        # Without `compile`, `predict` would compile each size by XLA where there is a GPU.
        self.jit_compile = False

    @property
    def temperature(self):
        """What logits are divided by outside training; may be set at any time."""
        return self._temperature

    @temperature.setter
    def temperature(self, value):
        if not 0 < value < math.inf:
            raise ValueError(
                f"temperature={value!r}; expected a number above 0 (1 leaves the logits as they are)."
            )
        self._temperature = float(value)
        # Their graphs hold the number that was there when they were traced.
        self.predict_function = self.test_function = None

    def set_weights(self, weights):
        super().set_weights(weights)
        encoders.finalize(self.encoder)

    @classmethod
    def from_preset(cls, name):
        """Builds a trained model; nothing is downloaded.

        Args:
            name: a shipped preset (`panet_keras.presets.names()` lists them), or a folder written by
                `panet_keras.presets.write`.

        Raises:
            PANetError: unknown; lists the known ones.
        """
        return presets.load(cls, name)

    def call(self, inputs, training=False):
        logits = self._episode(inputs, training)[0]
        return logits if training else logits / self.temperature

    def encode_support(self, support_images, support_masks):
        """Turns annotated images into the support state, once for any number of queries.

        Args:
            support_images: [B, N, K, H, W, 3] in [0, 1].
            support_masks: [B, N, K, H, W, 1]; a shot without foreground is a normal frame.

        Returns:
            Dictionary of float32 tensors, each starting with B: see `encode_support` of the head.
        """
        return self.decoder.encode_support(self.features(support_images), support_masks)

    def segment(self, state, query_images):
        """Segments queries with a support state.

        Args:
            state: from `encode_support` of this model.
            query_images: [B, Q, H, W, 3] in [0, 1]; the size may differ from the support's.

        Returns:
            Logits [B, Q, H, W, N+1], float32.
        """
        size = tf.shape(query_images)[2:4]
        return self.decoder.segment(self.features(query_images), state, size) / self.temperature

    def features(self, images, training=False):
        """Feature maps of images [..., H, W, 3], fine to coarse: list of [..., h, w, C]."""
        lead = tf.shape(images)[:-3]
        maps = self.encoder(
            tf.reshape(images, tf.concat([[-1], tf.shape(images)[-3:-1], images.shape[-1:]], 0)),
            training=training,
        )
        maps = maps if isinstance(maps, (list, tuple)) else [maps]
        return [tf.reshape(x, tf.concat([lead, tf.shape(x)[1:3], x.shape[-1:]], 0)) for x in maps]

    def _episode(self, inputs, training, labels=None, seed=(0, 0)):
        """Logits of an episode; and its further losses by name, scalars, when labels are given.

        Args:
            inputs: as for the model. labels: of the queries. seed: of the contrast's moves.
        """
        _check_inputs(inputs)
        support, masks, queries = inputs["support_images"], inputs["support_masks"], inputs["query_images"]
        support_features, query_features = self._joint_features(support, queries, training)
        state = self.decoder.encode_support(support_features, masks)
        size = tf.shape(queries)[2:4]
        logits = self.decoder.segment(query_features, state, size)
        losses = {}
        if labels is not None and self.align_weight > 0:
            losses["align_loss"] = self.decoder.alignment_loss(
                support_features, query_features, masks, labels, state, self._episode_criterion
            )
        if labels is not None and self.contrast_weight > 0:
            half = (tf.shape(masks)[0] + 1) // 2
            moved, possible = move_masks(masks[:half], seed)
            state = self.decoder.encode_support([x[:half] for x in support_features], moved)
            answer = self.decoder.segment([x[:half] for x in query_features], state, size)
            losses["contrast_loss"] = contrast_loss(answer, labels[:half], possible, self.contrast_elsewhere)
        return logits, losses

    def _joint_features(self, support, queries, training):
        """Features of support and queries by one pass of the encoder: half the cost of a call is its
        start."""
        leads = [tf.shape(support)[:3], tf.shape(queries)[:2]]
        flat = [
            tf.reshape(x, tf.concat([[-1], tf.shape(x)[-3:-1], x.shape[-1:]], 0)) for x in (support, queries)
        ]
        count = tf.shape(flat[0])[0]
        maps = self.features(tf.concat(flat, 0), training)
        return [
            [tf.reshape(x, tf.concat([lead, tf.shape(x)[1:3], x.shape[-1:]], 0)) for x in part]
            for lead, part in zip(leads, ([x[:count] for x in maps], [x[count:] for x in maps]))
        ]

    def compile(self, optimizer="auto", loss="auto", metrics="auto", jit_compile=False, **kwargs):
        """Configures training; without arguments as the paper trained, or as the U-Net decoder needs it.

        Args:
            optimizer: `"auto"`: SGD with momentum 0.9, weight decay 5e-4 and rate 1e-3 (PANet, section 4.1)
                for the bilinear decoder, `PretrainedAdamW` of rate 1e-3 for the U-Net; or any Keras
                optimizer.
            loss: `"auto"`: cross-entropy for the bilinear decoder, cross-entropy + soft Dice for the U-Net;
                or any Keras loss from labels [B, Q, H, W, 1] and logits [B, Q, H, W, N+1]. One that leaves out
                255 (`CrossEntropyDice`, `SparseCategoricalCrossentropy(True, ignore_class=255)`) judges the
                reversed episode, too (`Head.alignment_loss`); in place of others `CrossEntropyDice()` does.
            metrics: `"auto"`: `[Dice()]`; or a list.
            jit_compile: XLA. Off: sizes vary between episodes, and each would be compiled anew.
            **kwargs: as for `keras.Model.compile`.

        Raises:
            PANetError: a cross-entropy of probabilities: the output is logits.
        """
        if isinstance(optimizer, str) and optimizer == "auto":
            optimizer = self.decoder.default_optimizer()
        if isinstance(loss, str) and loss == "auto":
            loss = self.decoder.default_loss()
        if isinstance(loss, (list, tuple)) and len(loss) == 1:
            loss = loss[0]  # of the one output, as Keras takes it, too
        check_loss(loss)
        # What judges the query judges the reversed episode, too, if it knows the pixels that are ignored there.
        self._episode_criterion = (
            loss if getattr(loss, "ignore_class", None) == IGNORE else CrossEntropyDice()
        )
        if isinstance(metrics, str) and metrics == "auto":
            metrics = [Dice()]
        super().compile(optimizer=optimizer, loss=loss, metrics=metrics, jit_compile=jit_compile, **kwargs)
        # An optimizer without variables would drop, with a warning only, what BackupAndRestore and load_model
        # bring back.
        if not self.optimizer.built:
            self.optimizer.build(self.trainable_variables)

    def compile_from_config(self, config):
        # Keras restores nothing of a model whose `compile` is its own, unless told how.
        self.compile(**keras.saving.deserialize_keras_object(config))

    def train_step(self, data):
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            y_pred, loss = self._episode_loss(x, y, sample_weight, training=True)
            # Without it mixed_float16 gradients vanish: Keras unscales inside the optimizer.
            scaled_loss = self.optimizer.scale_loss(loss)
        weights = self.trainable_weights
        if weights:  # as in Keras' own step, a model whose weights are all frozen is scored alone
            self.optimizer.apply_gradients(zip(tape.gradient(scaled_loss, weights), weights))
        return self.compute_metrics(x, y, y_pred, sample_weight=sample_weight)

    def test_step(self, data):
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        y_pred, _ = self._episode_loss(x, y, sample_weight, training=False)
        return self.compute_metrics(x, y, y_pred, sample_weight=sample_weight)

    def _episode_loss(self, x, y, sample_weight, training):
        """Query loss plus alignment loss (PANet, section 3.4, equation 9) and contrast, all tracked."""
        check_labels(x, y)
        # Seeded by the step: a training that goes on after a crash moves its masks as one that was never cut
        # off.
        seed = tf.stack([tf.cast(self.optimizer.iterations, tf.int32), 0])
        y_pred, losses = self._episode(x, training, y, seed)
        loss = self.compute_loss(x, y, y_pred, sample_weight, training=training)
        batch = tf.shape(y_pred)[0]
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        for name, value in losses.items():
            self._trackers[name].update_state(value)
            loss += self._loss_weights[name] * value / replicas
        self._loss_tracker.update_state(loss * replicas, sample_weight=batch)
        return y_pred, loss

    def get_config(self):
        return {
            **super().get_config(),
            "encoder": keras.saving.serialize_keras_object(self.encoder),
            "weights": None,
            "decoder": keras.saving.serialize_keras_object(self.decoder),
            "align_weight": self.align_weight,
            "contrast_weight": self.contrast_weight,
            "contrast_elsewhere": self.contrast_elsewhere,
            "train_encoder": self.train_encoder,
            "encoder_rate": self.encoder_rate,
            "temperature": self.temperature,
        }

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        if config.get("decoder") == "bilinear":
            # Models of version 0.1 noted it of every head.
            config.pop("prior_masks", None)
        for part in ("encoder", "decoder"):
            if isinstance(config.get(part), dict):
                config[part] = keras.saving.deserialize_keras_object(config[part])
        return cls(**config)


def _check_inputs(inputs):
    if not isinstance(inputs, dict) or set(inputs) != set(RANKS):
        found = sorted(inputs) if isinstance(inputs, dict) else type(inputs).__name__
        raise ValueError(f"PANet got {found}; expected a dictionary with exactly the keys {sorted(RANKS)}.")
    for name, rank in RANKS.items():
        if tf.TensorShape(inputs[name].shape).rank != rank:
            axes = (
                "[B, Q, H, W, 3]" if rank == 5 else f"[B, N, K, H, W, {1 if name == 'support_masks' else 3}]"
            )
            raise ValueError(f"{name} has shape {tuple(inputs[name].shape)}; expected {axes}.")
    check_shapes(inputs)
    check_values(inputs)
