"""Which picture next."""

import pathlib

import pytest

from panet_keras.annotate import queue
from panet_keras.annotate.folder import Frame


def frame(name, patient=None, number=None):
    return Frame(f"{name}-{number}", name, pathlib.Path(name), number, patient, 8, 8)


FRAMES = [
    frame("b_2.png", "B"),
    frame("a_10.png", "A"),
    frame("a_9.png", "C"),
    frame("c.dcm", "A", 10),
    frame("c.dcm", "A", 9),
]
DOUBTS = {"a_9.png-None": 0.2, "c.dcm-9": 0.9}


@pytest.mark.parametrize(
    "by, to, expected",
    [
        ("name", None, ["a_9.png", "a_10.png", "b_2.png", "c.dcm9", "c.dcm10"]),
        ("patient", None, ["a_10.png", "c.dcm9", "c.dcm10", "b_2.png", "a_9.png"]),
        ("doubt", None, ["c.dcm9", "a_9.png", "a_10.png", "b_2.png", "c.dcm10"]),
        ("near", frame("b_1.png"), ["b_2.png", "a_10.png", "c.dcm9", "a_9.png", "c.dcm10"]),
        ("near", frame("c.dcm", "A", 8), ["c.dcm9", "c.dcm10", "a_10.png", "b_2.png", "a_9.png"]),
    ],
)
def test_orders(by, to, expected):
    found = queue.order(FRAMES, by, DOUBTS, to)
    assert [f"{one.name}{'' if one.number is None else one.number}" for one in found] == expected


def test_near_work_comes_first_and_the_far_end_is_not_forgotten():
    ranked = [frame(f"{number:03d}") for number in range(100)]
    # All have a proposal of an older support but the last ten.
    proposed = {one.id: "old" for one in ranked[:90]} | {one.id: None for one in ranked[90:]}
    batch = queue.next_batch(ranked, proposed, "new", 40)
    assert batch == ranked[: queue.NEAREST] + ranked[90:98]
    assert queue.next_batch(ranked, {one.id: "new" for one in ranked}, "new", 8) == []
    with pytest.raises(ValueError, match="near"):
        queue.order(ranked, "near")
