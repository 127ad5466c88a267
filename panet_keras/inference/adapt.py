"""Fine-tuning on a support set that decides for itself: how far, and whether at all."""

import dataclasses

import numpy as np
import tensorflow as tf

from panet_keras.data.episodic.augmentation import Augmentation
from panet_keras.data.records import digests
from panet_keras.inference.leave_one_out import HeldOut, SupportFeatures
from panet_keras.losses import CrossEntropyDice
from panet_keras.optimizers import PretrainedAdamW

FOLDS = 2
EPISODES = 3
"""Of a step."""
SHARES = (0.5, 1.0)
"""How far one goes from the model's weights to the tuned ones. Half way (WiSE-FT, Wortsman et al., CVPR 2022,
arXiv 2109.01903) is best on hospitals like those that the model knows, all the way on another organ
(docs/decisions/hospitals.md)."""
ENCODER_RATE = 0.2
"""The encoder's learning rate as a share of the rest's: an organ that the model never saw needs other features."""
PRESENCE_WEIGHT = 0.2
NORMAL_QUERIES = 0.3
"""How often the query is a normal frame, where there are any: what is tuned on lesions alone marks
everything."""
SUPERPIXELS = 0.25
"""Share of the episodes where there are regions (`panet_keras.training.train_to_adapt`): lesions alone teach a model to
forget its support."""
WORTH = 0.01
"""Gain of the score from which one goes all the way: less is the noise of a handful of frames. Half way any gain
will do, since it helped on every hospital and organ that was tried (docs/decisions/hospitals.md)."""
MARKED_COST = 0.1
"""Dice of a lesion that one normal frame marked is worth. Little, for a person who looks takes a false mask away, and
nothing brings a lost lesion back."""


@dataclasses.dataclass(frozen=True)
class Adaptation:
    """What was decided.

    Attributes:
        steps: optimizer steps of each copy; 0: the model stays as it was, because frames left out gained nothing.
        share: how far the weights went from the model's to the tuned ones, 0 to 1.
        scores: dictionary of shares to the score on frames left out (`score`); 0 is the model as it was.
        held_out: `HeldOut` of every frame after going as far on the others. as_it_was: of the model itself.
    """

    steps: int
    share: float
    scores: dict
    held_out: HeldOut
    as_it_was: HeldOut


def length(lesions):
    """Number of steps for so many lesions: few frames teach little, and long training on them undoes what the model
    knows."""
    return int(np.clip(7.5 * lesions, 30, 150))


def adapt(model, images, masks, learning_rate=5e-4, seed=0, progress=None, threshold=0.0, mirror=False):
    """Fine-tunes a copy of a model on annotated frames of one scanner, where that helps.

    The frames are dealt into two folds. A copy is tuned on each, and judged on the frames of the other: with the
    model's weights, half way to the tuned ones, and with those. One goes as far as that gains, with the mean of both
    copies' weights, which every frame has taught (model soups, Wortsman et al., ICML 2022, arXiv 2203.05482). Every
    number that decides is of frames that the copy was not tuned on.

    Args:
        model: `PANet`, one way. images: float32 [F, H, W, 3] in [0, 1]. masks: uint8 [F, H, W], all 0 for
            normal frames; at least 2 lesions.
        learning_rate: peak, of `PretrainedAdamW`. seed: of folds and episodes. progress: function of (steps
            done, steps in all). threshold: of presence, that the model comes with. mirror: as of `SupportFeatures`.

    Returns:
        The tuned copy (or the model itself), and an `Adaptation`.
    """
    masks = (np.asarray(masks) > 0).astype(np.uint8)
    lesion = masks.any((1, 2))
    rng = np.random.default_rng([seed, 1])
    fold = _folds(digests(images), lesion, rng)
    parts = [fold != number for number in range(FOLDS)]
    lengths = [length(int((lesion & inside).sum())) for inside in parts]
    done = 0

    def note():
        nonlocal done
        done += 1
        if progress:
            progress(done, sum(lengths))

    answers = {share: [None] * len(masks) for share in (0, *SHARES)}

    def judge(features, share, inside):
        for frame in np.flatnonzero(~inside):
            answers[share][frame] = features.answer(frame, np.flatnonzero(inside))

    tuner = Tuner(model, images, masks, learning_rate, seed, note, mirror)
    before = SupportFeatures(model, images, masks, mirror)
    copies = []
    for number, inside in enumerate(parts):
        judge(before, 0, inside)
        tuner.run(inside, lengths[number], number)
        copies.append(tuner.tuned)
        for share in SHARES:
            judge(tuner.features(share), share, inside)
    held_out = {share: HeldOut(np.array(logits), masks > 0, lesion) for share, logits in answers.items()}
    scores = {share: score(answer, threshold) for share, answer in held_out.items()}
    half, whole = SHARES
    best = 0 if scores[half] <= scores[0] else half
    if scores[whole] - scores[best] >= WORTH:
        best = whole
    if not best:
        return model, Adaptation(0, 0, scores, held_out[0], held_out[0])
    tuner.tuned = [np.mean(weights, 0) for weights in zip(*copies)]
    tuner.go(best)
    return tuner.copy, Adaptation(max(lengths), best, scores, held_out[best], held_out[0])


def _folds(pictures, lesion, rng):
    """Fold [F] of each frame: lesions and normal frames are dealt in turn, copies of a picture into one fold."""
    fold, place = np.zeros(len(lesion), int), {}
    for kind in (lesion, ~lesion):
        count = 0
        for frame in rng.permutation(np.flatnonzero(kind)):
            if pictures[frame] not in place:
                place[pictures[frame]] = count % FOLDS
                count += 1
            fold[frame] = place[pictures[frame]]
    return fold


