"""The protocol: a frozen episode list, the same for every model, and a score for each image at its original size."""

import dataclasses
import time

import numpy as np
import tensorflow as tf

from panet_keras.data.images import resize_nearest
from panet_keras.data.records import decode_all
from panet_keras.errors import PANetError
from panet_keras.evaluation.scores import calibration_counts, score_mask
from panet_keras.resize import resize_images
from panet_keras.segmenter import presence, restore

PROTOCOLS = ("cross-patient", "same-patient", "moved-support")


@dataclasses.dataclass(frozen=True)
class Episode:
    """One scored query: indices into the test records."""

    query: int
    supports: tuple
    repeat: int


def episode_list(patients, lesion, shots, repeats=5, seed=0, protocol="cross-patient", queries="lesion"):
    """Draws the supports of every query.

    Args:
        patients: [R] patient of each test image.
        lesion: [R] bool, whether it has a lesion.
        shots: K.
        repeats: draws for each query.
        seed: integer; the list depends on nothing else.
        protocol: `"cross-patient"` (supports from other patients), `"same-patient"` (from the query's own), or
            `"moved-support"` (as cross-patient; the masks are moved when it is run).
        queries: `"lesion"` or `"normal"` images.

    Returns:
        List of `Episode`; queries without enough supports are left out.

    Raises:
        PANetError: no query has enough supports.
    """
    patients, lesion = np.asarray(patients), np.asarray(lesion, bool)
    episodes = []
    for query in np.flatnonzero(lesion if queries == "lesion" else ~lesion):
        same = patients == patients[query]
        allowed = lesion & (same if protocol == "same-patient" else ~same)
        allowed[query] = False
        candidates = np.flatnonzero(allowed)
        if len(candidates) < shots:
            continue
        for repeat in range(repeats):
            rng = np.random.default_rng([seed, shots, PROTOCOLS.index(protocol), int(query), repeat])
            chosen = rng.choice(candidates, shots, replace=False)
            episodes.append(Episode(int(query), tuple(int(i) for i in chosen), repeat))
    if not episodes and queries == "lesion":
        raise PANetError(
            f"{protocol}, {shots} shot(s): no query has enough support images ({int(lesion.sum())} lesion images of "
            f"{len(set(patients[lesion]))} patients). Lower the shots or test more patients."
        )
    return episodes


class TestImages:
    """Decoded test images: at model size for the model, masks at original size for the score.

    Args:
        records: of `Record`.
        size: (height, width) of the model.
    """

    __test__ = False  # not a pytest class

    def __init__(self, records, size):
        self.records = list(records)
        self.images, self.truths, self.masks = [], [], []
        for sample in decode_all(self.records):
            scaled = resize_images(tf.constant(sample.image, tf.float32) / 255.0, size).numpy()
            self.images.append(np.round(scaled * 255).astype(np.uint8))
            self.truths.append(sample.mask > 0)
            self.masks.append(resize_nearest(sample.mask > 0, size))
        self.patients = np.array([record.patient for record in self.records])
        self.lesion = np.array([mask.any() for mask in self.masks])

    def query(self, index):
        """float32 [1, 1, H, W, 3]."""
        return self.images[index][None, None].astype(np.float32) / np.float32(255)

    def support(self, indices, moved_seed=None):
        """Images float32 [1, 1, K, H, W, 3] and masks uint8 [1, 1, K, H, W, 1]; moved onto tissue when a seed is given."""
        images = np.stack([self.images[i] for i in indices])[None, None].astype(np.float32) / np.float32(255)
        masks = [self.masks[i] for i in indices]
        if moved_seed is not None:
            masks = [move_mask(mask, moved_seed) for mask in masks]
        return images, np.stack(masks)[None, None, ..., None].astype(np.uint8)


def move_mask(mask, seed):
    """Rolls a mask by a quarter to three quarters of the frame onto tissue beside the lesion."""
    rng = np.random.default_rng(seed)
    for _ in range(20):
        shift = [int(side * rng.uniform(0.25, 0.75)) for side in mask.shape]
        moved = np.roll(mask, shift, (0, 1)) & ~mask
        if moved.any():
            return moved
    raise PANetError("a support mask fills the frame, so that it cannot be moved beside the lesion")


def run_protocol(predict, test, episodes, moved=False, seed=0, surface=True, progress=None):
    """Scores episodes.

    Args:
        predict: function of (support_images, support_masks, query_images) to probabilities [1, 1, h, w, 2].
        test: `TestImages`.
        episodes: of `Episode`.
        moved: whether support masks are moved onto tissue.
        seed: of the moves.
        surface: whether HD95 and NSD are computed (most of the time of an image).
        progress: function of (done, total), called now and then.

    Returns:
        List of rows, one for each episode: query index, repeat, presence, scores; and calibration counts [3, 10].
    """
    rows, counts, last = [], np.zeros((3, 10)), 0.0
    for number, episode in enumerate(episodes):
        images, masks = test.support(episode.supports, [seed, episode.query, episode.repeat] if moved else None)
        small = np.asarray(predict(images, masks, test.query(episode.query)))[0, 0]
        truth = test.truths[episode.query]
        probability = np.asarray(restore(small, truth.shape))[..., 1]
        scores = score_mask(truth, probability, surface=surface)
        rows.append({"query": episode.query, "repeat": episode.repeat, "presence": presence(small[..., 1]), **scores})
        counts += calibration_counts(truth, probability)
        if progress and (time.monotonic() - last > 5 or number + 1 == len(episodes)):
            last = time.monotonic()
            progress(number + 1, len(episodes))
    return rows, counts
