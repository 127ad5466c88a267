"""Who supports whom: the patients are dealt into two halves, and each half's lesions are the supports of the
other's pictures, so that every picture is scored and no patient is on both sides."""

import dataclasses

import numpy as np

NORMALS = 5
"""Frames without lesion that a support set has at most beside its lesions; as many as lesions, where there
are."""


@dataclasses.dataclass(frozen=True)
class SupportSet:
    """Annotated pictures, and the pictures that are scored with them; all as indices.

    Attributes:
        shots: number of lesions. number: of the set among those of as many shots.
        lesions, normals: supports with and without a lesion. queries: of other patients.
    """

    shots: int
    number: int
    lesions: tuple
    normals: tuple
    queries: tuple

    @property
    def frames(self):
        return [*self.lesions, *self.normals]

    @property
    def name(self):
        return f"{self.shots:03d}-{self.number}"


def draw(patients, lesion, digests, shots=(1, 5, 10, 20), repeats=2, seed=0, queries=None):
    """Support sets.

    Args:
        patients: [F] patient of each picture. lesion: [F] bool. digests: [F] equal where pictures are: a copy
            under another name is not scored with its original as support.
        shots: numbers of lesions in a support set. repeats: how often the patients are dealt anew.
        seed: integer; the sets depend on nothing else. queries: indices that are asked for; None: all.

    Returns:
        List of `SupportSet`, two for each number of shots and repeat; and a list of what could not be drawn,
        with the reason.
    """
    patients, lesion, digests = np.asarray(patients), np.asarray(lesion, bool), np.asarray(digests)
    asked = np.ones(len(patients), bool)
    if queries is not None:
        asked = np.isin(np.arange(len(patients)), queries)
    sets, skipped = [], []
    for count in shots:
        for repeat in range(repeats):
            rng = np.random.default_rng([seed, count, repeat])
            half = _halves(patients, lesion, rng)
            least = min(int((lesion & (half == side)).sum()) for side in (0, 1))
            if least < count:
                skipped.append(
                    f"{count} annotated pictures: one half of the patients has {least} with a lesion. More patients are needed."
                )
                break
            for side in (0, 1):
                own = half == side
                lesions = _spread(np.flatnonzero(own & lesion), patients, count, rng)
                normals = _spread(np.flatnonzero(own & ~lesion), patients, min(count, NORMALS), rng)
                copies = np.isin(digests, digests[[*lesions, *normals]])
                scored = np.flatnonzero(~own & asked & ~copies)
                sets.append(SupportSet(count, 2 * repeat + side, lesions, normals, tuple(map(int, scored))))
    return sets, skipped


def fixed(patients, digests, lesions, normals):
    """The one support set of annotated frames that are not among the pictures, but behind them.

    Args:
        patients: [F] patient of each picture. digests: [F + L + N], those of the supports last.
        lesions, normals: L and N, numbers of supports.

    Returns:
        `SupportSet`. Patients of whom a support is a copy are not scored.
    """
    patients, digests = np.asarray(patients), np.asarray(digests)
    count = len(patients)
    known = patients[np.isin(digests[:count], digests[count:])]
    queries = np.flatnonzero(~np.isin(patients, known))
    frames = range(count, count + lesions + normals)
    return SupportSet(lesions, 0, tuple(frames[:lesions]), tuple(frames[lesions:]), tuple(map(int, queries)))


def _halves(patients, lesion, rng):
    """0 or 1 for each picture, by patient: halves with as many lesions, and as many frames without."""
    half = np.zeros(len(patients), int)
    counts = np.zeros((2, 2), int)
    # Patients with a lesion first, so that both halves have supports.
    names = sorted(rng.permutation(np.unique(patients)), key=lambda name: not lesion[patients == name].any())
    for name in names:
        own = patients == name
        kind = 0 if lesion[own].any() else 1
        side = int(counts[kind, 1] < counts[kind, 0])
        half[own] = side
        counts[kind, side] += int(lesion[own].sum()) if kind == 0 else int(own.sum())
    return half


def _spread(pool, patients, count, rng):
    """So many of the pool, of as many patients as may be."""
    order = rng.permutation(pool)
    seen, rank = {}, {}
    for index in order:
        rank[index] = seen[patients[index]] = seen.get(patients[index], -1) + 1
    chosen = sorted(order, key=lambda index: rank[index])[:count]
    return tuple(int(index) for index in chosen)
