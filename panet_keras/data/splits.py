"""Splits by patient: no patient is ever on two sides."""

import numpy as np

from panet_keras.errors import PANetError


def patients(records):
    """Sorted identifiers of the patients of `records`."""
    return sorted({record.patient for record in records})


def split_by_patients(records, test_patients):
    """Splits by a given list of test patients.

    Args:
        records: of `Record`.
        test_patients: identifiers; each must have a record.

    Returns:
        Dictionary of `"train"` and `"test"` to lists of records.

    Raises:
        PANetError: an unknown patient, or a side without patients.
    """
    known, test = set(patients(records)), set(test_patients)
    if test - known:
        raise PANetError(f"test_patients: {sorted(test - known)} have no image; the data set has {sorted(known)}.")
    if not test or test == known:
        raise PANetError(f"test_patients names {len(test)} of {len(known)} patients; both sides need at least one.")
    return {
        "train": [record for record in records if record.patient not in test],
        "test": [record for record in records if record.patient in test],
    }


def hold_out(records, test_share=1 / 3, seed=0):
    """Splits at random, by patient, balanced as `k_folds` is.

    Args:
        records: of `Record`.
        test_share: share of the patients that are tested, between 0 and 1.
        seed: integer.

    Returns:
        As `split_by_patients`.

    Raises:
        PANetError: fewer than two patients, or a share outside (0, 1).
    """
    if not 0 < test_share < 1:
        raise PANetError(f"test_share={test_share!r}; expected a share between 0 and 1.")
    count = len(patients(records))
    folds = k_folds(records, min(count, max(2, round(1 / test_share))), seed)
    return split_by_patients(records, folds[0])


def k_folds(records, k, seed=0):
    """Deals the patients into k folds, balanced by lesion images of each label.

    Args:
        records: of `Record`.
        k: number of folds, from 2 to the number of patients.
        seed: integer; the same seed gives the same folds.

    Returns:
        List of k sorted lists of patient identifiers, disjoint, together all.

    Raises:
        PANetError: k does not fit the number of patients.
    """
    names = patients(records)
    if not 2 <= k <= len(names):
        raise PANetError(f"k={k} folds of {len(names)} patients; expected k from 2 to {len(names)}.")
    labels = ("Benign", "Malignant", "Unknown", "Normal")
    counts = {name: np.zeros(len(labels)) for name in names}
    for record in records:
        counts[record.patient][labels.index(record.label)] += 1
    total = np.maximum(sum(counts.values()), 1)
    order = np.random.default_rng(seed).permutation(len(names))
    # The largest first, each to the fold where the worst label's share grows least; ties fall by the permutation.
    ranked = sorted((names[i] for i in order), key=lambda name: -counts[name][:3].sum())
    folds, loads = [[] for _ in range(k)], np.zeros((k, len(labels)))
    for rank, name in enumerate(ranked):
        left = len(ranked) - rank
        empty = [i for i in range(k) if not folds[i]]
        choices = empty if left <= len(empty) else range(k)
        best = min(choices, key=lambda i: (((loads[i] + counts[name]) / total)[:3].max(), len(folds[i])))
        folds[best].append(name)
        loads[best] += counts[name]
    return [sorted(fold) for fold in folds]
