"""The order of work: which frame next, and which is proposed next."""

import bisect

from panet_keras.annotate.folder import natural

ORDERS = ("doubt", "name", "patient", "near")
NEAREST = 32
"""Frames nearest to what was just marked whose proposals are made again before frames far away get their
first."""


def order(frames, by, doubts=(), to=None):
    """Frames in the order in which a person should look at them.

    Args:
        frames: list of `Frame`.
        by: `"doubt"` (the most doubtful first; frames without a proposal after those), `"name"`,
            `"patient"` (then name), or `"near"` (the patient of `to` first, then how far away in name).
        doubts: dictionary of identifier to doubt in [0, 1].
        to: `Frame` that was just marked; `near` needs it.

    Returns:
        List of `Frame`.

    Raises:
        ValueError: another order, or `near` without `to`.
    """
    named = sorted(frames, key=natural)
    if by == "name":
        return named
    if by == "patient":
        # A frame of unknown patient is a patient of its own, at its place in the names.
        return sorted(named, key=lambda frame: (frame.patient is None, frame.patient or ""))
    if by == "doubt":
        return sorted(named, key=lambda frame: -dict(doubts).get(frame.id, -1))
    if by != "near" or to is None:
        raise ValueError(f"order {by!r} to {to}; expected one of {', '.join(ORDERS)}, and for near a frame.")
    place = bisect.bisect_left([natural(frame) for frame in named], natural(to))
    ranks = {frame.id: number for number, frame in enumerate(named)}

    def far(frame):
        rank = ranks[frame.id]
        other = to.patient is None or frame.patient != to.patient
        return other, rank - place + 1 if rank >= place else place - rank, rank < place

    return sorted(named, key=far)


def next_batch(ranked, proposed, current, count):
    """The frames whose proposals are made next.

    Frames nearest to the work have theirs made again at once; then whatever has none yet; then the rest.
    So a person who corrects without pause sees the newest in front, and the far end is not forgotten.

    Args:
        ranked: list of frames not done, nearest first.
        proposed: dictionary of identifier to the support that its last proposal was made with, None without one.
        current: the support as it is now.
        count: most frames of a batch.

    Returns:
        List of `Frame`, empty where all proposals are of the current support.
    """
    near, first, rest = [], [], []
    for rank, frame in enumerate(ranked):
        if proposed.get(frame.id) != current:
            (near if rank < NEAREST else first if proposed.get(frame.id) is None else rest).append(frame)
    return (near + first + rest)[:count]
