"""Which annotated images an evaluation took, and a look at few queries."""

import dataclasses

import numpy as np
import pytest

from panet_keras.errors import PANetError
from panet_keras.evaluation import (
    Row,
    TestImages,
    episode_list,
    evaluate,
    fixed_episodes,
    some_queries,
    strata,
)


def test_rows_have_names():
    assert (
        str(Row("cross-patient", 1)) == "cross-patient, 1 shot"
        and str(Row("two-way", 5)) == "two-way, 5 shots"
    )


@pytest.mark.parametrize(
    ("lesions", "normals", "count", "expected"),
    [
        # Two thirds of the queries have a lesion; where one kind is short, the other fills up.
        (90, 90, 60, (40, 20)),
        (10, 90, 60, (10, 50)),
        (90, 5, 60, (55, 5)),
        (4, 3, 60, (4, 3)),
        (90, 0, 60, (60, 0)),
    ],
)
def test_some_queries_are_spread_evenly(lesions, normals, count, expected):
    lesion = np.array([True] * lesions + [False] * normals)
    chosen = some_queries(lesion, count)
    assert chosen == sorted(set(chosen)) and (lesion[chosen].sum(), (~lesion[chosen]).sum()) == expected
    picked = [index for index in chosen if index < lesions]
    gaps = np.diff(picked)
    assert len(gaps) == 0 or gaps.max() - gaps.min() <= 1


def test_every_answer_tells_its_supports(records):
    test = TestImages(records, (32, 32))

    def predict(images, masks, query):
        return np.full((1, 1, 8, 8, 2), 0.5, np.float32)

    options = {"repeats": 2, "seed": 3, "protocols": ("superpixel",), "surface": False}
    rows, table, _, _ = evaluate(predict, test, shots=(1, 2), **options)
    for shots in (1, 2):
        key = str(Row("cross-patient", shots))
        drawn = episode_list(test.patients, test.lesion, shots, 2, 3)
        assert [tuple(row["supports"]) for row in rows[key]] == [episode.supports for episode in drawn]
        distinct = {index for episode in drawn for index in episode.supports}
        facts = {name: table[key][name] for name in ("protocol", "shots", "annotated")}
        assert facts == {"protocol": "cross-patient", "shots": shots, "annotated": len(distinct)}
    # A superpixel's support is the query's own frame: nobody annotated it.
    assert table["superpixel, 1 shot"]["annotated"] == 0

    asked = np.flatnonzero(test.lesion)[:2].tolist()
    few, _, _, _ = evaluate(predict, test, shots=(1,), queries=asked, **options)
    assert {row["query"] for row in few["cross-patient, 1 shot"]} == set(asked) and few[
        "cross-patient, 1 shot, normal"
    ] == []

    # Annotated once, for all: as many as there are, and their patients are not asked for.
    lesions = np.flatnonzero(test.lesion)
    chosen = [int(lesions[0]), int(lesions[-1])]
    fixed, table, _, _ = evaluate(predict, test, supports=chosen, **options)
    assert list(table) == ["cross-patient, 2 shots"] and table["cross-patient, 2 shots"]["annotated"] == 2
    rows = [row for name in fixed for row in fixed[name]]
    own = {test.patients[index] for index in chosen}
    assert all(row["supports"] == chosen and test.patients[row["query"]] not in own for row in rows)
    assert {row["query"] for row in rows} == {
        i for i, patient in enumerate(test.patients) if patient not in own
    }
    # Nor for their pictures under another patient's name.
    copy = rows[-1]["query"]
    test.digests[copy] = test.digests[chosen[0]]
    fixed, *_ = evaluate(predict, test, supports=chosen, **options)
    assert copy not in {row["query"] for name in fixed for row in fixed[name]}
    with pytest.raises(PANetError, match="have no lesion"):
        evaluate(predict, test, supports=[int(np.flatnonzero(~test.lesion)[0])], **options)


def test_a_copy_of_a_fixed_support_is_no_query():
    episodes = fixed_episodes(
        ["A", "B", "C", "C"], [True, True, True, False], [0], digests=["x", "x", "y", "z"]
    )
    assert [(episode.query, episode.supports) for episode in episodes] == [(2, (0,))]
    with pytest.raises(PANetError, match="no query is left"):
        fixed_episodes(["A", "B"], [True, True], [0], digests=["x", "x"])


@dataclasses.dataclass
class Scanned:
    label: str
    source: str
    doppler: bool = False
    marks: bool = False
    combined: bool = False
    device: str = ""


def test_several_sources_are_strata():
    rows = [{"query": query, "dice": dice} for query, dice in enumerate((0.2, 0.4, 0.9))]
    images = [Scanned("Benign", source) for source in ("Hospital Ü", "Hospital Ü", "")]
    found = strata(rows, images, [0.1, 0.2, 0.3])
    assert (
        found["source: Hospital Ü"] == {"dice": pytest.approx(0.3), "n": 2}
        and found["source: not told"]["n"] == 1
    )
    images = [dataclasses.replace(image, device=device) for image, device in zip(images, ("A", "B", "B"))]
    assert strata(rows, images, [0.1, 0.2, 0.3])["device: B"] == {"dice": pytest.approx(0.65), "n": 2}
    assert not any(name.startswith("source") for name in strata(rows[:2], images[:2], [0.1, 0.2]))


def test_what_was_kept_of_another_question_is_asked_anew(records, tmp_path):
    """The same row of the same test set, kept in one folder: of drawn supports, of fixed ones, of other masks."""
    test, calls = TestImages(records, (32, 32)), []

    def predict(images, masks, query):
        calls.append(1)
        return np.full((1, 1, 8, 8, 2), 0.5, np.float32)

    def supports(**options):
        calls.clear()
        rows, *_ = evaluate(
            predict, test, repeats=1, protocols=(), surface=False, work_dir=tmp_path, **options
        )
        return [row["supports"] for row in rows["cross-patient, 2 shots"]]

    drawn = supports(shots=(2,))
    assert calls and supports(shots=(2,)) == drawn and not calls
    chosen = [int(index) for index in np.flatnonzero(test.lesion)[[0, -1]]]
    fixed = supports(supports=chosen)
    assert calls and fixed and all(one == chosen for one in fixed)
    test.truths[0] = ~test.truths[0]
    supports(supports=chosen)
    assert calls


def test_a_row_that_no_frame_has_is_told_and_the_others_stay(records):
    test = TestImages(records, (32, 32))
    test.images = [image // 30 for image in test.images]

    def predict(images, masks, query):
        return np.full((1, 1, 8, 8, 2), 0.5, np.float32)

    options = {"repeats": 1, "protocols": ("superpixel",), "surface": False}
    _, table, _, skipped = evaluate(predict, test, shots=(1,), **options)
    assert list(table) == ["cross-patient, 1 shot"]
    assert skipped == [
        "superpixel, 1 shot: no frame has a superpixel that is bright enough to stand for a lesion."
    ]
