"""How good the proposals are: every accepted mask is segmented with others as support."""

import numpy as np

from panet_keras.annotate.answer import presence

CURVE = (1, 2, 5, 10, 20, 50)
"""As `panet_keras.inference.leave_one_out.CURVE`, whose import starts TensorFlow."""


def leave_one_out(model, lesions, normals, go_on=lambda: True, seed=0, curve=True):
    """Leave-one-out Dice over the number of supports, and presences for the threshold.

    The same draw and the same figure as `panet_keras.inference.leave_one_out.SupportFeatures.curve`, with
    features that are there already.

    Args:
        model: segmenter, see `panet_keras.annotate.model`.
        lesions: list of (features, mask uint8 [h, w]) at model size. normals: list of features.
        go_on: function that is asked before each picture; False ends it.
        seed: of the draw of supports. curve: whether few supports are tried as well as all.

    Returns:
        (list of (supports, mean Dice), presences of the lesions that were found, presences of the normal
        frames), the presences with all others as support; or None where it was ended.
    """
    count, rng = len(lesions), np.random.default_rng(seed)
    if count < 2:
        return [], [], []
    empty = [(features, np.zeros_like(lesions[0][1])) for features in normals]
    points, found = [], []
    for supports in sorted({*(k for k in CURVE if curve and k < count - 1), count - 1}):
        dice, found = [], []
        for left_out in range(count):
            if not go_on():
                return None
            others = [other for other in range(count) if other != left_out]
            chosen = [lesions[other] for other in rng.permutation(others)[:supports]]
            features, truth = lesions[left_out]
            probability = model.segment(model.support(chosen + empty), [features])[0]
            dice.append(dice_of(probability > 0.5, truth > 0))
            found.append((dice[-1], presence(probability)))
        points.append((supports, float(np.mean(dice))))
    seen = []
    for number, features in enumerate(normals):
        if not go_on():
            return None
        others = empty[:number] + empty[number + 1 :]
        seen.append(presence(model.segment(model.support(lesions + others), [features])[0]))
    # As FewShotSegmenter.calibrate: a lesion that was marked elsewhere says nothing of the threshold.
    return points, [value for dice, value in found if dice >= 0.1], seen


def dice_of(one, other):
    """Dice of two bool arrays; 1 where both are empty."""
    total = np.count_nonzero(one) + np.count_nonzero(other)
    return 2.0 * np.count_nonzero(one & other) / total if total else 1.0
