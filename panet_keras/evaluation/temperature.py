"""Temperature scaling: one number that makes probabilities mean what they say."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from scipy import optimize, special

from panet_keras.layers.prototypes import IGNORE

RANGE = (0.05, 20.0)


def fit_temperature(answers: Iterable[tuple[Any, Any]], pixels: int = 4096, seed: int = 0) -> float:
    """The temperature for `PANet(temperature=...)`: the one of the least cross-entropy (Guo et al., ICML
    2017, arXiv 1706.04599).

    Args:
        answers: iterable of (logits [..., N+1] of a model whose temperature is 1, labels [...] or [..., 1]: 0
            = background, 1..N, 255 = ignore), such as `((model(inputs), labels) for inputs, labels in
            episodes)`, of patients that the model was not trained on.
        pixels: so many of each answer, drawn at random, are looked at.
        seed: of the draw.

    Returns:
        float from 0.05 to 20; above 1 where the model is surer than right.

    Raises:
        ValueError: no labelled pixel.
    """
    rng = np.random.default_rng(seed)
    drawn = []
    for logits, labels in answers:
        labels = np.asarray(labels).ravel().astype(int)
        logits = np.asarray(logits).reshape(labels.size, -1)
        chosen = np.flatnonzero(labels != IGNORE)
        chosen = rng.choice(chosen, min(pixels, chosen.size), replace=False)
        # Of a pixel's logits, what each is above the true one's.
        drawn.append(logits[chosen] - logits[chosen, labels[chosen]][:, None])
    margins = np.concatenate(drawn) if drawn else np.zeros((0, 2))
    if not len(margins):
        raise ValueError(
            "fit_temperature got no labelled pixel; expected at least one answer with labels other than 255."
        )

    def cross_entropy(log_temperature: float) -> float:
        return special.logsumexp(margins / math.exp(log_temperature), -1).mean()

    return math.exp(optimize.minimize_scalar(cross_entropy, bounds=np.log(RANGE), method="bounded").x)
