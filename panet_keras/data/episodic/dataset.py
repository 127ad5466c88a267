"""The episodic tf.data input: a new episode at every step."""

import numpy as np
import tensorflow as tf

from panet_keras.data.episodic.augmentation import Augmentation
from panet_keras.data.episodic.planted_lesions import invent_lesions, paste_lesions
from panet_keras.data.episodic.rule import EpisodeRule, episode_ids
from panet_keras.data.episodic.superpixels import superpixels
from panet_keras.data.records import decode_all
from panet_keras.errors import PANetError
from panet_keras.pictures.decode import resize_nearest
from panet_keras.pictures.resize import resize_images

fold_in = tf.random.experimental.stateless_fold_in
WAYS = {"Lesion": (1, 2), "Benign": (1,), "Malignant": (2,)}
"""Name of a way and the mask classes that are its foreground."""
SUPERPIXEL_FRAMES = 512
"""Superpixels are found, at 0.1 s a frame, in as many; beyond that in a sample of them."""
DEFAULT_CLASSES = {1: ("Lesion",), 2: ("Benign", "Malignant")}


def episodes(
    records,
    ways=1,
    shots=1,
    queries=1,
    size=(256, 256),
    batch_size=1,
    steps=None,
    seed=0,
    classes=None,
    support_from="cross-patient",
    normal_queries=0.0,
    pasted_lesions=0.0,
    invented_lesions=0.0,
    superpixel_episodes=0.0,
    balanced=False,
    augment=False,
    frozen=False,
    first_epoch=0,
):
    """Samples few-shot episodes for `model.fit`.

    Every iteration over the dataset (an epoch of `fit`) gives other episodes; the n-th iteration is the same in every
    process with the same seed. Pictures are decoded once and kept in memory at model size (0.26 MB each at 256 x 256).

    Args:
        records: of `Record`, from `load_bus_uclm`, `load_folder` or `read_examples`.
        ways: N; 1 (Lesion) or 2 (Benign, Malignant), unless `classes` says otherwise.
        shots: K, support images of each way.
        queries: Q.
        size: (height, width) of the model's images.
        batch_size: B, episodes of a step.
        steps: batches of one iteration; None never ends, which `fit` and `evaluate` refuse unless they are told the steps.
        seed: integer of at least 0.
        classes: names from `WAYS`, one for each way.
        support_from: `"cross-patient"` or `"same-patient"` (see `EpisodeRule`).
        normal_queries: probability, 0 to 1, that a query is a frame without lesion, whose true mask is empty.
        pasted_lesions: probability, 0 to 1, that an image's lesion is pasted onto a frame without lesion (`paste_lesions`).
        invented_lesions: probability, 0 to 1, that an image is replaced by such a frame with an invented lesion of the same
            class (`invent_lesions`); the two together at most 1.
        superpixel_episodes: probability, 0 to 1, that an episode is self-supervised: support and query are views of one frame of
            any kind, and the foreground is one of its superpixels (SSL-ALPNet, Ouyang et al., ECCV 2020). Needs one way and
            `augment`, which makes the views. Costs about 0.1 s a frame at the start, for 512 frames at most. Or a list of such
            numbers, one for each pass (epoch), of which the last holds on: regions first and lesions last, for example.
        balanced: whether each patient, rather than each image, is as likely to be drawn.
        augment: True, False, or an `Augmentation`.
        frozen: whether every iteration gives the episodes of the first: for validation.
        first_epoch: number of the first iteration, to go on where an earlier run stopped.

    Returns:
        `tf.data.Dataset` of `({"support_images" [B, N, K, H, W, 3], "support_masks" [B, N, K, H, W, 1], "query_images"
        [B, Q, H, W, 3]}, query_masks [B, Q, H, W, 1])`; images float32 in [0, 1], masks uint8.

    Raises:
        PANetError: no such episode can be drawn; the message says what is missing.
        DataError: pictures that cannot be decoded, all of them named.
    """
    classes = tuple(classes or DEFAULT_CLASSES.get(ways, ()))
    unknown = [name for name in classes if name not in WAYS]
    if unknown or len(classes) != ways:
        raise PANetError(f"ways={ways} with classes={classes}; expected {ways} of {sorted(WAYS)}.")
    for name, value in {"shots": shots, "queries": queries, "batch_size": batch_size}.items():
        if not isinstance(value, (int, np.integer)) or value < 1:
            raise PANetError(f"{name}={value!r}; expected an integer of at least 1.")
    if support_from not in ("cross-patient", "same-patient"):
        raise PANetError(f'support_from={support_from!r}; expected "cross-patient" or "same-patient".')
    probabilities = {
        "normal_queries": normal_queries,
        "pasted_lesions": pasted_lesions,
        "invented_lesions": invented_lesions,
        "pasted_lesions + invented_lesions": pasted_lesions + invented_lesions,
    }
    shares = [float(share) for share in np.atleast_1d(superpixel_episodes)] or [0.0]
    probabilities |= {
        f"superpixel_episodes[{number}]" if number else "superpixel_episodes": share for number, share in enumerate(shares)
    }
    for name, value in probabilities.items():
        if not 0 <= value <= 1:
            raise PANetError(f"{name}={value!r}; expected a probability from 0 to 1.")
    if any(shares) and (ways != 1 or not augment):
        raise PANetError(
            f"superpixel_episodes={max(shares)} with ways={ways}, augment={augment}; "
            "expected one way, augmented. Set superpixel_episodes to 0."
        )

    images, masks = load_at_size(records, size)
    rule = EpisodeRule(
        patients=np.array([record.patient for record in records]),
        classes=np.stack([np.isin(masks, WAYS[name]).any((1, 2)) for name in classes], -1),
        shots=shots,
        queries=queries,
        support_from=support_from,
        normal=~masks.any((1, 2)),
        normal_queries=normal_queries,
        balanced=balanced,
    )
    rule.check(classes)
    ids = _id_dataset(rule, seed, batch_size, steps, frozen, first_epoch, shares)
    if (pasted_lesions or invented_lesions) and not rule.normal.any():
        raise PANetError(
            f"pasted_lesions={pasted_lesions} and invented_lesions={invented_lesions} need frames without lesion to plant them on; "
            "there is none among the records. Set both to 0, or add such frames."
        )
    to_tensors = _EpisodeTensors(
        images,
        masks,
        classes,
        Augmentation() if augment is True else augment,
        (pasted_lesions, invented_lesions),
        any(shares),
    )
    dataset = ids.map(to_tensors, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    # The autotuner's thread makes `fit` wait at its end for 10.23, 20.47 ... seconds since its start, where it leaves a dataset without end.
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.prefetch(2).with_options(options)


def load_at_size(records, size):
    """Decodes records and brings them to model size.

    Args:
        records: of `Record`. size: (height, width).

    Returns:
        uint8 [R, height, width, 3] and uint8 [R, height, width] of class indices.

    Raises:
        DataError: no records, or pictures that cannot be decoded.
    """
    if not records:
        raise PANetError("records is empty; expected at least one image. Check the folder and the split.")
    images, masks = [], []
    for sample in decode_all(records):
        scaled = resize_images(tf.constant(sample.image[None], tf.float32) / 255.0, size)
        images.append(tf.cast(tf.round(scaled[0] * 255.0), tf.uint8).numpy())
        masks.append(resize_nearest(sample.mask, size))
    return np.stack(images), np.stack(masks)


def _id_dataset(rule, seed, batch_size, steps, frozen, first_epoch, shares):
    """Dataset of (supports [B, N, K], queries [B, Q], augmentation seed [2], share of superpixel episodes)."""
    epoch = first_epoch - 1

    def generate():
        # from_generator calls this once for each iteration, which is what makes epochs differ: a seeded random op in
        # a map would repeat its draws with every iterator (tensorflow#44195).
        nonlocal epoch
        epoch = first_epoch if frozen else epoch + 1
        this, step = epoch, 0
        while steps is None or step < steps:
            supports, queries = episode_ids(rule, seed, this, step, batch_size)
            share = shares[min(this, len(shares) - 1)]
            yield supports, queries, np.random.default_rng([seed, this, step, 1]).integers(0, 2**31, 2), share
            step += 1

    ways, shots = rule.classes.shape[1], rule.shots
    dataset = tf.data.Dataset.from_generator(
        generate,
        output_signature=(
            tf.TensorSpec([batch_size, ways, shots], tf.int64),
            tf.TensorSpec([batch_size, rule.queries], tf.int64),
            tf.TensorSpec([2], tf.int64),
            tf.TensorSpec([], tf.float32),
        ),
    )
    # Without it nobody can tell a dataset without end from one of unknown length.
    length = tf.data.INFINITE_CARDINALITY if steps is None else steps
    return dataset.apply(tf.data.experimental.assert_cardinality(length))


class _EpisodeTensors:
    """Maps image ids to the tensors of an episode."""

    def __init__(self, images, masks, classes, augmentation, planted, self_supervised):
        # Eager tensors are captured by reference; numpy arrays would be copied into the graph.
        self.images, self.masks = tf.constant(images), tf.constant(masks)
        self.foreground = [list(WAYS[name]) for name in classes]
        self.augmentation = augmentation
        self.pasted, self.invented = planted
        self.normal = tf.constant(np.flatnonzero(~masks.any((1, 2))))
        self.self_supervised = self_supervised
        if self_supervised:
            frames = np.sort(np.random.default_rng(0).permutation(len(images))[:SUPERPIXEL_FRAMES])
            regions = np.stack([superpixels(images[frame]) for frame in frames])
            self.frames = tf.constant(frames)
            self.regions, self.region_counts = tf.constant(regions), tf.constant(regions.max((1, 2)), tf.int32)

    def __call__(self, supports, queries, seed, superpixel_share):
        batch, ways, shots = supports.shape
        ids = tf.concat([tf.reshape(supports, [batch, -1]), queries], 1)
        flat = tf.reshape(ids, [-1])
        images, masks = self._pictures(flat, seed)
        if self.pasted or self.invented:
            images, masks = self._planted(images, masks, fold_in(seed, 2))
        if self.self_supervised:
            images, masks = self._regions(images, masks, batch, superpixel_share, fold_in(seed, 3))
        height, width = self.images.shape[1:3]
        images = tf.reshape(images, [batch, -1, height, width, 3])
        masks = tf.reshape(masks, [batch, -1, height, width, 1])
        count = ways * shots
        support_classes = tf.reshape(masks[:, :count], [batch, ways, shots, height, width, 1])
        labels, truth = self._labels(support_classes), self._labels(masks[:, count:])
        own = tf.reshape(tf.constant(list(range(1, ways + 1)), tf.uint8), [1, ways, 1, 1, 1, 1])
        # Pixels of another way of the episode are neither this way's foreground nor background.
        support_masks = tf.where(labels == own, tf.constant(1, tf.uint8), tf.where(labels == 0, labels, tf.constant(255, tf.uint8)))
        inputs = {
            "support_images": tf.reshape(images[:, :count], [batch, ways, shots, height, width, 3]),
            "support_masks": support_masks,
            "query_images": images[:, count:],
        }
        return inputs, truth

    def _pictures(self, ids, seed):
        """Images float32 [R, H, W, 3] and masks uint8 [R, H, W], augmented where asked."""
        images, masks = tf.gather(self.images, ids), tf.gather(self.masks, ids)
        if self.augmentation:
            return self.augmentation(images, masks, seed)
        return tf.cast(images, tf.float32) / 255.0, masks

    def _planted(self, images, masks, seed):
        """Replaces some lesion images by a frame without lesion on which theirs is pasted, or one is invented."""
        draw = tf.random.stateless_uniform([tf.shape(images)[0]], fold_in(seed, 1))
        lesion = tf.reduce_any(masks > 0, [1, 2])
        pasted, invented = lesion & (draw < self.pasted), lesion & (draw >= 1 - self.invented)
        images, masks = self._replace(pasted, images, masks, self._paste, fold_in(seed, 2))
        return self._replace(invented, images, masks, self._invent, fold_in(seed, 3))

    def _regions(self, images, masks, batch, share, seed):
        """Replaces some episodes by views of one frame, with one of its superpixels as foreground."""
        views = images.shape[0] // batch
        draws = tf.random.stateless_uniform([3, batch], fold_in(seed, 1))
        frame = tf.cast(draws[1] * tf.cast(tf.size(self.frames), tf.float32), tf.int32)
        count = tf.gather(self.region_counts, frame)
        region = tf.cast(1.0 + tf.floor(draws[2] * tf.cast(count, tf.float32)), tf.uint8)
        chosen = (draws[0] < share) & (count > 0)
        chosen, frame, region = (tf.repeat(x, views) for x in (chosen, frame, region))

        def view(images, masks, seed):
            own = tf.boolean_mask(frame, chosen)
            shape = tf.equal(tf.gather(self.regions, own), tf.boolean_mask(region, chosen)[:, None, None])
            return self.augmentation(tf.gather(self.images, tf.gather(self.frames, own)), tf.cast(shape, tf.uint8), seed)

        return self._replace(chosen, images, masks, view, fold_in(seed, 2))

    def _replace(self, which, images, masks, change, seed):
        """Changes the pictures that `which` [R] names, and does no work for the rest."""
        chosen = tf.where(which)

        def replaced():
            new = change(tf.gather_nd(images, chosen), tf.gather_nd(masks, chosen), seed)
            return tuple(tf.tensor_scatter_nd_update(old, chosen, x) for old, x in zip((images, masks), new))

        return tf.cond(tf.size(chosen) > 0, replaced, lambda: (images, masks))

    def _backgrounds(self, count, seed):
        """float32 [count, H, W, 3], frames without lesion."""
        ids = tf.random.stateless_uniform([count], fold_in(seed, 1), 0, tf.size(self.normal), tf.int32)
        return self._pictures(tf.gather(self.normal, ids), fold_in(seed, 2))[0]

    def _paste(self, images, masks, seed):
        return paste_lesions(images, masks, self._backgrounds(tf.shape(images)[0], seed)), masks

    def _invent(self, images, masks, seed):
        backgrounds = self._backgrounds(tf.shape(images)[0], seed)
        drawn, shapes, visible = invent_lesions(backgrounds, fold_in(seed, 3))
        visible &= tf.reduce_any(shapes, [1, 2])
        shapes = tf.cast(shapes, tf.uint8) * tf.reduce_max(masks, [1, 2], keepdims=True)
        keep = visible[:, None, None]
        return tf.where(keep[..., None], drawn, images), tf.where(keep, shapes, masks)

    def _labels(self, masks):
        """Way number of each pixel, 0 for background and for classes that are not in the episode."""
        labels = tf.zeros_like(masks)
        for way, members in enumerate(self.foreground, 1):
            for member in members:
                labels = tf.where(masks == member, tf.constant(way, tf.uint8), labels)
        return labels
