"""The loop: accepted masks support the model, its proposals are made and made again, in the background."""

import collections
import dataclasses
import hashlib
import itertools
import json
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from panet_keras.annotate import masks, mirror, queue
from panet_keras.annotate.answer import answer, enlarge
from panet_keras.annotate.features import Features
from panet_keras.annotate.quality import leave_one_out
from panet_keras.errors import ImageError, PANetError
from panet_keras.pictures.decode import decode_image
from panet_keras.pictures.masks import decode_mask
from panet_keras.pictures.rules.regions import resize_mask

BATCH = 8
"""Frames of one call of the model; between two calls newer masks are taken up."""
DEBOUNCE = 0.5
"""Seconds without a further change after which proposals are made again."""
MOST_LESIONS, MOST_NORMALS = 24, 12
"""Masks that support a proposal: the cost of the decoder grows with their number, the gain hardly."""
THRESHOLD_STEP = 0.05
"""A calibrated threshold that moves by less makes no proposal anew."""


@dataclasses.dataclass(frozen=True)
class Support:
    """What proposals are made with.

    Attributes:
        key: short digest of the model, the masks and the thresholds.
        names: list of {id, name, change} of the masks.
        states: dictionary of label number to what `segment` takes. thresholds: of the presence, by label.
        lesions: dictionary of label number to list of (features, mask [h, w]). normals: list of features.
    """

    key: str
    names: list
    states: dict
    thresholds: dict
    lesions: dict
    normals: list


@dataclasses.dataclass(frozen=True)
class Example:
    """An annotated picture that is none of the folder's (`--support-dir`): of the first label.

    Attributes:
        name: of the picture. image: path. masks: paths, united; none for a normal frame.
    """

    name: str
    image: str
    masks: tuple = ()

    def encode(self, model):
        """(features, mask uint8 [h, w] or None). Raises ImageError, PANetError."""
        picture, mask = self.prepare(model)
        [features] = model.encode([picture])
        return features, mask if self.masks else None

    def prepare(self, model):
        """(what `encode` takes, mask uint8 [h, w], all 0 for a normal frame). Raises ImageError, PANetError."""
        picture = decode_image(self.image)
        if not self.masks:
            return model.prepare(picture), np.zeros(model.size, np.uint8)
        mask = np.logical_or.reduce([decode_mask(path)[0] for path in self.masks])
        if mask.shape != picture.shape[:2] or not mask.any():
            raise PANetError(
                f"{self.masks[0]}: the mask is empty, or of another size than {self.image}; expected one that marks the "
                "lesion at the picture's size."
            )
        return model.prepare(picture), resize_mask(mask, model.size).astype(np.uint8)


