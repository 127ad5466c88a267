"""Splits by patient: no patient is ever on two sides, and no picture that came under two patients."""

import collections
import concurrent.futures
import hashlib
import warnings

import numpy as np

from panet_keras.data.records import digests
from panet_keras.errors import DataWarning, ImageError, PANetError
from panet_keras.pictures.decode import decode_image


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
    records = list(records)  # a generator is empty the second time
    known, test = set(patients(records)), set(test_patients)
    if test - known:
        raise PANetError(
            f"test_patients: {sorted(test - known)} have no image; the data set has {sorted(known)}."
        )
    if not test or test == known:
        raise PANetError(
            f"test_patients names {len(test)} of {len(known)} patients; both sides need at least one."
        )
    return {
        "train": [record for record in records if record.patient not in test],
        "test": [record for record in records if record.patient in test],
    }


def hold_out(records, test_share=1 / 3, seed=0, content=None):
    """Splits at random, by patient, balanced as `k_folds` is; patients that share a picture stay on one side.

    Args:
        records: of `Record`.
        test_share: share of the patients that are tested, between 0 and 1.
        seed: integer.
        content: `content_digest` of each record, in their order, where somebody has them; all pictures are decoded
            here without.

    Returns:
        As `split_by_patients`.

    Raises:
        PANetError: fewer than two patients, or a share outside (0, 1).

    Warns:
        DataWarning: as `k_folds`.
    """
    if not 0 < test_share < 1:
        raise PANetError(f"test_share={test_share!r}; expected a share between 0 and 1.")
    records = list(records)
    names = patients(records)
    if len(names) < 2:
        raise PANetError(
            f"hold_out got {len(names)} patient(s) ({', '.join(names) or 'no records'}); a split by patient needs at least 2. Add patients, "
            "or tell the reader who they are (load_folder's `patient`, the table's column patient)."
        )
    groups, copies = _together(records, content)
    if len(set(groups.values())) < 2:
        raise PANetError(
            f"hold_out: all {len(names)} patients share pictures, so that none can be held out: {_listed(copies)}."
        )
    _tell(copies)
    return split_by_patients(records, _drawn(records, groups, test_share, seed))


def hold_out_each(sources, test_share=1 / 3, seed=0, content=None):
    """Splits the records of several sources (hospitals), each as `hold_out` does, so that all are on both sides.

    Patients of different sources that share a picture stay on one side: the one that was drawn in the first
    of these sources. Where there are no such patients, each source's split is that of `hold_out`.

    Args:
        sources: list of lists of `Record`; no patient is in two of them.
        test_share, seed: as in `hold_out`. content: as there, of all records one source after the other.

    Returns:
        As `split_by_patients`.

    Raises:
        PANetError: as `hold_out`; names the source.

    Warns:
        DataWarning: as `k_folds`.
    """
    sources = [list(records) for records in sources]
    groups, copies = _together([record for records in sources for record in records], content)
    _tell(copies)
    side = {}
    for records in sources:
        own = {name: groups[name] for name in patients(records)}
        free = [record for record in records if own[record.patient] not in side]
        names = {own[record.patient] for record in free}
        fixed = {side[group] for group in own.values() if group in side}
        if not fixed and len(names) < 2:
            share = " that share pictures with all others of it" if len(own) > 1 else ""
            raise PANetError(
                f"source {records[0].source}: hold_out got {len(names)} patient(s) ({', '.join(sorted(names))}){share}; a split by "
                "patient needs at least 2. Add patients, or name test_patients."
            )
        if len(names) > 1:
            test = _drawn(free, {name: own[name] for name in patients(free)}, test_share, seed)
            side |= {own[name]: "test" if name in test else "train" for name in patients(free)}
        else:
            side |= dict.fromkeys(names, "train" if fixed == {"test"} else "test")
    return {
        part: [record for records in sources for record in records if side[groups[record.patient]] == part]
        for part in ("train", "test")
    }


def _drawn(records, groups, test_share, seed):
    """Identifiers of the patients that are tested: of the smaller side one fold, of as many as make the share."""
    count, smaller = len(set(groups.values())), min(test_share, 1 - test_share)
    parts, drawn = round(1 / smaller), 1
    if parts == 2 and smaller < 0.45 and count >= 5:
        parts, drawn = 5, 2  # two fifths are nearer than a half
    side = sum(_folds(records, groups, min(count, parts), seed)[:drawn], [])
    return side if test_share <= 0.5 else set(groups) - set(side)


