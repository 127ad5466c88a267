"""Learning: the model itself is tuned to the masks that persons have accepted, while they go on.

Support alone brings little more with twenty masks than with one on a scanner that the model has never seen;
tuning does (docs/decisions/hospitals.md). It takes minutes, so a person asks for it.
"""

import pathlib
import threading
import traceback

import numpy as np

from panet_keras.annotate.loop import choose
from panet_keras.errors import ImageError, PANetError
from panet_keras.pictures.rules.regions import resize_mask

FEWEST = 8
"""Lesions: fewer decide nothing, half of them being left out in turn."""
MOST_LESIONS, MOST_NORMALS = 50, 25
"""Masks that are learnt from: the time to judge grows with their number."""


class Learner:
    """Tunes the loop's model, once at a time.

    Args:
        loop: `Loop`, whose `tell` gets {kind: "learning", learning: {done, total}|null} and, at the end,
            {kind: "learned", masks, before, after}: Dice on masks left out, `after` null where the model stays.

    Attributes:
        now: {done, total} of the steps while it learns, else None.
    """

    def __init__(self, loop):
        self.loop, self.now, self._lock = loop, None, threading.Lock()

    def problem(self):
        """Why nothing can be learnt now, as (status of HTTP, error, mend); None where it can."""
        model = self.loop.model
        if model is None:
            return 503, "the model is not there yet", "wait until it is loaded"
        if model.where != "here":
            return 501, "a served model does not learn", "start the page with --model"
        lesions = self.loop.support_size()["lesions"]
        if lesions < FEWEST:
            return (
                409,
                f"{lesions} accepted lesions are too few to learn from",
                f"accept {FEWEST} or more; 20 are better",
            )
        return (409, "it is learning already", "wait until it is done") if self.now else None

    def begin(self):
        """Learns in a thread of its own."""
        with self._lock:
            if self.now:
                return
            self.now = {"done": 0, "total": 0}
        threading.Thread(target=self._run, name="learning", daemon=True).start()

    def _run(self):
        try:
            self.learn()
        except Exception as error:
            traceback.print_exc()
            self.loop.tell(
                {
                    "kind": "error",
                    "error": f"nothing was learnt: {error}",
                    "mend": "go on; the model stays as it was",
                }
            )
        finally:
            self.now = None
            self.loop.tell({"kind": "learning", "learning": None})

    def learn(self):
        """Tunes the model as it came on the masks of now, and has the loop go on with the result."""
        base = self.loop.model.base
        images, masks = self._annotated(base)
        model = base.tune(images, masks, self._note)
        lesions = int(masks.any((1, 2)).sum())
        if model.tuned:
            place = kept(self.loop.store.output)
            model.save(place)
            # As a restart finds it: weights are kept in half precision.
            self.loop.use(base.saved(place))
        found = model.tuned
        self.loop.tell(
            {
                "kind": "learned",
                "masks": lesions,
                "before": found and found.before,
                "after": found and found.after,
            }
        )

    def _annotated(self, model):
        """float32 [F, h, w, 3] and uint8 [F, h, w] of the masks that are learnt from; labels count as one."""
        store, folder = self.loop.store, self.loop.folder
        pairs = []
        for frame, _, labels in choose(store.supports(), MOST_LESIONS, MOST_NORMALS):
            try:
                picture = model.prepare(folder.picture(frame, keep=False))
            except ImageError:
                continue
            mask = resize_mask(store.mask(frame) > 0, model.size) if labels else np.zeros(model.size, bool)
            pairs.append((picture, mask))
        pairs += [one.prepare(model) for one in self.loop.extra]
        if sum(bool(mask.any()) for _, mask in pairs) < FEWEST:
            raise PANetError("too few of the accepted lesions can be read; look at their files")
        return np.stack([picture for picture, _ in pairs]), np.stack([mask for _, mask in pairs]).astype(
            np.uint8
        )

    def _note(self, done, total):
        self.now = {"done": done, "total": total}
        self.loop.tell({"kind": "learning", "learning": self.now})


def kept(output):
    """Where a tuned model is kept, so that a restart goes on with it; a preset, which every command takes."""
    return pathlib.Path(output) / "model"
