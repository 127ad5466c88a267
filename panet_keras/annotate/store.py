"""Masks on disk, with their history, their proposals and where they come from."""

import collections
import contextlib
import dataclasses
import json
import pathlib
import secrets
import threading
import time

import numpy as np

from panet_keras.annotate import masks
from panet_keras.annotate.history import DECISIONS, DONE, History, Snapshot
from panet_keras.annotate.journal import Journal, Lock, write_durable
from panet_keras.errors import PANetError
from panet_keras.files import write_whole

SEEN_BYTES = 32 << 20
"""Of proposals that were shown or replaced, in memory: a person accepts the one that was seen, not the one
that came meanwhile."""
SAME = 0.1
"""Share of a proposal's pixels that may change before it is looked at again."""
LONGEST_LABEL = 80
COLOURS = ("#00c878", "#f0503c", "#508cff", "#fabe28", "#c864ff", "#28d2e6", "#ff8c28", "#b4dc3c")


class Conflict(Exception):
    """A change that was made to something that somebody has changed since, or that is not there.

    Attributes:
        mend: what to do.
    """

    def __init__(self, message, mend):
        super().__init__(message)
        self.mend = mend


@dataclasses.dataclass(frozen=True, slots=True)
class Proposal:
    """What the model says of a frame; of thousands, so its mask and what it was made with stay on the disk
    (`Store.proposal_png`, `made_with`).

    Attributes:
        number: counts the frame's proposals.
        labels: numbers in its mask.
        presence: from 0 to 1, the highest of all labels.
        doubt: from 0 to 1, how near the presence is to its threshold, or what the probabilities expect of
            the mask (`answer`); the mean of that and `mirrored` where this is known.
        mirrored: share by which the answer to the mirrored picture differs; None before anybody has looked.
        changed: share of the pixels of this and the last proposal together in which they differ; None for the
            first.
        support: short name of model and supports together.
    """

    number: int
    labels: tuple
    presence: float
    doubt: float
    mirrored: float | None
    changed: float | None
    support: str


