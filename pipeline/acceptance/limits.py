"""What a team demands of a model, written down before it looks; and whether figures keep to it."""

import dataclasses
import math

from pipeline.errors import PipelineError
from pipeline.settings import build, read_file

FITTED, PRESET = "fitted", "preset"


def _limit(default, **rules):
    return dataclasses.field(default=default, metadata=rules)


@dataclasses.dataclass(frozen=True)
class Limits:
    """Limits of an acceptance, as a YAML file has them. `null` takes a limit away; one whose figure cannot be
    told (no frame without lesion, say) is not kept.

    Attributes:
        supports: number of annotated pictures at which the model is judged.
        threshold: presence threshold at which it is judged: `fitted` on the supports
            (`FewShotSegmenter.calibrate`), or the model's own, `preset`.
        bound: what must keep to a limit: the `mean`, or the worse `end` of its 95 % interval.
        min_patients: patients with a lesion that were scored.
        min_dice: mean Dice of lesion pictures. max_missed: share of them with a Dice below 0.1.
        max_marked_normals: share of frames without lesion with any pixel marked.
        min_lesions_found, max_false_marks: see `panet_keras.evaluation.lesions`; false marks an image.
        max_ece: expected calibration error of the pixels' probabilities.
        min_group_dice: mean Dice of each device and label with at least `group_size` lesion pictures.
        max_drift: of any fact of the pictures against the training statistics (`pipeline drift`); without
            training statistics it is not kept.
    """

    supports: int = _limit(5, range="[1, inf)")
    threshold: str = _limit(FITTED, choices=(FITTED, PRESET))
    bound: str = _limit("mean", choices=("mean", "end"))
    min_patients: int | None = _limit(20, range="[1, inf)")
    min_dice: float | None = _limit(0.6, range="[0, 1]")
    max_missed: float | None = _limit(0.15, range="[0, 1]")
    max_marked_normals: float | None = _limit(0.3, range="[0, 1]")
    min_lesions_found: float | None = _limit(0.8, range="[0, 1]")
    max_false_marks: float | None = _limit(0.5, range="[0, inf)")
    max_ece: float | None = _limit(0.05, range="[0, 1]")
    min_group_dice: float | None = _limit(0.5, range="[0, 1]")
    group_size: int = _limit(10, range="[1, inf)")
    max_drift: float | None = _limit(None, range="[0, 1]")


@dataclasses.dataclass(frozen=True)
class Judgement:
    """One limit, and what came: `kept` is False also where `value` is None, which could not be told."""

    what: str
    value: float | None
    limit: str
    kept: bool


def read_limits(path=None):
    """`Limits` of a YAML file; the defaults without one.

    Raises:
        ConfigError: no such file, no YAML, an unknown key (the nearest known one is offered), or a value of
            another type or out of its range; names the line.
    """
    return build(Limits, read_file(path, Limits) if path is not None else [])


def judge(limits, figures, groups, drift):
    """Compares figures with limits.

    Args:
        limits: `Limits`. figures: of `pipeline.acceptance.summary.figures` at the judged number of supports,
            or None where that could not be scored. groups: dictionary of name to figures. drift: largest
            divergence, or None.

    Returns:
        List of `Judgement`, one for each limit that is not null.
    """
    if figures is None:
        return [Judgement(f"figures at {limits.supports} annotated pictures", None, "to be scored", False)]
    judged = [_least("patients with a lesion", figures["patients"], limits.min_patients)]
    for name, limit, least in (
        ("dice", limits.min_dice, True),
        ("missed", limits.max_missed, False),
        ("marked_normals", limits.max_marked_normals, False),
        ("lesions_found", limits.min_lesions_found, True),
        ("false_marks", limits.max_false_marks, False),
        ("ece", limits.max_ece, False),
    ):
        judged.append((_least if least else _most)(TITLES[name], _bound(figures[name], limits, least), limit))
    for name, group in groups.items():
        if group["n"] >= limits.group_size:
            value = _bound(group["dice"], limits, True)
            judged.append(_least(f"Dice of {name}", value, limits.min_group_dice))
    judged.append(_most("drift of the pictures", drift, limits.max_drift))
    return [one for one in judged if one]


TITLES = {
    "dice": "Dice",
    "missed": "lesions missed",
    "marked_normals": "normal frames marked",
    "lesions_found": "lesions found",
    "false_marks": "false marks an image",
    "ece": "calibration error (ECE)",
}


def reasons(judged):
    """A line for each `Judgement`."""
    lines = []
    for one in judged:
        value = "cannot be told" if one.value is None else f"{one.value:.4g}"
        lines.append(f"{'kept' if one.kept else 'NOT kept'}: {one.what} {value}, limit {one.limit}")
    return lines


def _bound(score, limits, least):
    end = "low" if least else "high"
    value = score["mean"] if limits.bound == "mean" else score[end]
    return None if math.isnan(value) else value


def _least(what, value, limit):
    if limit is None:
        return None
    return Judgement(what, value, f"at least {limit:g}", value is not None and value >= limit)


def _most(what, value, limit):
    if limit is None:
        return None
    return Judgement(what, value, f"at most {limit:g}", value is not None and value <= limit)


def check_supports(limits, shots):
    """Refuses limits for a number of supports that is not scored.

    Raises:
        PipelineError: names what is scored.
    """
    if limits.supports not in shots:
        raise PipelineError(
            f"limits: supports is {limits.supports}, and {list(shots)} are scored; expected one of these. Change the limits or --shots."
        )
