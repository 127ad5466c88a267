"""The evaluation protocol: per-image scores at original size, patients apart, intervals over patients."""

from panet_keras.evaluation.by_source import by_source
from panet_keras.evaluation.evaluate import evaluate
from panet_keras.evaluation.lesions import find_lesions, froc, lesion_figures
from panet_keras.evaluation.protocol import (
    PROTOCOLS,
    Episode,
    Row,
    TestImages,
    episode_list,
    fixed_episodes,
    own_probability,
    run_protocol,
    some_queries,
)
from panet_keras.evaluation.scores import (
    calibration_counts,
    dice,
    expected_calibration_error,
    iou,
    precision,
    score_mask,
    sensitivity,
    surface_scores,
)
from panet_keras.evaluation.summary import (
    bootstrap,
    paired_difference,
    per_image,
    presence_threshold,
    strata,
    summarise,
    summarise_normal,
)
from panet_keras.evaluation.temperature import fit_temperature

__all__ = [
    "PROTOCOLS",
    "Episode",
    "Row",
    "TestImages",
    "bootstrap",
    "by_source",
    "calibration_counts",
    "dice",
    "episode_list",
    "evaluate",
    "expected_calibration_error",
    "find_lesions",
    "fit_temperature",
    "fixed_episodes",
    "froc",
    "iou",
    "lesion_figures",
    "own_probability",
    "paired_difference",
    "per_image",
    "precision",
    "presence_threshold",
    "run_protocol",
    "score_mask",
    "sensitivity",
    "some_queries",
    "strata",
    "summarise",
    "summarise_normal",
    "surface_scores",
]
