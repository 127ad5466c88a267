import numpy as np
import pytest

from panet_keras.data import Record
from panet_keras.evaluation import by_source
from panet_keras.evaluation.lesions import Marks, find_lesions, froc, lesion_figures


def test_marks_are_matched_with_lesions():
    truth, probability = np.zeros((60, 80), bool), np.zeros((60, 80))
    truth[5:15, 5:15] = truth[30:50, 40:70] = True
    probability[5:15, 8:18] = 0.9  # Dice 0.7 with the first
    probability[38:42, 53:57] = 0.7  # small, and holds the second's centre
    probability[0:4, 60:70] = 0.8  # finds none
    assert find_lesions(truth, probability) == Marks((0.9, 0.7), (0.8,))
    assert find_lesions(truth, probability, 0.75) == Marks((0.9, 0.0), (0.8,))
    assert find_lesions(np.zeros_like(truth), probability) == Marks((), (0.8, 0.9, 0.7))
    assert find_lesions(truth, np.zeros_like(probability)) == Marks((0.0, 0.0), ())


def test_froc_counts_false_marks_an_image():
    images = [Marks((0.9,), ()), Marks((0.6,), (0.8, 0.5)), Marks((), (0.7,)), Marks((0.0,), ())]
    # 4 images; 1 false mark is allowed at 1/4: those above 0.7; 2 at 1/2: above 0.5; all 3 from 1 on. Of 3
    # lesions one has no mark.
    assert froc(images) == {"lesions": 3, 0.25: 1 / 3, 0.5: 2 / 3, 1.0: 2 / 3, 2.0: 2 / 3}
    assert np.isnan(froc([Marks((), ())])[1.0])


def row(query, repeat, dice, found, false):
    return {
        "query": query,
        "repeat": repeat,
        "dice": dice,
        "found": found,
        "false": false,
        "false_any": float(bool(false)),
    }


ROWS = [
    row(0, 0, 0.8, [0.9], []),
    row(0, 1, 0.6, [0.7], [0.5]),
    row(1, 0, 0.0, [0.0], [0.8]),
    row(1, 1, 0.1, [0.0], []),
    row(2, 0, 0.9, [0.9], []),
    row(2, 1, 0.9, [0.6], []),
]
NORMAL = [row(3, 0, float("nan"), [], [0.4]), row(4, 0, float("nan"), [], [])]


def test_figures_weigh_every_image_alike():
    """Two supports for each of 3 lesion images, one for each of 2 normal frames: those count twice, so that
    10 answers are 5 images."""
    figures = lesion_figures(ROWS, NORMAL)
    assert figures["lesions"] == 3 and figures["found"] == 4 / 6 and figures["false_marks"] == 4 / 10
    # At most 2 false marks of 10 answers are above 0.4; with 4 all are allowed.
    assert figures["froc"] == {"0.25": 4 / 6, "0.5": 4 / 6, "1.0": 4 / 6, "2.0": 4 / 6}
    old = [{name: value for name, value in one.items() if name != "found"} for one in ROWS]
    assert lesion_figures(old, NORMAL) == lesion_figures([], NORMAL) == {}


def test_scores_of_each_hospital():
    sources = ["A", "B", "B", "A", ""]
    records = [Record(f"{i}.png", f"P{i}", "Benign", b"", source=source) for i, source in enumerate(sources)]
    found = by_source(ROWS, NORMAL, records)
    # One of normal frames alone is named all the same: nobody must think that it was scored.
    assert found.pop("not told") == {"images": 0, "not_scored": 1}
    assert list(found) == ["A", "B"]
    assert found["A"]["dice"] == {
        "mean": pytest.approx(0.7),
        "low": pytest.approx(0.7),
        "high": pytest.approx(0.7),
    }
    assert (
        found["B"]["dice"]["mean"] == pytest.approx((0.05 + 0.9) / 2)
        and found["B"]["images"] == found["B"]["patients"] == 2
    )
    assert (found["A"]["miss_rate"], found["B"]["miss_rate"]) == (0.0, 0.5)
    assert (found["A"]["normals"], found["A"]["false_any"]) == (1, 1.0)
    assert (found["B"]["normals"], found["B"]["false_any"]) == (0, None)
    assert found["A"]["marks"]["false_marks"] == 3 / 4 and found["B"]["marks"]["found"] == 2 / 4
    assert by_source(ROWS, NORMAL, [Record("x", "P", "Benign", b"")] * 5) == {}