def k_folds(records, k, seed=0):
    """Deals the patients into k folds, balanced by lesion images of each label; patients that share a picture
    come into one fold.

    Patients without any lesion are balanced by their normal frames, where there are at least k of them.

    Pictures are the same where their decoded pixels are equal, whatever the files' formats.

    Args:
        records: of `Record`.
        k: number of folds, from 2 to the number of patients.
        seed: integer; the same seed gives the same folds.

    Returns:
        List of k sorted lists of patient identifiers, disjoint, together all.

    Raises:
        PANetError: k does not fit the number of patients, or of groups of patients that share pictures.

    Warns:
        DataWarning: patients that share a picture, with its names.
    """
    records = list(records)
    names = patients(records)
    if not 2 <= k <= len(names):
        raise PANetError(f"k={k} folds of {len(names)} patients; expected k from 2 to {len(names)}.")
    groups, copies = _together(records)
    count = len(set(groups.values()))
    if k > count:
        raise PANetError(
            f"k={k} folds of {len(names)} patients, of whom some share pictures ({_listed(copies)}); expected k from 2 to {count}."
        )
    _tell(copies)
    return _folds(records, groups, k, seed)


def _folds(records, groups, k, seed):
    """The folds; a group of patients is dealt as one patient is."""
    names = sorted(set(groups.values()))
    labels = ("Benign", "Malignant", "Unknown", "Normal")
    counts = {name: np.zeros(len(labels)) for name in names}
    for record in records:
        counts[groups[record.patient]][labels.index(record.label)] += 1
    total = np.maximum(sum(counts.values()), 1)
    order = np.random.default_rng(seed).permutation(len(names))
    # The largest first, each to the fold where the worst label's share grows least; ties fall by the
    # permutation.
    ranked = sorted((names[i] for i in order), key=lambda name: -counts[name][:3].sum())
    folds, loads = [[] for _ in range(k)], np.zeros((k, len(labels)))
    # Where the normal frames are other people's than the lesions, these people would all come into one fold.
    # Fewer of them than folds (BUS-UCLM, whose folds are published, has one) are dealt as ever.
    apart = sum(not count[:3].any() for count in counts.values()) >= k
    for rank, name in enumerate(ranked):
        left = len(ranked) - rank
        empty = [i for i in range(k) if not folds[i]]
        choices = empty if left <= len(empty) else range(k)
        part = slice(3, 4) if apart and not counts[name][:3].any() else slice(0, 3)
        best = min(choices, key=lambda i: (((loads[i] + counts[name]) / total)[part].max(), len(folds[i])))
        folds[best].append(name)
        loads[best] += counts[name]
    members = collections.defaultdict(list)
    for patient, group in groups.items():
        members[group].append(patient)
    return [sorted(patient for group in fold for patient in members[group]) for fold in folds]


def _together(records, content=None):
    """Group of each patient, named after its first; and the names of each picture that came under two
    patients. content: as in `hold_out`."""
    groups, copies = {name: name for name in patients(records)}, []
    if len(groups) < 2:
        return groups, copies
    by_digest = collections.defaultdict(list)
    for record, digest in zip(records, _digests(records) if content is None else content, strict=True):
        by_digest[digest].append(record)
    members = {name: [name] for name in groups}
    for same in by_digest.values():
        if len({record.patient for record in same}) > 1:
            copies.append([record.filename for record in same])
            shared = {groups[record.patient] for record in same}
            first = min(shared)
            for group in shared - {first}:
                for name in members[group]:
                    groups[name] = first
                members[first] += members.pop(group)
    return groups, copies


def _digests(records):
    """Yields `content_digest` of each record; the pool is given so many at a time, or ten million would wait in it."""
    with concurrent.futures.ThreadPoolExecutor() as pool:
        for start in range(0, len(records), 1024):
            yield from pool.map(content_digest, records[start : start + 1024])


def content_digest(record):
    """Digest of a record's picture, by which patients who share one are found: of the pixels; of a file that cannot
    be decoded, which its reader will name, of the bytes; of the record itself where there are none."""
    content = record.image
    try:
        return str(digests([decode_image(content)])[0])
    except ImageError:
        pass
    try:
        if not isinstance(content, bytes):
            with open(content, "rb") as file:
                content = file.read()
    except OSError:
        content = b""
    return hashlib.sha256(content or repr(record).encode()).hexdigest()


def _listed(copies):
    return "; ".join(" = ".join(names) for names in copies[:5]) + (" ..." if len(copies) > 5 else "")


def _tell(copies):
    if copies:
        warnings.warn(
            f"{len(copies)} picture(s) came under more than one patient, who stay on one side: {_listed(copies)}. Give them one "
            "identifier, or remove the copies.",
            DataWarning,
            stacklevel=3,
        )
