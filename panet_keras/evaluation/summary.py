"""Means over images and patients, with intervals by bootstrap over patients."""

import math

import numpy as np
from scipy import stats

from panet_keras.evaluation.scores import expected_calibration_error
from panet_keras.metrics import MISS_DICE

SCORES = ("dice", "iou", "hd95", "nsd", "sensitivity", "precision", "inside", "outside")
PRESENCE_THRESHOLDS = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98)
"""For which `summarise_normal` says what they do."""


def defined_mean(values):
    """Mean of the values [I] that are not NaN; NaN where none is left."""
    values = np.asarray(values, float)
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else math.nan


def miss_rate(dice):
    """Share of missed lesions (`MISS_DICE`) among those that have a Dice [I]; NaN where none has."""
    dice = np.asarray(dice, float)
    return defined_mean(np.where(np.isnan(dice), np.nan, dice < MISS_DICE))


def per_image(rows, name):
    """Mean over repeats of each query: (query indices, values). NaN repeats are left out."""
    found = {}
    for row in rows:
        found.setdefault(row["query"], []).append(row[name])
    queries = sorted(found)
    return np.array(queries), np.array([defined_mean(found[query]) for query in queries])


def bootstrap(values, patients, seed=0, draws=2000):
    """95 % percentile interval of the mean over images, patients being drawn with replacement.

    Images of a patient are alike; drawing images would give an interval that is too narrow.

    Args:
        values: [I] one value for each image; NaN is left out.
        patients: [I] patient of each image.
        seed: integer. draws: number of bootstrap samples.

    Returns:
        (low, high); NaN without values.
    """
    values, patients = np.asarray(values, float), np.asarray(patients)
    keep = ~np.isnan(values)
    values, patients = values[keep], patients[keep]
    if not len(values):
        return math.nan, math.nan
    names = np.unique(patients)
    sums = np.array([values[patients == name].sum() for name in names])
    counts = np.array([(patients == name).sum() for name in names])
    drawn = np.random.default_rng(seed).integers(0, len(names), (draws, len(names)))
    means = sums[drawn].sum(1) / counts[drawn].sum(1)
    return tuple(float(x) for x in np.percentile(means, [2.5, 97.5]))


def paired_difference(first, second, patients, seed=0):
    """Mean of first - second over the images both have, with its bootstrap interval over patients.

    Args:
        first, second: [I] values of the same images. patients: [I].

    Returns:
        Dictionary: mean, low, high, n.
    """
    difference = np.asarray(first, float) - np.asarray(second, float)
    low, high = bootstrap(difference, patients, seed)
    return {
        "mean": defined_mean(difference),
        "low": low,
        "high": high,
        "n": int((~np.isnan(difference)).sum()),
    }


def summarise(rows, patients, counts=None, seed=0):
    """Table entries of one protocol.

    Args:
        rows: from `run_protocol`, of images with a lesion.
        patients: [R] patient of each test image.
        counts: calibration counts.
        seed: of the bootstrap.

    Returns:
        Dictionary of score name to mean, low, high; with n (images), patients, over_patients (mean of the
        patients' mean Dice), median (Dice), miss_rate, undefined (images without a Dice) and ece.
    """
    patients = np.asarray(patients)
    result = {}
    for name in SCORES:
        queries, values = per_image(rows, name)
        low, high = bootstrap(values, patients[queries], seed)
        result[name] = {"mean": defined_mean(values), "low": low, "high": high}
    queries, values = per_image(rows, "dice")
    own = patients[queries]
    defined = values[~np.isnan(values)]
    by_patient = {str(name): defined_mean(values[own == name]) for name in np.unique(own)}
    result |= {
        "n": len(queries),
        "episodes": len(rows),
        "patients": len(by_patient),
        "over_patients": defined_mean(list(by_patient.values())),
        "by_patient": by_patient,
        "median": float(np.median(defined)) if len(defined) else math.nan,
        "miss_rate": miss_rate(values),
        "undefined": int(np.isnan(values).sum()),
    }
    if counts is not None:
        result["ece"] = expected_calibration_error(counts)
    return result