class Store:
    """The output folder.

        OUTPUT/settings.json        labels, and the secrets of this folder (readable by its owner alone)
        OUTPUT/journal.jsonl        every change, one line each, only ever appended
        OUTPUT/history/ID/N.png     the mask after change N of a frame
        OUTPUT/proposals/ID.png     the last proposal, with what it was made of as text in it
        OUTPUT/masks/STEM_mask.png  accepted, corrected and (empty) normal masks as they are now, at original
                                    size: 0 background, else the label's number
        OUTPUT/masks/STEM_mask.json state, labels, and where the mask comes from

    All methods may be called from any thread. A change is on the disk when its method returns. Masks and
    journal lines are written in this order, so a kill between two leaves what was before or what came after.

    Args:
        output: folder, made if absent.
        labels: names; those that the folder has already stay, with their numbers. Without any there is Lesion.

    Raises:
        PANetError: another server has the folder, or it holds something else; or a label of no use.
    """

    def __init__(self, output, labels=()):
        for name in labels:
            if not 0 < len(name.strip()) <= LONGEST_LABEL:
                raise PANetError(f"--labels {name!r}; expected names of 1 to {LONGEST_LABEL} characters.")
        self.output = pathlib.Path(output)
        if self.output.exists() and not self.output.is_dir():
            raise PANetError(f"--output {output} is a file; expected a folder, or the name of a new one.")
        ours = self.output / "settings.json"
        if self.output.exists() and any(self.output.iterdir()) and not ours.exists():
            raise PANetError(
                f"--output {output}: there is something else in it; expected a new folder, or one that this page made. "
                "Name another."
            )
        for name in ("history", "proposals", "masks"):
            (self.output / name).mkdir(parents=True, exist_ok=True)
        self._lock_file = Lock(self.output / ".lock")
        self.lock = threading.RLock()
        self._settings = json.loads(ours.read_text("utf-8")) if ours.exists() else {}
        known = dict.fromkeys([*self._settings.get("labels", []), *(name.strip() for name in labels)])
        self._settings = {
            **self._settings,
            "labels": list(known) or ["Lesion"],
            "token": self._settings.get("token") or secrets.token_urlsafe(24),
            "salt": self._settings.get("salt") or secrets.token_urlsafe(16),
        }
        self._save_settings()
        self.frames, self._files, self._names = {}, {}, {}
        self._histories = collections.defaultdict(History)
        self._proposals, self._seen_pngs, self._shared = {}, Recent(SEEN_BYTES), {}
        # Of thousands of frames these are asked for with every batch, and change with one frame each.
        self._open, self._supports, self._sorted, self._done = {}, {}, None, set()
        self._journal = Journal(self.output / "journal.jsonl", self._apply)

    def _save_settings(self):
        path = self.output / "settings.json"
        path.touch(mode=0o600)
        write_durable(path, json.dumps(self._settings, indent=1) + "\n")
        path.chmod(0o600)

    @property
    def token(self):
        """Text that a page must know to be answered."""
        return self._settings["token"]

    @property
    def salt(self):
        """Text that makes the patients' pseudonyms of this folder."""
        return self._settings["salt"]

    @property
    def labels(self):
        """Names, in the order of their numbers from 1."""
        return list(self._settings["labels"])

    def add_label(self, name):
        """Adds a label.

        Raises:
            Conflict: an empty or long name, or the 256th.
        """
        name = name.strip()
        with self.lock:
            if not 0 < len(name) <= LONGEST_LABEL or len(self.labels) >= 255:
                mend = f"give it 1 to {LONGEST_LABEL} characters; there may be 255 labels"
                raise Conflict(f"label {name[:LONGEST_LABEL]!r}", mend)
            if name not in self._settings["labels"]:
                self._settings["labels"].append(name)
                self._save_settings()

    def opens(self, path):
        """Notes which folder the masks are of; the path of last time where it was another, else None."""
        path, last = str(pathlib.Path(path).resolve()), self._settings.get("folder")
        if path == last:
            return None
        self._settings["folder"] = path
        self._save_settings()
        return last

    def take(self, frames):
        """Takes the frames of a folder: their proposals are read, and what a kill left undone in `masks/` is
        done. A frame that is of another size than its mask, as the file was replaced, cannot be used.

        Args:
            frames: dictionary of identifier to `Frame`.

        Returns:
            Names of pictures that persons have worked on and that are not among them.
        """
        with self.lock:
            self.frames = frames
            self._proposals, self._open, self._supports, self._done = {}, {}, {}, set()
            stems = _stems(frames.values())
            kept = {path.name for path in (self.output / "proposals").iterdir()}
            published = {path for path in (self.output / "masks").rglob("*")}
            for frame, stem in zip(frames.values(), stems):
                path = self._files[frame.id] = self.output / "masks" / f"{stem}_mask.png"
                frame.error = frame.error or self.misfit(frame)
                if frame.error is None and f"{frame.id}.png" in kept:
                    self._read_proposal(frame)
                # Of most frames in a new folder there is nothing to look for.
                if frame.error is None and (frame.id in self._histories or path in published):
                    self._publish(frame)
                self._count(frame)
            absent = self._histories.keys() - frames.keys()
            return sorted({self._names[one] for one in absent if self._histories[one].now})

    def misfit(self, frame):
        """Why a frame's mask is none of its present picture's; None where it is."""
        now = self._histories[frame.id].now if frame.id in self._histories else None
        if now is None or not now.mask:
            return None
        try:
            height, width = masks.size_of(self.snapshot_png(frame, now))
        except (OSError, masks.MaskError) as error:
            return f"{frame.name}: its mask cannot be read ({error}). Restore {self._history_file(frame, now.number)}."
        if (height, width) == (frame.height, frame.width):
            return None
        return (
            f"{frame.name}: {frame.width} x {frame.height} pixels, and its mask was drawn on {width} x {height}: another picture "
            "took its name. Put the old one back, or give this one a name of its own, and open the page again."
        )

    def _read_proposal(self, frame):
        path = self._proposal_file(frame)
        try:
            about = json.loads(masks.notes(path.read_bytes())["panet"])
            self._proposals[frame.id] = _proposal(about)
        except (OSError, ValueError, KeyError, TypeError, SyntaxError):
            path.unlink()  # it is made again

    def _proposal_file(self, frame):
        return self.output / "proposals" / f"{frame.id}.png"

    def _apply(self, entry):
        history = self._histories[entry["frame"]]
        provenance = entry.get("snapshot", {}).get("provenance", {})
        if "supports" in provenance:
            # Thousands of masks have the same few dozen supports.
            keys = [(one["id"], one["name"], one["change"]) for one in provenance["supports"]]
            pairs = zip(keys, provenance["supports"])
            provenance["supports"] = [self._shared.setdefault(key, one) for key, one in pairs]
        history.apply(entry)
        self._names[entry["frame"]] = entry["name"]
        frame = self.frames.get(entry["frame"])
        if frame is not None:
            self._count(frame)

    def _count(self, frame):
        """Brings what is counted over all frames to what holds of one."""
        now, proposal = self._histories[frame.id].now, self._proposals.get(frame.id)
        if frame.error is not None or now is not None:
            self._open.pop(frame.id, None)
        else:
            self._open[frame.id] = proposal.support if proposal else None
        (self._done.add if now and now.state in DONE else self._done.discard)(frame.id)
        self._sorted = None
        if now and now.state in ("accepted", "corrected", "normal"):
            self._supports[frame.id] = now.at, frame, now.number, tuple(now.labels)
        else:
            self._supports.pop(frame.id, None)

    def lost(self, frame):
        """Is told that a frame turned out to be unreadable (`frame.error`)."""
        with self.lock:
            self._count(frame)

    def found(self, frame):
        """Is told that a frame that could not be read can be."""
        with self.lock:
            frame.error = self.misfit(frame)
            if frame.error is None and frame.id in self._histories:
                self._publish(frame)
            self._count(frame)

    # Reading

    def state(self, frame):
        """State of a frame, as the page names them."""
        if frame.error is not None:
            return "unreadable"
        with self.lock:
            now = self._histories[frame.id].now
            return now.state if now else "proposed" if frame.id in self._proposals else "unseen"

    def done(self, frame):
        return self.state(frame) in DONE

    def count_done(self):
        """How many frames that can be read are done."""
        with self.lock:
            return sum(self.frames[identifier].error is None for identifier in self._done)

    def open_for_proposals(self, frame):
        """Whether a frame gets proposals: nobody has drawn in it or decided on it."""
        return self.state(frame) in ("unseen", "proposed")

    def proposal(self, frame):
        """The last `Proposal`, or None."""
        return self._proposals.get(frame.id)

    def proposal_png(self, frame):
        """PNG bytes of the last proposal's mask; None without one."""
        with self.lock:
            found = self.proposal(frame)
            return self._png(frame, found.number) if found else None

    def made_with(self, frame):
        """(model: dictionary of name, version, digest; supports: list of {id, name, change}) of the last
        proposal."""
        return _made_with(self.proposal_png(frame))

    def _png(self, frame, number):
        """PNG bytes of a proposal that was made last, or seen lately; None where it is gone."""
        kept = self._seen_pngs.get((frame.id, number))
        proposal = self.proposal(frame)
        if kept is None and proposal and proposal.number == number:
            with contextlib.suppress(FileNotFoundError):
                kept = self._proposal_file(frame).read_bytes()
        if kept is not None:
            self._seen_pngs.put((frame.id, number), kept)
        return kept

    def history(self, frame):
        return self._histories[frame.id]

    def version(self, frame):
        """Opaque text that changes with the frame's mask, state or proposal."""
        with self.lock:
            proposal = self.proposal(frame)
            return f"{self._histories[frame.id].changes}.{proposal.number if proposal else 0}"

    def mask_png(self, frame, version=None):
        """(PNG bytes, its version) of a frame's mask: a person's, else the proposal's, else an empty one.

        Args:
            version: which one of the proposals, where it is still known; else the newest.
        """
        with self.lock:
            now, changes = self._histories[frame.id].now, self._histories[frame.id].changes
            if now is not None:
                return self.snapshot_png(frame, now), self.version(frame)
            for number in (
                _number(version),
                self._proposals[frame.id].number if self.proposal(frame) else None,
            ):
                png = self._png(frame, number) if number else None
                if png is not None:
                    return png, f"{changes}.{number}"
            return masks.encode(np.zeros((frame.height, frame.width), np.uint8)), self.version(frame)

    def mask(self, frame):
        """uint8 [H, W] of `mask_png`."""
        return masks.decode(self.mask_png(frame)[0])

    def snapshot_png(self, frame, snapshot):
        """PNG bytes of the mask of a `Snapshot`."""
        if not snapshot.mask:
            return masks.encode(np.zeros((frame.height, frame.width), np.uint8))
        return self._history_file(frame, snapshot.number).read_bytes()

    def _history_file(self, frame, number):
        return self.output / "history" / frame.id / f"{number:06d}.png"

    def labels_in(self, frame):
        """Numbers of the labels in a frame's mask."""
        with self.lock:
            now, proposal = self._histories[frame.id].now, self.proposal(frame)
            return list(now.labels) if now else list(proposal.labels) if proposal else []

    # Changing

    def _check(self, frame, version):
        history = self._histories[frame.id]
        if frame.error is not None:
            raise Conflict(f"{frame.name} cannot be read", "nothing can be drawn on it")
        if str(version).partition(".")[0] != str(history.changes):
            who = f"{history.by} has" if history.by else "another window has"
            raise Conflict(f"{who} changed {frame.name} since", "look at the newer mask, then draw again")

    def stroke(self, frame, content, version, what="stroke", by=None):
        """Keeps a mask after a stroke.

        Args:
            frame: `Frame`. content: PNG bytes of the whole mask. version: the one that was drawn on.
            what: name of the stroke. by: person or None.

        Raises:
            Conflict: a person changed the frame since that version. masks.MaskError: no mask of this frame.
        """
        mask = masks.decode(content, (frame.height, frame.width), len(self.labels))
        with self.lock:
            self._check(frame, version)
            self._propose_again(frame, _number(version))
            snapshot = self._next(frame, "draft", True, masks.numbers(mask), by, what)
            self._set(frame, snapshot, content)

    def _propose_again(self, frame, number):
        """Makes the proposal that was drawn on the last one again, where a newer one came meanwhile: it is what was
        corrected."""
        last, png = self.proposal(frame), number and self._png(frame, number)
        if self._histories[frame.id].now is not None or not png or number == last.number:
            return
        about = json.loads(masks.notes(png)["panet"]) | {"number": last.number + 1}
        self._keep_proposal(frame, masks.decode(png), about)

    def _keep_proposal(self, frame, mask, about):
        # Not brought to the disk by force: after a power cut it is made again.
        write_whole(self._proposal_file(frame), masks.encode(mask, {"panet": json.dumps(about)}))
        self._proposals[frame.id] = _proposal(about)
        self._count(frame)

    def decide(self, frame, state, version, by=None):
        """Sets a frame's state.

        Args:
            frame: `Frame`. state: one of `DECISIONS`; of accepted and corrected the one that is true is taken.
            version: the one that was seen. by: person or None.

        Raises:
            Conflict: a person changed the frame since; accepting an empty mask; or the proposal of that version
                is gone.
        """
        if state not in DECISIONS:
            raise Conflict(f"state {state!r}", f"expected one of {', '.join(DECISIONS)}")
        with self.lock:
            self._check(frame, version)
            if state not in ("accepted", "corrected"):
                self._set(frame, self._next(frame, state, False, [], by, state))
                return
            history, proposed = self._histories[frame.id], self.proposal_png(frame)
            if history.now is None and proposed:
                number = _number(version)
                proposed = self._png(frame, number) if number else None
                if proposed is None:
                    raise Conflict(
                        f"the proposal of {frame.name} is a newer one", "look at it, then accept it"
                    )
            png = self.snapshot_png(frame, history.now) if history.now else proposed
            mask = masks.decode(png) if png else np.zeros((1, 1), np.uint8)
            if not mask.any():
                raise Conflict(
                    f"the mask of {frame.name} is empty",
                    "draw the lesion, or say that there is none (normal)",
                )
            before = masks.decode(proposed) if proposed else np.zeros_like(mask)
            changed = int(np.count_nonzero(mask != before))
            provenance = {"changed_pixels": changed}
            if proposed:
                told = json.loads(masks.notes(proposed)["panet"])
                provenance |= {key: told[key] for key in ("model", "supports", "presence")}
            state = "corrected" if changed else "accepted"
            self._set(frame, self._next(frame, state, True, masks.numbers(mask), by, state, provenance), png)

    def bring(self, found):
        """Takes masks that were there before, of frames that nobody has changed here.

        Args:
            found: iterable of (`Frame`, uint8 [H, W]); empty means normal.

        Returns:
            The number taken.
        """
        entries, frames = [], []
        with self.lock:
            for frame, mask in found:
                if self._histories[frame.id].changes:
                    continue
                marked = bool(mask.any())
                state, what = ("accepted", "file") if marked else ("normal", "file")
                snapshot = self._next(frame, state, marked, masks.numbers(mask), "file", what)
                if marked:
                    self._write_history(frame, snapshot, masks.encode(mask))
                entries.append(self._entry(frame, "set", snapshot=dataclasses.asdict(snapshot)))
                frames.append(frame)
            if entries:
                self._journal.append(*entries)
            for frame, entry in zip(frames, entries):
                self._apply(entry)
                self._publish(frame)
        return len(frames)

    def undo(self, frame, version, by=None):
        """Takes back the last change of a frame; `Conflict` where there is none."""
        self._move(frame, "undo", version, by)

    def redo(self, frame, version, by=None):
        """Does again what was taken back; `Conflict` where there is nothing."""
        self._move(frame, "redo", version, by)

    def _move(self, frame, direction, version, by):
        with self.lock:
            self._check(frame, version)
            history = self._histories[frame.id]
            if not getattr(history, direction):
                raise Conflict(f"nothing to {direction} in {frame.name}", "go on drawing")
            entry = self._entry(frame, direction, number=history.changes + 1, by=by)
            self._journal.append(entry)
            self._apply(entry)
            self._publish(frame)

    def _next(self, frame, state, mask, labels, by, what, provenance=None):
        number = self._histories[frame.id].changes + 1
        return Snapshot(number, state, mask, labels, by, what, _time(), provenance or {})

    def _entry(self, frame, do, **values):
        return {"frame": frame.id, "name": frame.name, "do": do, "at": _time(), **values}

    def _set(self, frame, snapshot, png=None):
        if snapshot.mask:
            self._write_history(frame, snapshot, png)
        entry = self._entry(frame, "set", snapshot=dataclasses.asdict(snapshot))
        self._journal.append(entry)
        self._apply(entry)
        self._publish(frame)

    def _write_history(self, frame, snapshot, png):
        path = self._history_file(frame, snapshot.number)
        path.parent.mkdir(exist_ok=True)
        write_durable(path, png)

    def _publish(self, frame):
        """Brings `masks/` to what holds."""
        now, path = self._histories[frame.id].now, self._files[frame.id]
        about = path.with_suffix(".json")
        if now is None or now.state not in ("accepted", "corrected", "normal"):
            about.unlink(missing_ok=True)
            path.unlink(missing_ok=True)
            return
        told = {
            "picture": frame.name,
            "frame": frame.number,
            "state": now.state,
            "labels": {number: name for number, name in enumerate(self.labels, 1)},
            "change": now.number,
            "person": now.by,
            "time": now.at,
            **now.provenance,
        }
        text = json.dumps(told, indent=1) + "\n"
        if about.exists() and path.exists() and about.read_text("utf-8") == text:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, self.snapshot_png(frame, now))
        write_whole(about, text)

    # Proposals and supports

    def propose(self, frame, mask, presence, doubt, model, supports, support):
        """Keeps the model's mask of a frame, unless a person was faster.

        Args:
            frame: `Frame`. mask: uint8 [H, W]. model: dictionary of name, version, digest.
            supports: list of {id, name, change} of the masks that it was made with.
            presence, doubt, support: as in `Proposal`.

        Returns:
            The `Proposal`, or None.
        """
        with self.lock:
            if not self.open_for_proposals(frame):
                return None
            last, png = self.proposal(frame), self.proposal_png(frame)
        changed = None if last is None else difference(masks.decode(png), mask)
        # Of nearly the same mask the second look holds.
        mirrored = last.mirrored if last and changed < SAME else None
        about = {
            "number": last.number + 1 if last else 1,
            "labels": masks.numbers(mask),
            "presence": round(float(presence), 4),
            "doubt": _doubt(doubt, mirrored),
            "mirrored": mirrored,
            "changed": changed,
            "model": model,
            "supports": supports,
            "support": support,
        }
        with self.lock:
            if not self.open_for_proposals(frame):
                return None
            self._keep_proposal(frame, mask, about)
            return self._proposals[frame.id]

    def looked_again(self, frame, number, share):
        """Keeps by how much the answer to the mirrored picture differs from a proposal, unless there is a
        newer one or a person was faster.

        Args:
            frame: `Frame`. number: of the proposal. share: from 0 to 1.

        Returns:
            Whether it was kept.
        """
        with self.lock:
            proposal = self.proposal(frame)
            if not self.open_for_proposals(frame) or proposal is None or proposal.number != number:
                return False
            path = self._proposal_file(frame)
            content = path.read_bytes()
            about = json.loads(masks.notes(content)["panet"])
            about |= {"doubt": _doubt(about["doubt"], share), "mirrored": round(float(share), 4)}
            self._keep_proposal(frame, masks.decode(content), about)
            return True

    def pending(self):
        """Dictionary of the identifiers of frames that get proposals to the support of their last one, or None
        without any."""
        with self.lock:
            return dict(self._open)

    def supports(self):
        """The masks that the model learns from: list of (`Frame`, change that made it, label numbers), oldest
        first; without labels it is a normal frame."""
        with self.lock:
            if self._sorted is None:
                found = sorted(self._supports.values(), key=lambda item: (item[0], item[1].id))
                self._sorted = [tuple(item) for _, *item in found]
            return [item for item in self._sorted if item[0].error is None]

    def close(self):
        self._journal.close()
        self._lock_file.release()


