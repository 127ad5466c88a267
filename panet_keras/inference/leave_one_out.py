"""What a support set says of itself: every annotated frame is segmented with all the others as support."""

import dataclasses
import functools

import numpy as np
import tensorflow as tf

from panet_keras.data.records import digests
from panet_keras.inference.presence import fit_threshold, presence
from panet_keras.metrics import MISS_DICE

CURVE = (1, 2, 5, 10, 20, 50)
"""Numbers of supports at which the curve of expected Dice is read."""


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """Answers for frames that were not among the support.

    Attributes:
        logits: float32 [F, H, W, 2] at model size, of the frames. masks: bool [F, H, W], empty for normal
            frames.
        lesion: bool [F]. dice: float [F], NaN for normal frames.
    """

    logits: np.ndarray
    masks: np.ndarray
    lesion: np.ndarray

    @property
    def dice(self):
        found = self.logits[..., 1] > self.logits[..., 0]
        total = (found.sum((1, 2)) + self.masks.sum((1, 2))).astype(float)
        overlap = 2.0 * (found & self.masks).sum((1, 2))
        return np.where(self.lesion, overlap / np.maximum(total, 1), np.nan)

    @property
    def marked(self):
        """bool [F]: whether any pixel is marked."""
        return (self.logits[..., 1] > self.logits[..., 0]).any((1, 2))

    @functools.cached_property
    def presence(self):
        """float [F], `panet_keras.inference.presence.presence` of each frame."""
        probabilities = 1 / (1 + np.exp(self.logits[..., 0] - self.logits[..., 1]))
        return np.array([presence(probability) for probability in probabilities])

    def threshold(self, fallback):
        """The presence threshold that `FewShotSegmenter.calibrate` sets; `fallback`: as of
        `panet_keras.inference.presence.fit_threshold`."""
        seen, found = self.presence, self.lesion & (np.nan_to_num(self.dice) >= MISS_DICE)
        return fit_threshold(seen[found], seen[~self.lesion], fallback)

    def after(self, threshold):
        """What is left where masks below a presence threshold are emptied: Dice of the lesion frames, float [L],
        and whether a normal frame is marked, bool [N]."""
        kept = self.presence >= threshold
        return np.where(kept, self.dice, 0.0)[self.lesion], (kept & self.marked)[~self.lesion]


class SupportFeatures:
    """Features of annotated frames, computed once; any part of them supports any other.

    A frame that is left out never has its copy as support: the same pixels under another name would find it.

    Args:
        model: `PANet`. images: float32 [F, H, W, 3]. masks: [F, H, W], 1 = lesion. mirror: whether a frame that is
            asked for is asked for in the mirror, too, as `FewShotSegmenter(mirror=True)` does.
    """

    def __init__(self, model, images, masks, mirror=False):
        self.model, self.masks, self.mirror = model, np.asarray(masks) > 0, mirror
        self.lesion = self.masks.any((1, 2))
        self.images = images
        self.picture = digests(images)
        self._answer = tf.function(self._segment, autograph=False, reduce_retracing=True)
        self.refresh()

    def refresh(self):
        """Computes the features anew, after the model has changed."""
        self.features = self._of(self.images)
        self.mirrored = self._of(self.images[:, :, ::-1]) if self.mirror else None

    def _of(self, images):
        parts = [
            self.model.features(tf.constant(images[start : start + 8])) for start in range(0, len(images), 8)
        ]
        return [tf.concat(scale, 0) for scale in zip(*parts)]

    def _segment(self, support, masks, query):
        state = self.model.decoder.encode_support(
            [x[None, None] for x in support], masks[None, None, ..., None]
        )
        size = tf.shape(masks)[1:3]
        return (
            self.model.decoder.segment([x[None, None] for x in query], state, size)[0, 0]
            / self.model.temperature
        )

    def answer(self, frame, support):
        """Logits [H, W, 2] of a frame with others as support, by their indices; with the mirror those of the mean
        probabilities."""
        chosen = tf.constant(np.asarray(support, np.int64))
        masks = tf.constant(self.masks[support].astype(np.uint8))
        support = [tf.gather(x, chosen) for x in self.features]
        logits = self._answer(support, masks, [x[frame] for x in self.features])
        if self.mirror:
            mirrored = self._answer(support, masks, [x[frame] for x in self.mirrored])[:, ::-1]
            logits = tf.math.log((tf.nn.softmax(logits) + tf.nn.softmax(mirrored)) / 2.0)
        return logits.numpy()

    def others(self, frame):
        """[F] bool, the frames that are not this picture."""
        return self.picture != self.picture[frame]

    def leave_one_out(self):
        """`HeldOut` of every frame with all others as support. A frame needs another one with a lesion: a single
        lesion has none."""
        frames = [i for i in range(len(self.lesion)) if (self.lesion & self.others(i)).any()]
        logits = [self.answer(frame, np.flatnonzero(self.others(frame))) for frame in frames]
        shape = (0, *self.masks.shape[1:], 2)
        return HeldOut(
            np.array(logits) if logits else np.zeros(shape, np.float32),
            self.masks[frames],
            self.lesion[frames],
        )

    def curve(self, seed=0):
        """Mean Dice of the lesion frames by the number of supports: list of (supports, Dice), the normal
        frames always among them."""
        rng, lesions = np.random.default_rng(seed), np.flatnonzero(self.lesion)
        pools = [self.others(frame) for frame in lesions]
        most = min((int((self.lesion & pool).sum()) for pool in pools), default=0)
        points = []
        for count in sorted({*(k for k in CURVE if k < most), most} - {0}):
            logits = []
            for frame, pool in zip(lesions, pools):
                others = rng.permutation(np.flatnonzero(self.lesion & pool))[:count]
                normals = np.flatnonzero(~self.lesion & pool)
                logits.append(self.answer(frame, np.concatenate([others, normals])))
            points.append(
                (
                    count,
                    float(HeldOut(np.array(logits), self.masks[lesions], self.lesion[lesions]).dice.mean()),
                )
            )
        return points
