"""From scored pictures to figures with intervals over patients."""

import math

import numpy as np
from scipy import stats

from panet_keras.evaluation.lesions import lesion_figures
from panet_keras.evaluation.scores import expected_calibration_error
from panet_keras.evaluation.summary import bootstrap
from panet_keras.metrics import MISS_DICE
from pipeline.acceptance.limits import PRESET

DRAWS = 1000


def figures(rows, patients, threshold, preset):
    """Figures of one number of supports at one presence threshold.

    Args:
        rows: of `pipeline.acceptance.scoring.score`. patients: [F] of each picture.
        threshold: `"preset"` or `"fitted"`. preset: the model's own presence threshold.

    Returns:
        Dictionary: dice, missed, marked_normals, lesions_found, false_marks, ece, each with mean, low, high
        (95 %, over patients; NaN where there is nothing to count); n, patients and lesions (pictures with a
        lesion, their patients, and lesions), normals (frames without), threshold (mean), counts [3, 10] of
        calibration.
    """
    patients = np.asarray(patients)
    rows = [at_threshold(row, threshold, preset) for row in rows]
    ill, well = ([row for row in rows if row["lesion"] == kind] for kind in (True, False))
    marks = lesion_figures([{"repeat": 0, **row} for row in ill], well)
    queries = {row["query"] for row in ill}
    return {
        "dice": _measure(ill, "dice", patients),
        "missed": _measure(ill, "missed", patients, share=True),
        "marked_normals": _measure(well, "marked", patients, share=True),
        "lesions_found": _measure(ill, "found_share", patients, share=True),
        "false_marks": _measure(rows, "false_count", patients),
        "ece": _ece(rows, patients),
        "froc": marks.get("froc", {}),
        "n": len(queries),
        "patients": len(set(patients[list(queries)].tolist())) if queries else 0,
        "lesions": sum({row["query"]: len(row["found"]) for row in ill}.values()),
        "normals": len({row["query"] for row in well}),
        "threshold": float(np.mean([row["threshold"] for row in rows])) if rows else math.nan,
        "counts": np.sum([row["counts"] for row in rows], 0).tolist() if rows else None,
    }


def at_threshold(row, threshold, preset):
    """A row with its mask emptied where the presence is below the threshold."""
    limit = preset if threshold == PRESET else row["fitted"]
    kept = row["presence"] >= limit
    found = [score if kept else 0.0 for score in row["found"]]
    dice = (row["dice"] if kept else 0.0) if row["lesion"] else math.nan
    return {
        **row,
        "threshold": limit,
        "dice": dice,
        "missed": float(dice < MISS_DICE) if row["lesion"] else math.nan,
        "marked": float(row["false_any"] and kept),
        "found": found,
        "false": row["false"] if kept else [],
        "found_share": float(np.mean(np.array(found) > 0)) if found else math.nan,
        "false_count": len(row["false"]) * float(kept),
    }


def groups(rows, pictures, threshold, preset):
    """Figures by device and by label, where there are several that have a lesion.

    Args:
        rows, threshold, preset: as for `figures`. pictures: with `devices` and `labels`, [F].

    Returns:
        Dictionary of name, such as `"device: X"`, to `figures`.
    """
    result = {}
    for fact, values in (("device", pictures.devices), ("label", pictures.labels)):
        names = sorted({values[row["query"]] for row in rows} - {""})
        for name in names if len(names) > 1 else ():
            own = [row for row in rows if values[row["query"]] == name]
            result[f"{fact}: {name}"] = figures(own, pictures.patients, threshold, preset)
    return result


def _measure(rows, name, patients, share=False):
    queries = sorted({row["query"] for row in rows})
    values = np.array([np.mean([row[name] for row in rows if row["query"] == query]) for query in queries])
    own = patients[queries] if queries else np.array([])
    values, own = values[~np.isnan(values)], own[~np.isnan(values)]
    if not len(values):
        return {"mean": math.nan, "low": math.nan, "high": math.nan}
    low, high = bootstrap(values, own, draws=DRAWS)
    if share and values.min() == values.max() in (0.0, 1.0):
        low, high = _exact(values[0], len(set(own.tolist())))
    return {"mean": float(values.mean()), "low": float(low), "high": float(high)}


def _exact(share, count):
    """Clopper and Pearson's interval of none or all of so many patients: the bootstrap of equal values has no
    width, and 0 of 12 is no proof of 0."""
    edge = float(stats.beta.ppf(0.975, 1, count))
    return (0.0, edge) if share == 0 else (1 - edge, 1.0)


def _ece(rows, patients):
    if not rows:
        return {"mean": math.nan, "low": math.nan, "high": math.nan}
    names = sorted({patients[row["query"]] for row in rows})
    place = {name: number for number, name in enumerate(names)}
    counts = np.zeros((len(names), *np.shape(rows[0]["counts"])))
    for row in rows:
        counts[place[patients[row["query"]]]] += row["counts"]
    drawn = np.random.default_rng(0).integers(0, len(names), (DRAWS, len(names)))
    errors = [expected_calibration_error(counts[draw].sum(0)) for draw in drawn]
    low, high = np.percentile(errors, [2.5, 97.5])
    return {"mean": expected_calibration_error(counts.sum(0)), "low": float(low), "high": float(high)}


def worst(rows, pictures, threshold, preset, count=10):
    """The pictures that went worst: seven lesions of the lowest Dice and three normal frames with the largest
    mark, or more of one kind where there are fewer of the other.

    Returns:
        List of (query index, figure in words).
    """
    rows = [at_threshold(row, threshold, preset) for row in rows]
    by_query = {}
    for row in rows:
        by_query.setdefault(row["query"], []).append(row)
    ill = sorted(
        (float(np.mean([row["dice"] for row in own])), query)
        for query, own in by_query.items()
        if own[0]["lesion"]
    )
    well = sorted(
        (-float(np.mean([row["false_area"] * row["marked"] for row in own])), query)
        for query, own in by_query.items()
        if not own[0]["lesion"] and any(row["marked"] for row in own)
    )
    lesions = max(count - min(len(well), 3), 0)
    lesions = min(lesions, len(ill))
    chosen = [(query, f"Dice {dice:.2f}") for dice, query in ill[:lesions]]
    return chosen + [
        (query, f"no lesion, {-area:.1%} of the frame marked") for area, query in well[: count - lesions]
    ]
