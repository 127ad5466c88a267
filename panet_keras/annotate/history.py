"""What persons did to one frame: snapshots with a place in them, so that undo and redo move the place."""

import dataclasses

DONE = ("accepted", "corrected", "normal", "rejected")
DECISIONS = (*DONE, "unseen")


@dataclasses.dataclass(frozen=True, slots=True)
class Snapshot:
    """A frame after a person's change.

    Attributes:
        number: of the change, from 1; names its mask's file.
        state: draft, one of `DONE`, or unseen (the decision was taken back: as if nobody had been there).
        mask: whether a file has its mask; without one the mask is empty (unseen: the proposal's).
        labels: numbers of the labels in the mask.
        by: person, `"file"` for a mask that lay there before, or None.
        what: name of the stroke, or the state.
        at: ISO 8601 time.
        provenance: of an accepted mask, see `Store.decide`.
    """

    number: int
    state: str
    mask: bool
    labels: list
    by: str | None
    what: str
    at: str
    provenance: dict = dataclasses.field(default_factory=dict)


class History:
    """The changes of one frame.

    Attributes:
        snapshots: list of `Snapshot`, oldest first.
        place: how many of them hold: the last of those is what the frame is now.
        changes: number of all changes ever, undo and redo among them; it is the person's part of the version.
        by: who made the last one.
    """

    def __init__(self):
        self.snapshots, self.place, self.changes, self.by = [], 0, 0, None

    @property
    def now(self):
        """The snapshot that holds, or None where nobody has changed the frame (or all is undone)."""
        found = self.snapshots[self.place - 1] if self.place else None
        return None if found is None or found.state == "unseen" else found

    @property
    def undo(self):
        return self.place

    @property
    def redo(self):
        return len(self.snapshots) - self.place

    def apply(self, entry):
        """Follows a journal entry: `do` is `"set"` (with `snapshot`), `"undo"` or `"redo"`."""
        if entry["do"] == "set":
            snapshot = Snapshot(**entry["snapshot"])
            self.snapshots[self.place :] = [snapshot]
            self.place, self.changes, self.by = self.place + 1, snapshot.number, snapshot.by
            return
        self.place += -1 if entry["do"] == "undo" else 1
        self.changes, self.by = entry["number"], entry.get("by")