def strata(rows, records, area):
    """Mean Dice by label, lesion-size tercile, Doppler, marks and combined frames; and by source and device
    where there are several.

    Args:
        rows: from `run_protocol`. records: test records. area: [R] lesion share of each test image.

    Returns:
        Dictionary of stratum to {"dice", "n"}.
    """
    queries, values = per_image(rows, "dice")
    area = np.asarray(area)[queries]
    edges = np.quantile(area, [1 / 3, 2 / 3])
    tercile = np.digitize(area, edges)
    groups = {f"size: {name}": tercile == i for i, name in enumerate(("small", "medium", "large"))}
    for label in sorted({records[q].label for q in queries}):
        groups[f"label: {label}"] = np.array([records[q].label == label for q in queries])
    for flag in ("doppler", "marks", "combined"):
        for value, word in ((True, "yes"), (False, "no")):
            groups[f"{flag}: {word}"] = np.array([getattr(records[q], flag) == value for q in queries])
    # Hospital and device, which not every reader knows.
    for fact in ("source", "device"):
        told = [str(getattr(records[q], fact, "") or "not told") for q in queries]
        for value in sorted(set(told)) if len(set(told)) > 1 else ():
            groups[f"{fact}: {value}"] = np.array([one == value for one in told])
    return {
        name: {"dice": defined_mean(values[inside]), "n": int(inside.sum())}
        for name, inside in groups.items()
        if inside.any()
    }


def presence_threshold(lesion_rows, cost=0.01):
    """The highest presence threshold that costs little.

    Args:
        lesion_rows: from `run_protocol`, of images with a lesion, whose presence and Dice are used.
        cost: by how much the mean Dice may fall when every mask of a lower presence is emptied.

    Returns:
        float in [0, 1], for `FewShotSegmenter`. Choose it on patients that are neither trained nor scored on.
    """
    presence = np.array([row["presence"] for row in lesion_rows])
    lost = np.nan_to_num(np.array([row["dice"] for row in lesion_rows], float)) / max(1, len(lesion_rows))
    order = presence.argsort(kind="stable")
    # Rows below the threshold lose their Dice: the first row that would cost too much sets it.
    affordable = np.cumsum(lost[order]) <= cost
    first = int(affordable.argmin()) if not affordable.all() else len(order) - 1
    return float(presence[order[first]]) if len(order) else 0.0


def summarise_normal(rows, lesion_rows):
    """What happens on frames without lesion.

    The empty-mask rule: an image without lesion scores 1 if nothing is marked and 0 otherwise.

    Args:
        rows: from `run_protocol` with `surface=False`, of normal images. lesion_rows: those of lesion images.

    Returns:
        Dictionary: n, false_any (share of images with any falsely marked pixel), false_area (mean share of
            the frame),
        presence_auroc, dice_all (mean Dice over all images, normal ones by the rule above), threshold (of
        presence, that costs the lesion images 0.01 Dice: chosen on these very images, so a little too good),
        false_any_at_threshold, and by_threshold: the same share, and the Dice that the lesion images lose, at
            fixed presence thresholds.
    """
    if not rows:
        return {"n": 0}
    _, any_false = per_image(rows, "false_any")
    _, area = per_image(rows, "false_area")
    _, absent = per_image(rows, "presence")
    _, present = per_image(lesion_rows, "presence")
    _, dice = per_image(lesion_rows, "dice")
    statistic = stats.mannwhitneyu(present, absent).statistic
    threshold = presence_threshold(lesion_rows)

    def marked(threshold):
        return float(np.mean([row["false_any"] * (row["presence"] >= threshold) for row in rows]))

    def cost(threshold):
        return float(
            np.mean([np.nan_to_num(row["dice"]) * (row["presence"] < threshold) for row in lesion_rows])
        )

    return {
        "n": len(any_false),
        "threshold": threshold,
        "false_any_at_threshold": marked(threshold),
        "by_threshold": {str(t): {"false_any": marked(t), "cost": cost(t)} for t in PRESENCE_THRESHOLDS},
        "false_any": float(any_false.mean()),
        "false_area": float(area.mean()),
        "presence_auroc": float(statistic / (len(present) * len(absent))),
        "dice_all": float(np.concatenate([dice, 1 - any_false]).mean()),
    }