class Recent:
    """Bytes by key, the last used up to a number of bytes in all."""

    def __init__(self, most):
        self._kept, self._bytes, self._most = collections.OrderedDict(), 0, most

    def get(self, key):
        return self._kept.get(key)

    def put(self, key, content):
        """Keeps bytes; a key that is kept already becomes the last used."""
        if key not in self._kept:
            self._bytes += len(content)
        self._kept[key] = content
        self._kept.move_to_end(key)
        while self._bytes > self._most:
            self._bytes -= len(self._kept.popitem(last=False)[1])


def _stems(frames):
    """Names of the masks of frames, none twice: x.png and x.jpg are two pictures, and keep their endings."""
    whole = [frame.name if frame.number is None else f"{frame.name}_f{frame.number}" for frame in frames]
    chosen = [frame.stem for frame in frames]
    while True:
        counts = collections.Counter(stem.casefold() for stem in chosen)
        longer = [full if counts[stem.casefold()] > 1 else stem for stem, full in zip(chosen, whole)]
        if longer == chosen:
            return chosen
        chosen = longer


def _proposal(about):
    return Proposal(
        **{name: about[name] for name in ("number", "presence", "doubt", "changed", "support")},
        labels=tuple(about["labels"]),
        mirrored=about.get("mirrored"),
    )


def _doubt(doubt, mirrored):
    return round(float(doubt if mirrored is None else (doubt + mirrored) / 2), 4)


def _made_with(png):
    about = json.loads(masks.notes(png)["panet"])
    return about["model"], about["supports"]


def _number(version):
    """The proposal's part of a version; None where it names none."""
    number = str(version or "").partition(".")[2]
    return int(number) if number.isdecimal() and int(number) else None


def difference(one, other):
    """Share of the pixels of two masks together in which they differ, from 0 to 1; 0 where both are empty."""
    together = np.count_nonzero((one > 0) | (other > 0))
    return round(float(np.count_nonzero(one != other) / together), 4) if together else 0.0


def _time():
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + f".{time.time_ns() // 1_000_000 % 1000:03d}Z"