def score(held_out, threshold=0.0):
    """Mean Dice of the lesion frames - 0.1 x share of the normal frames marked; with normal frames, of what is left after
    the presence threshold that all of them set, as it will be used. Before it most normal frames are marked by the
    model as it was, and to mark fewer of them would count for lesions that are drawn worse.

    Args:
        held_out: `HeldOut`. threshold: that the model comes with.
    """
    if held_out.lesion.all():
        return float(held_out.dice.mean())
    dice, marked = held_out.after(held_out.threshold(threshold))
    return float(dice.mean() - MARKED_COST * marked.mean())


class Tuner:
    """A copy of a model that is trained again and again from the model's weights: its graph, which takes
    longer to build than to run, is built once.

    Args:
        model: `PANet`. images: float32 [F, H, W, 3]. masks: uint8 [F, H, W]. learning_rate: peak. seed: of
            the episodes.
        note: function that is called after each step. mirror: as of `SupportFeatures`.

    Attributes:
        regions: of `episodes_of`.
    """

    def __init__(self, model, images, masks, learning_rate, seed, note, mirror=False):
        self.images, self.masks, self.mirror, self.regions = images, masks, mirror, None
        self.learning_rate, self.seed, self.note = learning_rate, seed, note
        self.start = self.tuned = model.get_weights()
        self.copy = model.__class__.from_config(model.get_config())
        for variable in self.copy.encoder.variables:
            variable.learning_rate_factor = ENCODER_RATE
        self.copy.compile(
            optimizer=PretrainedAdamW(learning_rate, weight_decay=1e-4, clipnorm=1.0),
            loss=CrossEntropyDice(presence_weight=PRESENCE_WEIGHT),
            metrics=[],
        )
        self.fresh = [variable.numpy() for variable in self.copy.optimizer.variables]
        self.step = tf.function(
            lambda inputs, labels: self.copy.train_step((inputs, labels)), reduce_retracing=True
        )
        self.judged = None

    def go(self, share):
        """Sets the copy's weights between the model's (0) and the tuned ones (1)."""
        self.copy.set_weights([a + share * (b - a) for a, b in zip(self.start, self.tuned)])

    def features(self, share):
        """`SupportFeatures` of the copy, gone so far."""
        self.go(share)
        if self.judged is None:
            self.judged = SupportFeatures(self.copy, self.images, self.masks, self.mirror)
        else:
            self.judged.refresh()
        return self.judged

    def run(self, inside, steps, run):
        """Trains on the frames `inside` [F], from the model's weights."""
        self.copy.set_weights(self.start)
        for variable, value in zip(self.copy.optimizer.variables, self.fresh):
            variable.assign(value)
        frames = [x if x is None else x[inside] for x in (self.images, self.masks, self.regions)]
        for number in range(1, steps + 1):
            self.copy.optimizer.learning_rate.assign(self.learning_rate * _rate(number / steps))
            self.step(*episodes_of(*frames, np.random.default_rng([self.seed, run, number])))
            self.note()
        self.tuned = self.copy.get_weights()


def _rate(done):
    """Share of the peak rate: up in the first tenth of the steps, then down along a cosine to a twentieth."""
    return max(0.2, 10 * done) if done < 0.1 else 0.05 + 0.95 * (1 + np.cos(np.pi * (done - 0.1) / 0.9)) / 2


def episodes_of(images, masks, regions, rng, count=EPISODES):
    """Episodes of the frames themselves: one lesion supports another, or a normal frame; all augmented.

    Args:
        images: float32 [F, H, W, 3] in [0, 1]. masks: uint8 [F, H, W]. regions: uint8 [F, H, W] of `superpixels`, 0 of
            frames without; or None. With them `SUPERPIXELS` of the episodes are views of one frame, with one of its
            regions as the lesion. rng: numpy Generator. count: B.

    Returns:
        inputs and labels as `PANet` takes them; where there are normal frames, one is the second support.
    """
    lesions, normals = np.flatnonzero(masks.any((1, 2))), np.flatnonzero(~masks.any((1, 2)))
    beside = len(normals) > 0
    ids, marked = [], []
    for _ in range(count):
        if regions is not None and regions.any() and rng.random() < SUPERPIXELS:
            frame = rng.choice(np.flatnonzero(regions.any((1, 2))))
            region = regions[frame] == rng.integers(1, regions[frame].max() + 1)
            ids += [frame] * (2 + beside)
            marked += [region.astype(np.uint8)] * (2 + beside)
            continue
        support, query = rng.choice(lesions, 2, replace=len(lesions) < 2)
        if len(normals) and rng.random() < NORMAL_QUERIES:
            query = rng.choice(normals)
        own = [support, *([rng.choice(normals)] if beside else []), query]
        ids += own
        marked += list(masks[own])
    stack = tf.cast(tf.round(images[ids] * 255.0), tf.uint8)
    stack, labels = Augmentation()(
        stack, tf.constant(np.stack(marked)), tf.constant(rng.integers(0, 2**31, 2), tf.int64)
    )
    stack = tf.reshape(stack, [count, -1, *stack.shape[1:]])
    labels = tf.reshape(labels, [count, -1, *labels.shape[1:], 1])
    inputs = {
        "support_images": stack[:, None, :-1],
        "support_masks": labels[:, None, :-1],
        "query_images": stack[:, -1:],
    }
    return inputs, labels[:, -1:]
