"""Which images make an episode: a pure function of (seed, pass, step), known before any picture is read."""

import dataclasses
import functools

import numpy as np

from panet_keras.errors import PANetError

TRIES = 1000
REAL_NORMALS = 0.75
"""How often a normal frame that is drawn is a real one, where there are mirrored ones beside."""
OWN_NORMALS = 0.4
"""How often a normal frame of the support is of the query's own patient, where it has one."""


@dataclasses.dataclass(frozen=True)
class EpisodeRule:
    """What may be an episode.

    Attributes:
        patients: [R] patient of each image.
        classes: [R, N] bool, whether image r can stand for way n.
        shots, queries: K and Q.
        normals: M, normal frames of the support.
        support_from: `"cross-patient"`: no support image shares a patient with a query; `"same-patient"`: all
            images of an episode are one patient's.
        normal: [R] bool, images without lesion.
        normal_queries: probability, 0 to 1, that a query is one of those.
        balanced: whether each patient, not each image, is as likely: thirty frames of one lesion are not
            thirty lesions.
        sources: [R] source of each image, or None for one; an episode is of one source.
        source_shares: how often each source is drawn, by name; empty: all as often.
        mirrored: [R] bool, normal frames that were made of lesion images; None for none.
        digests: [R] of any kind, equal where pictures are: no support image is ever a query's copy under
            another name.
    """

    patients: np.ndarray
    classes: np.ndarray
    shots: int
    queries: int
    support_from: str = "cross-patient"
    normal: np.ndarray | None = None
    normal_queries: float = 0.0
    balanced: bool = False
    normals: int = 0
    sources: np.ndarray | None = None
    source_shares: dict = dataclasses.field(default_factory=dict)
    mirrored: np.ndarray | None = None
    digests: np.ndarray | None = None

    def check(self, names):
        """Refuses a rule that has no episode, before anything is trained.

        Args:
            names: name of each way, for the message.

        Raises:
            PANetError: naming the way, what there is, what is needed, and the mend.
        """
        for way, name in enumerate(names):
            have = int(self.classes[:, way].sum())
            # The query is of one way; the others need supports only.
            need = self.shots + 1
            if have < need:
                raise PANetError(
                    f"{name} has {have} images with a lesion; an episode needs {self.shots} shots + 1 query = {need}. Lower "
                    "`shots` or add images."
                )
        if not len(self._query_pool):
            rule = "of other patients" if self.support_from == "cross-patient" else "of the same patient"
            raise PANetError(
                f"no image can be a query: each needs {self.shots} support images of every way ({', '.join(names)}) {rule}. "
                "Lower `shots`, add patients, or choose another `support_from`."
            )
        unknown = sorted(set(self.source_shares) - set(self._known_sources))
        if unknown:
            raise PANetError(f"source_shares names {unknown}; the records are of {self._known_sources}.")
        for source, share in self._shares:
            pool = self._query_pool[self._of(source)[self._query_pool]]
            if share > 0 and not len(pool):
                raise PANetError(
                    f"source {source!r}: no image can be a query with {self.shots} shots. Lower `shots`, add patients, or set its "
                    "share in `source_shares` to 0."
                )
            if share > 0 and self.normals and not (self._of(source) & self.normal).any():
                raise PANetError(
                    f"normals={self.normals}: {f'source {source!r}' if source else 'the data set'} has no frame without lesion. "
                    "Set `normals` to 0, set `mirrored_normals`, or add such frames."
                )
        try:
            self.draw(np.random.default_rng(0))
        except PANetError as error:
            raise PANetError(f"{error} Lower `queries` or `shots`, or add patients.") from None

    @functools.cached_property
    def _known_sources(self):
        return [""] if self.sources is None else sorted(set(self.sources.tolist()))

    @functools.cached_property
    def _shares(self):
        """(source, probability) of each source."""
        shares = {
            source: float(self.source_shares.get(source, 0.0 if self.source_shares else 1.0))
            for source in self._known_sources
        }
        total = sum(shares.values())
        return [(source, share / total) for source, share in shares.items()]

    def _of(self, source):
        """[R] bool, images of a source."""
        return np.ones(len(self.patients), bool) if self.sources is None else self.sources == source

    @functools.cached_property
    def _query_pool(self):
        """Images of some way that leave enough supports for every way."""
        pool = []
        for image in np.flatnonzero(self.classes.any(1)):
            allowed = self._allowed(image)
            if (self.classes[allowed].sum(0) >= self.shots).all():
                pool.append(image)
        return np.array(pool, np.int64)

    def _allowed(self, query):
        """[R] bool, images that may support a query."""
        same = self.patients == self.patients[query]
        allowed = (~same if self.support_from == "cross-patient" else same) & ~self._copies(query)
        return allowed if self.sources is None else allowed & (self.sources == self.sources[query])

    def _copies(self, images):
        """[R] bool: the images themselves, and those whose pixels are the same."""
        images = np.atleast_1d(images)
        if self.digests is None:
            return np.isin(np.arange(len(self.patients)), images)
        return np.isin(self.digests, np.asarray(self.digests)[images])

    def draw(self, rng, shots=None, normals=None):
        """Draws one episode.

        Args:
            rng: numpy Generator. shots, normals: in place of the rule's own.

        Returns:
            supports [N, K + M] (each way's shots, then the normal frames, the same for every way) and queries
            [Q], indices of images, all distinct within their role and between roles but for normal frames,
            which may come twice where there are few.

        Raises:
            PANetError: no episode was found in many tries.
        """
        shots, normals = self.shots if shots is None else shots, self.normals if normals is None else normals
        for _ in range(TRIES):
            first = self._choice(rng, self._source_pool(rng), 1)[0]
            allowed = self._allowed(first)
            supports = []
            for way in range(self.classes.shape[1]):
                candidates = np.flatnonzero(self.classes[:, way] & allowed)
                if len(candidates) < shots:
                    break
                chosen = self._choice(rng, candidates, shots)
                allowed[chosen] = False
                supports.append(chosen)
            else:
                supports = np.array(supports)
                queries = self._other_queries(rng, first, supports)
                if queries is not None:
                    return self._with_normals(rng, supports, queries, normals), queries
        raise PANetError(
            f"no episode of {self.classes.shape[1]} way(s), {shots} shot(s) and {self.queries} queries was found in {TRIES} tries."
        )

    def _source_pool(self, rng):
        """Images that can be a query, of one source."""
        if len(self._shares) == 1:
            return self._query_pool
        names, shares = zip(*self._shares)
        source = names[rng.choice(len(names), p=shares)]
        return self._query_pool[self._of(source)[self._query_pool]]

    def _choice(self, rng, images, count):
        """Draws distinct images."""
        if not self.balanced or not count:
            return rng.choice(images, count, replace=False)
        _, patient, frames = np.unique(self.patients[images], return_inverse=True, return_counts=True)
        share = 1.0 / frames[patient]
        return rng.choice(images, count, replace=False, p=share / share.sum())

    def _other_queries(self, rng, first, supports):
        free = np.isin(self.patients, self.patients[supports.ravel()])
        free = ~free if self.support_from == "cross-patient" else self.patients == self.patients[first]
        if self.sources is not None:
            free &= self.sources == self.sources[first]
        free &= ~self._copies(supports.ravel())
        free[first] = False
        with_lesion = np.flatnonzero(self.classes.any(1) & free)
        if len(with_lesion) < self.queries - 1:
            return None
        queries = np.concatenate([[first], self._choice(rng, with_lesion, self.queries - 1)])
        if self.normal_queries:
            without = self._real_first(rng, rng.permutation(np.flatnonzero(self.normal & free)))
            turned = np.flatnonzero(rng.random(self.queries) < self.normal_queries)[: len(without)]
            queries[turned] = without[: len(turned)]
        return queries

    def _real_first(self, rng, frames):
        """Normal frames in an order that puts real ones before mirrored ones, mostly."""
        if self.mirrored is None or not len(frames) or self.mirrored[frames].all():
            return frames
        made = self.mirrored[frames]
        return np.concatenate(
            [frames[~made], frames[made]] if rng.random() < REAL_NORMALS else [frames[made], frames[~made]]
        )

    def _with_normals(self, rng, supports, queries, count):
        """Supports with normal frames behind each way's shots."""
        if not count:
            return supports
        frames = self.normal & self._of(None if self.sources is None else self.sources[supports[0, 0]])
        apart = frames & ~self._copies(queries)
        frames = apart if apart.any() else frames
        same = np.isin(self.patients, self.patients[queries])
        # A mirrored frame of the query's own patient is the query's own tissue: no user has that.
        own = np.flatnonzero(apart & same & (True if self.mirrored is None else ~self.mirrored))
        other = np.flatnonzero(frames & ~same)
        chosen = []
        for _ in range(count):
            if len(own) and (rng.random() < OWN_NORMALS or not len(other)):
                chosen.append(rng.choice(own))
            else:
                chosen.append(
                    self._real_first(rng, rng.permutation(other if len(other) else np.flatnonzero(frames)))[0]
                )
        return np.concatenate([supports, np.tile(chosen, (len(supports), 1))], 1)


def episode_ids(rule, seed, epoch, step, batch_size, layouts=()):
    """Image indices of one batch: supports [B, N, K + M] and queries [B, Q]; the same for the same numbers.

    Args:
        rule: `EpisodeRule`. seed, epoch, step: integers. batch_size: B. layouts: of `Layout`, one of which is
            drawn for the step; it replaces B, and the rule's K and M.
    """
    rng = np.random.default_rng([seed, epoch, step])
    shots = normals = None
    if layouts:
        shares = np.array([layout.share for layout in layouts])
        layout = layouts[rng.choice(len(layouts), p=shares / shares.sum())]
        batch_size, shots, normals = layout.episodes, layout.shots, layout.normals
    supports, queries = zip(*(rule.draw(rng, shots, normals) for _ in range(batch_size)))
    return np.array(supports), np.array(queries)