class Loop:
    """Makes proposals with what persons have accepted.

    A test drives it by `work()`, which does one piece and says whether there was any; `start()` has a thread do
    the same.

    Args:
        store: `Store` that has taken the frames. folder: `Folder`.
        tell: function that is given each event, a dictionary with `kind` (see `app`), from any thread.
        extra: list of `Example`, pictures elsewhere that support as well.
        disk: bytes that kept features may take in the output folder.

    Attributes:
        curve: whether the measure of quality tries few supports as well as all. extra: as above.
    """

    def __init__(self, store, folder, tell=lambda event: None, extra=(), disk=4 << 30):
        self.store, self.folder, self.tell = store, folder, tell
        self.model, self.model_error, self.wanted, self.quality, self.curve = None, None, False, [], True
        self.extra, self._encoded_extra = list(extra), []
        self._disk, self._features, self._near = disk, None, None
        self._support, self._support_of, self._measured, self._calibrated = None, None, None, {}
        self._asked, self._due, self._stopped = 0, 0.0, False
        self._round, self._line, self._line_of = None, collections.deque(), None
        self._looks = collections.deque()
        self._ahead, self._reader = {}, ThreadPoolExecutor(1, "pictures")
        self._condition, self._model_lock = threading.Condition(), threading.RLock()
        self._thread = None

    # From outside

    def use(self, model):
        """Takes a segmenter (`panet_keras.annotate.model` says of what form)."""
        with self._model_lock:
            name = f"{model.digest}-{model.size[0]}x{model.size[1]}"
            self._features = Features(self.store.output / "features", name, disk=self._disk)
            self._encoded_extra = [(one.name, *one.encode(model)) for one in self.extra]
            self.model = model
            self._support = self._support_of = self._line_of = self._measured = None
            self._calibrated.clear()
            self._ahead.clear()
        # What was proposed before a restart goes on.
        self.wanted = self.wanted or any(key is not None for key in self.store.pending().values())
        self.tell({"kind": "model"})
        self._wake()

    def propose(self, near=None):
        """Has proposals made of all frames that are open, from now on after every change."""
        self.wanted = True
        self.changed(near, wait=0.0)

    def changed(self, near=None, wait=DEBOUNCE):
        """Is told that a frame was accepted, emptied or opened again; `near`: that `Frame`."""
        self._near = near or self._near
        self._due = time.monotonic() + wait
        self._wake()

    def progress(self):
        """Dictionary of done, total and, while proposals are made, proposing: {done, total, seconds_left}."""
        total = sum(frame.error is None for frame in self.store.frames.values())
        return {"done": self.store.count_done(), "total": total, "proposing": self._proposing()}

    def support_size(self):
        """Dictionary of lesions and normals, of all masks that may support."""
        found = self.store.supports()
        lesions = sum(bool(item[-1]) for item in found) + sum(bool(one.masks) for one in self.extra)
        return {"lesions": lesions, "normals": len(found) + len(self.extra) - lesions}

    def probability(self, frame, label=None):
        """float32 [H, W], of a label, or the highest of all; None without support."""
        with self._model_lock:
            support = self._current()
            if support is None or (label and label not in support.states):
                return None
            self.folder.picture(frame)
            features = list(self._encoded([frame]).values())
            states = support.states.values() if label is None else [support.states[label]]
            small = np.max([self.model.segment(state, features)[0] for state in states], 0)
        return enlarge(small, (frame.height, frame.width))

    def grad_cam(self, frame, label=1):
        """float32 [H, W] from 0 to 1, or None where the support or the model gives none."""
        lesions = [frame for frame, _, labels in self.store.supports() if label in labels]
        if not lesions:
            return None
        pictures = [self.folder.picture(one) for one in lesions[-8:]]
        masks = [self.store.mask(one) == label for one in lesions[-8:]]
        with self._model_lock:
            return self.model.grad_cam(pictures, masks, self.folder.picture(frame))

    def start(self, load=None, again=None):
        """Starts the thread.

        Args:
            load: function that gives the segmenter, called in the thread: it may take half a minute.
            again: seconds after which a segmenter that failed is asked for anew: a served one may be gone and come
                back, as another version. None: it is not.
        """
        self._thread = threading.Thread(target=self._run, args=(load, again), name="proposals", daemon=True)
        self._thread.start()

    def stop(self):
        """Ends the thread after its present piece."""
        self._stopped = True
        self._wake()
        if self._thread:
            self._thread.join(30)
        self._reader.shutdown(wait=False, cancel_futures=True)

    # In the thread

    def _wake(self):
        with self._condition:
            self._asked += 1
            self._condition.notify_all()

    def _load(self, load):
        """Whether a segmenter could be loaded."""
        try:
            model = load()
            self.model_error = None
            self.use(model)
        except Exception as error:
            self.model_error = str(error) or type(error).__name__
            self.tell({"kind": "model"})
        return self.model_error is None

    def _run(self, load, again):
        missing = load is not None
        while not self._stopped:
            if missing:
                missing = not self._load(load) and again is not None
                if missing:
                    self._wait(self._asked, again)
                    continue
            asked, left = self._asked, self._due - time.monotonic()
            try:
                busy = left <= 0 and self.work()
            except Exception as error:
                # The page goes on without proposals, and the next change tries again.
                if not isinstance(error, PANetError):
                    traceback.print_exc()
                self.tell(
                    {
                        "kind": "error",
                        "error": f"no proposals: {error}",
                        "mend": "draw on; "
                        + ("accept a mask to try again" if again is None else "it is tried again"),
                    }
                )
                busy, missing = False, again is not None
            if not busy:
                self._wait(asked, again if missing else left if left > 0 else None)

    def _wait(self, asked, seconds):
        """Until something is asked for that was not when `asked` was counted, at most so long."""
        with self._condition:
            self._condition.wait_for(lambda: self._stopped or self._asked != asked, seconds)

    def work(self):
        """Does the next piece: a batch of proposals, the measure of quality, or a second look at some
        proposals; False where there is none."""
        with self._model_lock:
            if self.model is None or not self.wanted:
                return False
            support = self._current()
            if support is None:
                return False
            batch = self._next_batch(support)
            if batch:
                self._begin_or_go_on(support, len(batch))
                self._propose(batch, support)
                return True
            self._end_round()
            if self._measured != support.names:
                self._measure(support)
                return True
            return self._look_again(support)

    def _next_batch(self, support):
        """The next frames; thousands are put in line once for each change, not for each batch."""
        made_for = self._asked, support.key
        if self._line_of != made_for:
            pending, near = self.store.pending(), self._near
            frames = [self.store.frames[identifier] for identifier in pending]
            ranked = queue.order(frames, "near", to=near) if near else queue.order(frames, "name")
            self._line = collections.deque(queue.next_batch(ranked, pending, support.key, len(ranked)))
            self._line_of = made_for
            self._looks = collections.deque(ranked)
            self._ahead.clear()
        return self._taken(self._line, self.store.open_for_proposals)

    def _taken(self, line, wanted):
        """The first frames of a line that are (still) wanted, taken out of it."""
        batch = []
        while line and len(batch) < BATCH:
            frame = line.popleft()
            if wanted(frame):
                batch.append(frame)
        return batch

    def _look_again(self, support):
        """Completes the doubts of a batch of proposals, when there is nothing else to do; False without any.

        A served model is left in peace: others wait for it.
        """

        def wanted(frame):
            proposal = self.store.proposal(frame)
            return (
                self.store.open_for_proposals(frame)
                and proposal is not None
                and proposal.support == support.key
                and proposal.mirrored is None
            )

        batch = self._taken(self._looks, wanted) if self.model.where == "here" else ()
        if not batch:
            return False
        encoded = self._encoded(batch, mirrored=True)
        batch = [frame for frame in batch if frame.id in encoded]
        if not batch:
            return True
        numbers = [self.store.proposal(frame).number for frame in batch]
        proposed = [masks.decode(self.store.proposal_png(frame)) for frame in batch]
        features = list(encoded.values())
        found = mirror.disagreement(self.model, support.states, support.thresholds, features, proposed)
        for frame, number, share in zip(batch, numbers, found):
            if self.store.looked_again(frame, number, share):
                self.tell({"kind": "proposed", "frame": frame})
        return True

    def _read_ahead(self):
        """Has the next batch's pictures decoded and brought to model size while the model has this one's."""
        for frame in itertools.islice(self._line, BATCH):
            if frame.id not in self._ahead and not self._features.has(_key(frame)):
                try:
                    self._ahead[frame.id] = self._reader.submit(self._prepared, frame)
                except RuntimeError:  # stopped meanwhile
                    return

    def _prepared(self, frame, mirrored=False):
        """What the model's `encode` takes of a frame; None where it cannot be read, which is said."""
        try:
            picture = self.folder.picture(frame, keep=False)
            return self.model.prepare(np.ascontiguousarray(picture[:, ::-1]) if mirrored else picture)
        except ImageError:
            self.store.lost(frame)
            self.tell({"kind": "state", "frame": frame, "by": None})
            return None

    def _current(self):
        """`Support` of what is accepted now, or None without a lesion."""
        chosen = choose(self.store.supports())
        names = [{"id": frame.id, "name": frame.name, "change": change} for frame, change, _ in chosen]
        names += [{"id": None, "name": name, "change": 0} for name, *_ in self._encoded_extra]
        thresholds = {
            number: self._calibrated.get(number, self.model.presence_threshold)
            for number in range(1, len(self.store.labels) + 1)
        }
        told = json.dumps([self.model.digest, names, sorted(thresholds.items())])
        if told == self._support_of:
            return self._support
        features = self._encoded([frame for frame, *_ in chosen])
        lesions, normals = {}, []
        for frame, _, labels in chosen:
            encoded = features.get(frame.id)
            if encoded is None:
                continue
            if not labels:
                normals.append(encoded)
                continue
            mask = self.store.mask(frame)
            for label in labels:
                small = resize_mask(mask == label, self.model.size).astype(np.uint8)
                lesions.setdefault(label, []).append((encoded, small))
        for _, encoded, small in self._encoded_extra:
            if small is None:
                normals.append(encoded)
            else:
                lesions.setdefault(1, []).append((encoded, small))
        empty = [(encoded, np.zeros(self.model.size, np.uint8)) for encoded in normals]
        states = {label: self.model.support(pairs + empty) for label, pairs in sorted(lesions.items())}
        key = hashlib.sha256(told.encode()).hexdigest()[:12]
        found = Support(key, names, states, thresholds, lesions, normals) if lesions else None
        self._support, self._support_of = found, told
        return found

    def _encoded(self, frames, mirrored=False):
        """Dictionary of identifier to features, each computed once; frames that cannot be read are said, and
        missing."""
        found = {frame.id: self._features.get(_key(frame, mirrored)) for frame in frames}
        missing = [frame for frame in frames if found[frame.id] is None]
        for start in range(0, len(missing), BATCH):
            part, pictures = [], []
            for frame in missing[start : start + BATCH]:
                ahead = None if mirrored else self._ahead.pop(frame.id, None)
                picture = self._prepared(frame, mirrored) if ahead is None else ahead.result()
                if picture is not None:
                    pictures.append(picture)
                    part.append(frame)
            for frame, features in zip(part, self.model.encode(pictures) if pictures else ()):
                self._features.put(_key(frame, mirrored), features)
                found[frame.id] = features
        return {identifier: features for identifier, features in found.items() if features is not None}

    def _propose(self, batch, support):
        self._read_ahead()
        encoded = self._encoded(batch)
        self._round["done"] += len(batch)
        batch = [frame for frame in batch if frame.id in encoded]
        if not batch:
            return
        features = list(encoded.values())
        found = {label: self.model.segment(state, features) for label, state in support.states.items()}
        model = {"name": self.model.name, "version": self.model.version, "digest": self.model.digest}
        for number, frame in enumerate(batch):
            small = {label: probabilities[number] for label, probabilities in found.items()}
            mask, presence, doubt = answer(small, support.thresholds, (frame.height, frame.width))
            made = self.store.propose(frame, mask, presence, doubt, model, support.names, support.key)
            if made:
                self._round["changes"].append(1.0 if made.changed is None else made.changed)
                self.tell({"kind": "proposed", "frame": frame})
        self.tell({"kind": "progress"})

    def _begin_or_go_on(self, support, count):
        """A round is all that is proposed with one support; `count` frames of it are begun."""
        begins = self._round is None or self._round["key"] != support.key
        if begins:
            self._round = {"key": support.key, "done": 0, "began": time.monotonic(), "changes": []}
            self._round["left"] = len(self._line) + count
            self.tell({"kind": "progress"})
        self._round["left"] = len(self._line)

    def _end_round(self):
        if self._round is None:
            return
        changes, self._round = [change for change in self._round["changes"] if change], None
        self.tell({"kind": "progress"})
        mean = round(float(np.mean(changes)), 4) if changes else 0.0
        self.tell({"kind": "changed", "frames": len(changes), "mean": mean})

    def _proposing(self):
        current = self._round
        if current is None:
            return None
        done = current["done"]
        left = current["left"]
        seconds = (time.monotonic() - current["began"]) / done * left if done else None
        return {
            "done": done,
            "total": done + left,
            "seconds_left": None if seconds is None else round(seconds, 1),
        }

    def _measure(self, support):
        """Leave-one-out Dice of the accepted masks (of the label with most), and each label's threshold."""
        if self.model.tuned:
            # It has seen these masks: what it is good for was measured while it learnt, on masks left out.
            self.quality = [[self.model.tuned.masks, self.model.tuned.after]]
            self.tell({"kind": "quality"})
            self._measured = support.names
            return
        asked, thresholds = self._asked, {}
        most = max(support.lesions, key=lambda label: len(support.lesions[label]))
        for label in sorted(support.lesions, key=lambda label: label != most):
            lesions = support.lesions[label]
            found = leave_one_out(
                self.model,
                lesions,
                support.normals,
                lambda: self._asked == asked,
                curve=self.curve and label == most,
            )
            if found is None:
                return
            if label == most:
                self.quality = [[count, round(dice, 4)] for count, dice in found[0]]
                self.tell({"kind": "quality"})
            if len(lesions) > 1:
                thresholds[label] = self.model.fit_threshold(found[1], found[2])
        self._measured = support.names
        for label, threshold in thresholds.items():
            if abs(threshold - support.thresholds[label]) >= THRESHOLD_STEP:
                self._calibrated[label] = threshold


def _key(frame, mirrored=False):
    """Names what is kept of a frame's features."""
    return f"{frame.id}-{frame.stamp}{'-mirrored' if mirrored else ''}"


def choose(found, lesions=MOST_LESIONS, normals=MOST_NORMALS):
    """The masks that support, of all that may: the newest half of the number, the rest spread evenly over the
    older ones.

    Args:
        found: list of (`Frame`, change, labels), oldest first. lesions, normals: most of each.
    """

    def spread(items, most):
        if len(items) <= most:
            return items
        newest = most - most // 2
        older, last = items[:-newest], items[-newest:]
        places = np.linspace(0, len(older) - 1, most // 2).round().astype(int)
        return [older[place] for place in places] + last

    return spread([item for item in found if item[2]], lesions) + spread(
        [item for item in found if not item[2]], normals
    )
