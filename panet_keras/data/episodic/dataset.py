"""The episodic tf.data input: a new episode at every step."""

import dataclasses

import numpy as np
import tensorflow as tf

from panet_keras.data.episodic.augmentation import Augmentation
from panet_keras.data.episodic.mirrored_normals import mirrored_normal
from panet_keras.data.episodic.planted_lesions import invent_lesions, paste_lesions
from panet_keras.data.episodic.rule import EpisodeRule, episode_ids
from panet_keras.data.episodic.superpixels import superpixels
from panet_keras.data.records import decode_all, digests
from panet_keras.errors import PANetError
from panet_keras.pictures.resize import resize_images, resize_mask
from panet_keras.recipes.episode import WAYS, EpisodeSpec

fold_in = tf.random.experimental.stateless_fold_in
SUPERPIXEL_FRAMES = 512
"""Superpixels are found, at 0.1 s a frame, in as many; beyond that in a sample of them."""


def episodes(
    records, spec=None, batch_size=1, steps=None, seed=0, layouts=(), frozen=False, first_epoch=0, **changes
):
    """Samples few-shot episodes for `model.fit`.

    Every iteration over the dataset (an epoch of `fit`) gives other episodes; the n-th iteration is the same
    in every process with the same seed. Pictures are decoded once and kept in memory at model size (0.26 MB
    each at 256 x 256).

    Args:
        records: of `Record`, from `load_bus_uclm`, `load_folder` or `read_examples`. Those of several
            hospitals differ in `source`.
        spec: `EpisodeSpec`, what an episode is.
        batch_size: B, episodes of a step.
        steps: batches of one iteration; None never ends, which `fit` and `evaluate` refuse unless they are
            told the steps.
        seed: integer of at least 0.
        layouts: of `Layout`, one of which is drawn for each step, in place of `batch_size`, `shots` and
            `normals`.
        frozen: whether every iteration gives the episodes of the first: for validation.
        first_epoch: number of the first iteration, to go on where an earlier run stopped.
        **changes: fields of `EpisodeSpec` that differ from `spec`, such as `shots=5`.

    Returns:
        `tf.data.Dataset` of `({"support_images" [B, N, K + M, H, W, 3], "support_masks" [B, N, K + M, H, W,
        1], "query_images" [B, Q, H, W, 3]}, query_masks [B, Q, H, W, 1])`; images float32 in [0, 1], masks
        uint8.

    Raises:
        PANetError: no such episode can be drawn; the message says what is missing. Or a number outside its range.
        DataError: pictures that cannot be decoded, all of them named.
        TypeError: a field that `EpisodeSpec` does not have.
    """
    spec = dataclasses.replace(spec or EpisodeSpec(), **changes)
    for name, value, lowest in (("batch_size", batch_size, 1), ("steps", steps, 1), ("seed", seed, 0)):
        right = isinstance(value, (int, np.integer)) and value >= lowest
        if not (right or name == "steps" and value is None):
            raise PANetError(f"{name}={value!r}; expected an integer of at least {lowest}.")
    frames = _Frames(list(records), spec)
    rule = EpisodeRule(
        patients=_numbered(frames.patients),
        classes=np.stack([np.isin(frames.masks, WAYS[name]).any((1, 2)) for name in spec.way_names], -1),
        shots=max([layout.shots for layout in layouts], default=spec.shots),
        queries=spec.queries,
        support_from=spec.support_from,
        normal=frames.normal,
        normal_queries=spec.normal_queries,
        balanced=spec.balanced,
        normals=max([layout.normals for layout in layouts], default=spec.normals),
        sources=frames.sources,
        source_shares=spec.source_shares,
        mirrored=frames.mirrored if frames.mirrored.any() else None,
        digests=_numbered(digests(frames.images)),
    )
    rule.check(spec.way_names)
    if (spec.pasted_lesions or spec.invented_lesions) and not rule.normal.any():
        raise PANetError(
            f"pasted_lesions={spec.pasted_lesions} and invented_lesions={spec.invented_lesions} need frames without lesion to plant "
            "them on; there is none among the records. Set both to 0, set mirrored_normals, or add such frames."
        )
    ids = _id_dataset(rule, spec, seed, batch_size, steps, layouts, frozen, first_epoch)
    dataset = ids.map(_EpisodeTensors(frames, spec), num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    # The autotuner's thread makes `fit` wait at its end for 10.23, 20.47 ... seconds since its start, where
    # it leaves a dataset without end.
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.prefetch(2).with_options(options)


def _numbered(names):
    """A number for each different name, in their order: the rule compares all with all, and text takes ten times as
    long."""
    return np.unique(names, return_inverse=True)[1]


class _Frames:
    """All pictures at model size, with those that were made of them.

    Attributes:
        images: uint8 [R, H, W, 3]. masks: uint8 [R, H, W]. patients: [R]. sources: [R], or None where all are
            of one.
        normal, mirrored: bool [R], frames without lesion, and those among them that were made of lesion
            images.
    """

    def __init__(self, records, spec):
        self.images, self.masks = load_at_size(records, spec.size)
        self.patients = np.array([record.patient for record in records])
        sources = np.array([record.source for record in records])
        if spec.mirrored_normals:
            made = [
                (i, mirrored_normal(self.images[i], self.masks[i]))
                for i in np.flatnonzero(self.masks.any((1, 2)))
            ]
            origin = np.array([i for i, frame in made if frame is not None], np.int64)
            if len(origin):
                self.images = np.concatenate(
                    [self.images, np.stack([frame for _, frame in made if frame is not None])]
                )
                self.masks = np.concatenate([self.masks, np.zeros_like(self.masks[origin])])
                self.patients, sources = (np.concatenate([x, x[origin]]) for x in (self.patients, sources))
        # Patients of two hospitals may have one number.
        self.sources = sources if len(set(sources.tolist())) > 1 else None
        if self.sources is not None:
            self.patients = np.array(
                [f"{source}/{patient}" for source, patient in zip(sources, self.patients)]
            )
        self.normal = ~self.masks.any((1, 2))
        self.mirrored = np.arange(len(self.images)) >= len(records)


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
        masks.append(resize_mask(sample.mask, size))
    return np.stack(images), np.stack(masks)


def _id_dataset(rule, spec, seed, batch_size, steps, layouts, frozen, first_epoch):
    """Dataset of (supports [B, N, K + M], queries [B, Q], augmentation seed [2], share of superpixel
    episodes)."""
    epoch = first_epoch - 1

    def generate():
        # from_generator calls this once for each iteration, which is what makes epochs differ: a seeded
        # random op in a map would repeat its draws with every iterator (tensorflow#44195).
        nonlocal epoch
        epoch = first_epoch if frozen else epoch + 1
        this, step = epoch, 0
        while steps is None or step < steps:
            supports, queries = episode_ids(rule, seed, this, step, batch_size, layouts)
            share = spec.superpixel_episodes[min(this, len(spec.superpixel_episodes) - 1)]
            yield supports, queries, np.random.default_rng([seed, this, step, 1]).integers(0, 2**31, 2), share
            step += 1

    batch, shots = (None, None) if layouts else (batch_size, rule.shots + rule.normals)
    dataset = tf.data.Dataset.from_generator(
        generate,
        output_signature=(
            tf.TensorSpec([batch, spec.ways, shots], tf.int64),
            tf.TensorSpec([batch, spec.queries], tf.int64),
            tf.TensorSpec([2], tf.int64),
            tf.TensorSpec([], tf.float32),
        ),
    )
    # Without it nobody can tell a dataset without end from one of unknown length.
    length = tf.data.INFINITE_CARDINALITY if steps is None else steps
    return dataset.apply(tf.data.experimental.assert_cardinality(length))


class _EpisodeTensors:
    """Maps image ids to the tensors of an episode."""

    def __init__(self, frames, spec):
        # Eager tensors are captured by reference; numpy arrays would be copied into the graph.
        self.images, self.masks = tf.constant(frames.images), tf.constant(frames.masks)
        self.foreground = [list(WAYS[name]) for name in spec.way_names]
        self.augmentation = Augmentation() if spec.augment is True else spec.augment
        self.pasted, self.invented = spec.pasted_lesions, spec.invented_lesions
        names, sources = (
            np.unique(frames.sources, return_inverse=True)
            if frames.sources is not None
            else ([""], np.zeros(len(frames.images), int))
        )
        self.sources = tf.constant(sources, tf.int32)
        # Normal frames by source, for lesions are planted on frames of their own hospital.
        normal = np.flatnonzero(frames.normal)
        counts = np.bincount(sources[normal], minlength=len(names))
        self.normal = tf.constant(normal[np.argsort(sources[normal], kind="stable")])
        self.normal_counts = tf.constant(counts, tf.int32)
        self.normal_starts = tf.constant(np.cumsum(counts) - counts, tf.int32)
        self.self_supervised = any(spec.superpixel_episodes)
        if self.self_supervised:
            chosen = np.sort(np.random.default_rng(0).permutation(len(frames.images))[:SUPERPIXEL_FRAMES])
            regions = np.stack([superpixels(frames.images[frame]) for frame in chosen])
            self.frames = tf.constant(chosen)
            self.regions, self.region_counts = (
                tf.constant(regions),
                tf.constant(regions.max((1, 2)), tf.int32),
            )

    def __call__(self, supports, queries, seed, superpixel_share):
        ways, (height, width) = supports.shape[1], self.images.shape[1:3]
        # With layouts these two are known only when the step runs.
        batch, shots = (
            fixed or tf.shape(supports)[axis]
            for axis, fixed in ((0, supports.shape[0]), (2, supports.shape[2]))
        )
        ids = tf.concat([tf.reshape(supports, [batch, -1]), queries], 1)
        flat = tf.reshape(ids, [-1])
        images, masks = self._pictures(flat, seed)
        if self.pasted or self.invented:
            images, masks = self._planted(images, masks, tf.gather(self.sources, flat), fold_in(seed, 2))
        if self.self_supervised:
            images, masks = self._regions(images, masks, batch, superpixel_share, fold_in(seed, 3))
        images = tf.reshape(images, [batch, -1, height, width, 3])
        masks = tf.reshape(masks, [batch, -1, height, width, 1])
        count = ways * shots
        support_classes = tf.reshape(masks[:, :count], [batch, ways, shots, height, width, 1])
        labels, truth = self._labels(support_classes), self._labels(masks[:, count:])
        own = tf.reshape(tf.constant(list(range(1, ways + 1)), tf.uint8), [1, ways, 1, 1, 1, 1])
        # Pixels of another way of the episode are neither this way's foreground nor background.
        support_masks = tf.where(
            labels == own, tf.constant(1, tf.uint8), tf.where(labels == 0, labels, tf.constant(255, tf.uint8))
        )
        inputs = {
            "support_images": tf.reshape(images[:, :count], [batch, ways, shots, height, width, 3]),
            "support_masks": support_masks,
            "query_images": tf.ensure_shape(
                images[:, count:], [supports.shape[0], queries.shape[1], height, width, 3]
            ),
        }
        return inputs, tf.ensure_shape(truth, [supports.shape[0], queries.shape[1], height, width, 1])

    def _pictures(self, ids, seed):
        """Images float32 [R, H, W, 3] and masks uint8 [R, H, W], augmented where asked."""
        images, masks = tf.gather(self.images, ids), tf.gather(self.masks, ids)
        if self.augmentation:
            return self.augmentation(images, masks, seed)
        return tf.cast(images, tf.float32) / 255.0, masks

    def _planted(self, images, masks, sources, seed):
        """Replaces some lesion images by a normal frame of their source on which theirs is pasted, or one is
        invented."""
        draw = tf.random.stateless_uniform([tf.shape(images)[0]], fold_in(seed, 1))
        plantable = tf.reduce_any(masks > 0, [1, 2]) & (tf.gather(self.normal_counts, sources) > 0)
        pasted, invented = plantable & (draw < self.pasted), plantable & (draw >= 1 - self.invented)

        def of_source(which, change):
            return lambda images, masks, seed: change(images, masks, tf.boolean_mask(sources, which), seed)

        images, masks = self._replace(pasted, images, masks, of_source(pasted, self._paste), fold_in(seed, 2))
        return self._replace(invented, images, masks, of_source(invented, self._invent), fold_in(seed, 3))

    def _regions(self, images, masks, batch, share, seed):
        """Replaces some episodes by views of one frame, with one of its superpixels as foreground."""
        views = tf.shape(images)[0] // batch
        draws = tf.random.stateless_uniform([3, batch], fold_in(seed, 1))
        frame = tf.cast(draws[1] * tf.cast(tf.size(self.frames), tf.float32), tf.int32)
        count = tf.gather(self.region_counts, frame)
        region = tf.cast(1.0 + tf.floor(draws[2] * tf.cast(count, tf.float32)), tf.uint8)
        chosen = (draws[0] < share) & (count > 0)
        chosen, frame, region = (tf.repeat(x, views) for x in (chosen, frame, region))

        def view(images, masks, seed):
            own = tf.boolean_mask(frame, chosen)
            shape = tf.equal(tf.gather(self.regions, own), tf.boolean_mask(region, chosen)[:, None, None])
            return self.augmentation(
                tf.gather(self.images, tf.gather(self.frames, own)), tf.cast(shape, tf.uint8), seed
            )

        return self._replace(chosen, images, masks, view, fold_in(seed, 2))

    def _replace(self, which, images, masks, change, seed):
        """Changes the pictures that `which` [R] names, and does no work for the rest."""
        chosen = tf.where(which)

        def replaced():
            new = change(tf.gather_nd(images, chosen), tf.gather_nd(masks, chosen), seed)
            return tuple(tf.tensor_scatter_nd_update(old, chosen, x) for old, x in zip((images, masks), new))

        return tf.cond(tf.size(chosen) > 0, replaced, lambda: (images, masks))

    def _backgrounds(self, sources, seed):
        """float32 [R, H, W, 3], a normal frame of each source [R]."""
        draw = tf.random.stateless_uniform([tf.size(sources)], fold_in(seed, 1))
        number = tf.cast(draw * tf.cast(tf.gather(self.normal_counts, sources), tf.float32), tf.int32)
        frames = tf.gather(self.normal, tf.gather(self.normal_starts, sources) + number)
        return self._pictures(frames, fold_in(seed, 2))[0]

    def _paste(self, images, masks, sources, seed):
        return paste_lesions(images, masks, self._backgrounds(sources, seed)), masks

    def _invent(self, images, masks, sources, seed):
        backgrounds = self._backgrounds(sources, seed)
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
