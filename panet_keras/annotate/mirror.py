"""A second look at a proposal: does the model say the same of the mirrored picture?"""

import numpy as np

from panet_keras.annotate.answer import answer


def disagreement(model, states, thresholds, features, masks):
    """How far each proposal differs from what the model says of the picture's mirror image.

    It tells more of a proposal than its own probabilities do, and more than two halves of the support
    against each other: docs/decisions/annotation.md.

    Args:
        model: segmenter, see `panet_keras.annotate.model`.
        states: dictionary of label number to what the model's `segment` takes.
        thresholds: of the presence, by label.
        features: list of the mirrored pictures' features. masks: list of uint8 [H, W], the proposals.

    Returns:
        List of floats: one minus the Dice of both masks, 0 where both are empty.
    """
    found = {label: model.segment(state, features)[..., ::-1] for label, state in states.items()}
    shares = []
    for number, mask in enumerate(masks):
        small = {label: probabilities[number] for label, probabilities in found.items()}
        other, *_ = answer(small, thresholds, mask.shape)
        total = np.count_nonzero(mask) + np.count_nonzero(other)
        alike = np.count_nonzero((mask == other) & (mask > 0))
        shares.append(1 - 2 * alike / total if total else 0.0)
    return shares
