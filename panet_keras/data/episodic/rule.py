"""Which images make an episode: a pure function of (seed, pass, step), known before any picture is read."""

import dataclasses
import functools

import numpy as np

from panet_keras.errors import PANetError

TRIES = 1000


@dataclasses.dataclass(frozen=True)
class EpisodeRule:
    """What may be an episode.

    Attributes:
        patients: [R] patient of each image.
        classes: [R, N] bool, whether image r can stand for way n.
        shots, queries: K and Q.
        support_from: `"cross-patient"`: no support image shares a patient with a query; `"same-patient"`: all images of
            an episode are one patient's.
        normal: [R] bool, images without lesion.
        normal_queries: probability, 0 to 1, that a query is one of those.
        balanced: whether each patient, not each image, is as likely: thirty frames of one lesion are not thirty lesions.
        digests: [R] of any kind, equal where pictures are: no support image is ever a query's copy under another name.
    """

    patients: np.ndarray
    classes: np.ndarray
    shots: int
    queries: int
    support_from: str = "cross-patient"
    normal: np.ndarray | None = None
    normal_queries: float = 0.0
    balanced: bool = False
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
        try:
            self.draw(np.random.default_rng(0))
        except PANetError as error:
            raise PANetError(f"{error} Lower `queries` or `shots`, or add patients.") from None

    @functools.cached_property
    def _query_pool(self):
        """Images of some way that leave enough supports for every way."""
        pool = []
        for image in np.flatnonzero(self.classes.any(1)):
            same = self.patients == self.patients[image]
            allowed = (~same if self.support_from == "cross-patient" else same) & ~self._copies(image)
            rest = self.classes[allowed]
            if (rest.sum(0) >= self.shots).all():
                pool.append(image)
        return np.array(pool, np.int64)

    def _copies(self, images):
        """[R] bool: the images themselves, and those whose pixels are the same."""
        images = np.atleast_1d(images)
        if self.digests is None:
            return np.isin(np.arange(len(self.patients)), images)
        return np.isin(self.digests, np.asarray(self.digests)[images])

    def draw(self, rng):
        """Draws one episode.

        Returns:
            supports [N, K] and queries [Q], indices of images, all distinct within their role and between roles.

        Raises:
            PANetError: no episode was found in many tries.
        """
        pool = self._query_pool
        for _ in range(TRIES):
            first = self._choice(rng, pool, 1)[0]
            same = self.patients == self.patients[first]
            allowed = (~same if self.support_from == "cross-patient" else same) & ~self._copies(first)
            supports = []
            for way in range(self.classes.shape[1]):
                candidates = np.flatnonzero(self.classes[:, way] & allowed)
                if len(candidates) < self.shots:
                    break
                chosen = self._choice(rng, candidates, self.shots)
                allowed[chosen] = False
                supports.append(chosen)
            else:
                queries = self._other_queries(rng, first, np.array(supports))
                if queries is not None:
                    return np.array(supports), queries
        raise PANetError(
            f"no episode of {self.classes.shape[1]} way(s), {self.shots} shot(s) and {self.queries} queries was found in {TRIES} tries."
        )

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
        free &= ~self._copies(supports.ravel())
        free[first] = False
        with_lesion = np.flatnonzero(self.classes.any(1) & free)
        if len(with_lesion) < self.queries - 1:
            return None
        queries = np.concatenate([[first], self._choice(rng, with_lesion, self.queries - 1)])
        if self.normal_queries:
            without = rng.permutation(np.flatnonzero(self.normal & free))
            turned = np.flatnonzero(rng.random(self.queries) < self.normal_queries)[: len(without)]
            queries[turned] = without[: len(turned)]
        return queries


def episode_ids(rule, seed, epoch, step, batch_size):
    """Image indices of one batch: supports [B, N, K] and queries [B, Q]; the same for the same four numbers."""
    rng = np.random.default_rng([seed, epoch, step])
    supports, queries = zip(*(rule.draw(rng) for _ in range(batch_size)))
    return np.array(supports), np.array(queries)
