"""The protocol: a frozen episode list, the same for every model, and a score for each image at its original
size."""

import dataclasses
import time

import numpy as np
import tensorflow as tf

from panet_keras.data.episodic.superpixels import superpixels
from panet_keras.data.records import decode_all, digests
from panet_keras.errors import PANetError
from panet_keras.evaluation.lesions import find_lesions
from panet_keras.evaluation.scores import calibration_counts, score_mask
from panet_keras.inference.presence import presence
from panet_keras.inference.segmenter import restore
from panet_keras.pictures.decode import resize_nearest
from panet_keras.pictures.resize import resize_images, resize_mask, two_sides

PROTOCOLS = ("cross-patient", "same-patient", "moved-support", "other-label", "two-way", "superpixel")
LABELS = ("Benign", "Malignant")
"""The ways of a two-way episode, in order."""


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of the table: a protocol at a number of shots. Its text, `"cross-patient, 1 shot"`, is its name
    in tables and files."""

    protocol: str
    shots: int

    def __str__(self):
        return f"{self.protocol}, {self.shots} shot" + ("s" if self.shots > 1 else "")


@dataclasses.dataclass(frozen=True)
class Episode:
    """One scored query: indices into the test records; `supports` has the shots of the first way, then of the
    next."""

    query: int
    supports: tuple
    repeat: int


def episode_list(
    patients,
    lesion,
    shots,
    repeats=5,
    seed=0,
    protocol="cross-patient",
    queries="lesion",
    labels=None,
    digests=None,
    sources=None,
):
    """Draws the supports of every query.

    Args:
        patients: [R] patient of each test image.
        lesion: [R] bool, whether it has a lesion.
        shots: K.
        repeats: draws for each query.
        seed: integer; the list depends on nothing else.
        protocol: `"cross-patient"` (supports from other patients), `"same-patient"` (from the query's own),
            `"moved-support"` (as cross-patient; the masks are moved when it is run), `"other-label"` (from
            patients of the other label), `"two-way"` (K Benign and K Malignant supports from other patients),
            or `"superpixel"` (the support is the query's own frame, mirrored, and the truth a superpixel of
            it; K is 1).
        queries: `"lesion"` or `"normal"` images; a superpixel's query is of either kind.
        labels: [R] label of each image, for the protocols that ask for it: there lesions of another label than
            `LABELS` are neither queries nor supports.
        digests: [R] equal where pictures are: a query's copy under another name never supports it.
        sources: [R] source (hospital) of each image: supports are of the query's own. None: of any.

    Returns:
        List of `Episode`; queries without enough supports are left out.

    Raises:
        PANetError: no query has enough supports.
    """
    patients, lesion = np.asarray(patients), np.asarray(lesion, bool)
    labels = None if labels is None else np.asarray(labels)
    if protocol == "superpixel":
        return [
            Episode(query, (query,), repeat) for query in range(len(patients)) for repeat in range(repeats)
        ]
    # A lesion that nobody graded is of neither label.
    graded = lesion & np.isin(labels, LABELS) if protocol in ("other-label", "two-way") else lesion
    episodes = []
    for query in np.flatnonzero(graded if queries == "lesion" else ~lesion):
        same = patients == patients[query]
        allowed = graded & (same if protocol == "same-patient" else ~same)
        allowed[query] = False
        if digests is not None:
            allowed &= np.asarray(digests) != digests[query]
        if sources is not None:
            allowed &= np.asarray(sources) == sources[query]
        if protocol == "other-label":
            allowed &= labels != labels[query]
        pools = [allowed & (labels == label) for label in LABELS] if protocol == "two-way" else [allowed]
        pools = [np.flatnonzero(pool) for pool in pools]
        if min(map(len, pools)) < shots:
            continue
        for repeat in range(repeats):
            rng = np.random.default_rng([seed, shots, PROTOCOLS.index(protocol), int(query), repeat])
            chosen = np.concatenate([rng.choice(pool, shots, replace=False) for pool in pools])
            episodes.append(Episode(int(query), tuple(int(i) for i in chosen), repeat))
    if not episodes and queries == "lesion":
        raise PANetError(
            f"{protocol}, {shots} shot(s): no query has enough support images ({int(lesion.sum())} lesion images of "
            f"{len(set(patients[lesion]))} patients). Lower the shots or test more patients."
        )
    return episodes


def fixed_episodes(patients, lesion, supports, queries="lesion", digests=None):
    """The same annotated images for every query, as a person would who annotates a few once.

    Args:
        patients: [R] patient of each test image. lesion: [R] bool, whether it has a lesion.
        supports: indices of the annotated images; their number is K.
        queries: `"lesion"` or `"normal"` images. Those of the supports' own patients are left out.
        digests: [R] equal where pictures are: a support's copy under another name is no query.

    Returns:
        List of `Episode`.

    Raises:
        PANetError: a support without a lesion, or no query left.
    """
    patients, lesion = np.asarray(patients), np.asarray(lesion, bool)
    empty = [int(index) for index in supports if not lesion[index]]
    if empty:
        raise PANetError(f"supports: images {empty} have no lesion; expected annotated lesions.")
    allowed = (lesion if queries == "lesion" else ~lesion) & ~np.isin(patients, patients[list(supports)])
    if digests is not None:
        allowed &= ~np.isin(digests, np.asarray(digests)[list(supports)])
    asked = np.flatnonzero(allowed)
    if queries == "lesion" and not len(asked):
        raise PANetError(
            f"supports: every lesion image is of a patient among the {len(supports)} supports; no query is left."
        )
    return [Episode(int(query), tuple(int(index) for index in supports), 0) for query in asked]


def some_queries(lesion, count):
    """Indices of at most `count` images to ask for, two thirds of them with a lesion where there are as many.

    Args:
        lesion: [R] bool, whether each test image has a lesion. count: integer above 0.

    Returns:
        Sorted list; evenly spaced over the images of either kind, and so over the patients.
    """
    with_lesion, without = np.flatnonzero(lesion), np.flatnonzero(~np.asarray(lesion, bool))
    normal = min(len(without), max(count // 3, count - len(with_lesion)))
    return sorted(
        int(pool[i * len(pool) // take])
        for pool, take in ((with_lesion, min(len(with_lesion), count - normal)), (without, normal))
        for i in range(take)
    )


class TestImages:
    """Decoded test images: at model size for the model, masks at original size for the score.

    Args:
        records: of `Record`.
        size: (height, width) of the model, or one number for a square.

    Raises:
        PANetError: another size.
    """

    __test__ = False  # not a pytest class

    def __init__(self, records, size):
        self.records, size = list(records), two_sides(size)
        self.images, self.truths, self.masks = [], [], []
        for sample in decode_all(self.records):
            scaled = resize_images(tf.constant(sample.image, tf.float32) / 255.0, size).numpy()
            self.images.append(np.round(scaled * 255).astype(np.uint8))
            self.truths.append(sample.mask > 0)
            self.masks.append(resize_mask(sample.mask > 0, size))
        self.digests = digests(self.images)
        self.patients = np.array([record.patient for record in self.records])
        self.sources = np.array([record.source for record in self.records])
        self.labels = np.array([record.label for record in self.records])
        self.lesion = np.array([mask.any() for mask in self.masks])

    def query(self, index):
        """float32 [1, 1, H, W, 3]."""
        return self.images[index][None, None].astype(np.float32) / np.float32(255)

    def support(self, indices, ways=1):
        """Images float32 [1, N, K, H, W, 3] and masks uint8 [1, N, K, H, W, 1]."""
        images = np.stack([self.images[i] for i in indices]).astype(np.float32) / np.float32(255)
        masks = np.stack([self.masks[i] for i in indices])[..., None].astype(np.uint8)
        return tuple(x.reshape(1, ways, -1, *x.shape[1:]) for x in (images, masks))

    def tensors(self, episode, protocol="cross-patient", seed=0):
        """What a model is given for an episode, and what it should answer.

        Returns:
            support images and masks, query image; truth bool [H, W] at its original size; number of its way.
            None when the frame has no superpixel.
        """
        images, masks = self.support(episode.supports, 2 if protocol == "two-way" else 1)
        query, truth, way = self.query(episode.query), self.truths[episode.query], 1
        rng = np.random.default_rng([seed, episode.query, episode.repeat])
        if protocol == "moved-support":
            for shot in range(masks.shape[2]):
                masks[0, 0, shot, ..., 0] = move_mask(masks[0, 0, shot, ..., 0] > 0, rng)
        elif protocol == "two-way":
            way = LABELS.index(self.labels[episode.query]) + 1
        elif protocol == "superpixel":
            regions = superpixels(self.images[episode.query])
            if not regions.any():
                return None
            region = regions == rng.integers(1, regions.max() + 1)
            images, masks = images[..., ::-1, :], region[None, None, None, :, ::-1, None].astype(np.uint8)
            truth = resize_nearest(region, truth.shape)
        return images, masks, query, truth, way


def move_mask(mask, rng):
    """Rolls a mask by a quarter to three quarters of the frame onto tissue beside the lesion."""
    for _ in range(20):
        shift = [int(side * rng.uniform(0.25, 0.75)) for side in mask.shape]
        moved = np.roll(mask, shift, (0, 1)) & ~mask
        if moved.any():
            return moved
    raise PANetError("a support mask fills the frame, so that it cannot be moved beside the lesion")


def run_protocol(predict, test, episodes, protocol="cross-patient", seed=0, surface=True, progress=None):
    """Scores episodes.

    Args:
        predict: function of (support_images, support_masks, query_images) to probabilities [1, 1, h, w, N+1].
        test: `TestImages`.
        episodes: of `Episode`.
        protocol: that they were drawn by.
        seed: of moved masks and superpixels.
        surface: whether HD95 and NSD are computed (most of the time of an image).
        progress: function of (done, total), called now and then.

    Returns:
        List of rows, one for each episode: query index, repeat, supports (indices), presence, scores, and of
            the cross-patient protocol `found` and
        `false`, the scores of `find_lesions`; and calibration counts [3, 10].
        With more ways than one the scores are those of the query's own way, which has a pixel where it is the
        most probable.

    Raises:
        PANetError: `predict` returned something else, such as logits.
    """
    rows, counts, last = [], np.zeros((3, 10)), 0.0
    for number, episode in enumerate(episodes):
        tensors = test.tensors(episode, protocol, seed)
        if tensors is None:
            continue
        *inputs, truth, way = tensors
        small = _probabilities(predict(*inputs))
        probability = own_probability(np.asarray(restore(small, truth.shape)), way)
        scores = score_mask(truth, probability, surface=surface)
        drawn = {"query": episode.query, "repeat": episode.repeat, "supports": list(episode.supports)}
        marks = dataclasses.asdict(find_lesions(truth, probability)) if protocol == "cross-patient" else {}
        rows.append({**drawn, "presence": presence(small[..., way]), **scores, **marks})
        counts += calibration_counts(truth, probability)
        if progress and (time.monotonic() - last > 5 or number + 1 == len(episodes)):
            last = time.monotonic()
            progress(number + 1, len(episodes))
    return rows, counts


def _probabilities(answer):
    """[h, w, N+1] of an answer [1, 1, h, w, N+1], if these are probabilities."""
    answer = np.asarray(answer)
    if answer.ndim != 5 or answer.shape[:2] != (1, 1) or answer.shape[-1] < 2:
        raise PANetError(
            f"predict returned shape {answer.shape}; expected probabilities [1, 1, height, width, ways + 1]."
        )
    # Written so that a NaN is refused as well.
    if not (answer.min() >= 0 and answer.max() <= 1.001):
        raise PANetError(
            f"predict returned values from {answer.min():.3g} to {answer.max():.3g}; expected probabilities, from 0 to 1. A "
            "PANet returns logits: put tf.nn.softmax around it."
        )
    return answer[0, 0]


def own_probability(probabilities, way):
    """Probability [H, W] of a way against its strongest rival, from [H, W, N+1]: above 1/2 exactly where the
    way wins."""
    own = probabilities[..., way]
    if probabilities.shape[-1] == 2:
        return own
    rival = np.delete(probabilities, way, -1).max(-1)
    return own / (own + rival)
