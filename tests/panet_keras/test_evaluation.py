import json
import math

import numpy as np
import pytest

from panet_keras import PANetError
from panet_keras.evaluation import (
    TestImages,
    bootstrap,
    calibration_counts,
    episode_list,
    evaluate,
    expected_calibration_error,
    fit_temperature,
    iou,
    own_probability,
    paired_difference,
    presence_threshold,
    score_mask,
    summarise,
    summarise_normal,
    surface_scores,
)


def box(top, left, height, width, size=(64, 48)):
    mask = np.zeros(size, bool)
    mask[top : top + height, left : left + width] = True
    return mask


def test_surface_scores_against_arithmetic():
    truth = box(10, 10, 20, 20)
    assert surface_scores(truth, truth) == (0.0, 1.0)
    hd95, nsd = surface_scores(truth, box(13, 10, 20, 20))  # moved down by 3: two sides lie 3 apart
    assert hd95 == 3.0 and 0.4 < nsd < 0.8
    assert surface_scores(truth, box(12, 10, 20, 20))[1] == 1.0  # 2 pixels are within the tolerance
    assert surface_scores(truth, box(0, 0, 0, 0)) == (math.hypot(64, 48), 0.0)
    assert all(math.isnan(value) for value in surface_scores(box(0, 0, 0, 0), box(0, 0, 0, 0)))


def test_overlap_scores_against_arithmetic():
    truth, probability = box(0, 0, 10, 10), np.zeros((64, 48))
    probability[0:10, 5:15] = 0.8
    scores = score_mask(truth, probability)
    assert scores["dice"] == 2 * 50 / 200 and scores["iou"] == 50 / 150 == iou(truth, probability > 0.5)
    assert scores["sensitivity"] == 0.5 and scores["precision"] == 0.5
    np.testing.assert_allclose(scores["inside"], 0.4)
    np.testing.assert_allclose(scores["outside"], 50 * 0.8 / (64 * 48 - 100))
    np.testing.assert_allclose(scores["false_area"], 50 / (64 * 48))


def test_calibration_error_against_arithmetic():
    truth = np.array([[True, True, False, False]])
    probability = np.array([[0.95, 0.95, 0.95, 0.15]])
    # Bin 9: 3 pixels, 2 hits, sum 2.85; bin 1: 1 pixel, 0 hits, sum 0.15.
    expected = (abs(2 - 2.85) + abs(0 - 0.15)) / 4
    np.testing.assert_allclose(expected_calibration_error(calibration_counts(truth, probability)), expected)


def test_episode_list_is_frozen_and_keeps_to_the_protocol():
    patients = np.repeat([f"p{i}" for i in range(6)], 4)
    lesion = np.tile([True, True, True, False], 6)
    first = episode_list(patients, lesion, 2, 3, seed=5)
    assert (
        first == episode_list(patients, lesion, 2, 3, seed=5) != episode_list(patients, lesion, 2, 3, seed=6)
    )
    assert len(first) == 18 * 3
    for episode in first:
        assert lesion[[episode.query, *episode.supports]].all()
        assert patients[episode.query] not in patients[list(episode.supports)]
        assert len(set(episode.supports)) == 2
    # Pictures 0, 4, 8 ... are one picture under six names.
    digests = np.array([0 if i % 4 == 0 else i for i in range(24)])
    for episode in episode_list(patients, lesion, 2, 3, seed=5, digests=digests):
        assert digests[episode.query] not in digests[list(episode.supports)]
    assert episode_list(patients, lesion, 2, 3, seed=5, digests=np.arange(24)) == first
    # Patients of three hospitals, two of each.
    sources = np.repeat(["A", "B", "C"], 8)
    for episode in episode_list(patients, lesion, 2, 3, seed=5, sources=sources):
        assert set(sources[list(episode.supports)]) == {sources[episode.query]}
        assert patients[episode.query] not in patients[list(episode.supports)]
    assert episode_list(patients, lesion, 2, 3, seed=5, sources=np.full(24, "")) == first
    for episode in episode_list(patients, lesion, 2, 1, protocol="same-patient"):
        assert (
            set(patients[list(episode.supports)]) == {patients[episode.query]}
            and episode.query not in episode.supports
        )
    assert {e.query for e in episode_list(patients, lesion, 1, 1, queries="normal")} == set(
        np.flatnonzero(~lesion)
    )
    with pytest.raises(PANetError, match=r"3 shot\(s\): no query has enough support.*Lower the shots"):
        episode_list(patients, lesion, 3, protocol="same-patient")


def test_supports_of_the_other_label_and_of_both():
    patients = np.repeat([f"p{i}" for i in range(7)], 2)
    # The last patient's lesions were never graded: they have no way, and are no opposite of anything.
    lesion, labels = np.ones(14, bool), np.repeat([*["Benign", "Malignant"] * 3, "Unknown"], 2)
    for protocol in ("other-label", "two-way"):
        drawn = episode_list(patients, lesion, 2, 1, protocol=protocol, labels=labels)
        assert {index for episode in drawn for index in (episode.query, *episode.supports)} == set(range(12))
    for episode in episode_list(patients, lesion, 2, 1, protocol="other-label", labels=labels):
        assert (labels[list(episode.supports)] != labels[episode.query]).all()
    for episode in episode_list(patients, lesion, 2, 1, protocol="two-way", labels=labels):
        assert labels[list(episode.supports)].tolist() == ["Benign"] * 2 + ["Malignant"] * 2
        assert patients[episode.query] not in patients[list(episode.supports)]


def test_two_ways_are_scored_by_the_query_s_own():
    probabilities = np.array([[[0.2, 0.5, 0.3], [0.2, 0.35, 0.45], [0.6, 0.3, 0.1]]])
    np.testing.assert_array_equal(own_probability(probabilities, 1) > 0.5, [[True, False, False]])
    np.testing.assert_array_equal(own_probability(probabilities, 2) > 0.5, [[False, True, False]])


def test_evaluation_goes_on_where_it_was_cut_off(records, tmp_path):
    """An oracle scores 1 wherever the support decides, and a second call computes nothing anew."""
    test = TestImages(records, (48, 64))
    truths = {image.tobytes(): mask for image, mask in zip(test.images, test.masks)}
    calls = []

    def oracle(support_images, support_masks, query):
        calls.append(support_masks.shape)
        mask = truths[np.round(query[0, 0] * 255).astype(np.uint8).tobytes()]
        ways = support_masks.shape[1]
        return np.stack([~mask, *[mask] * ways], -1)[None, None].astype(np.float32)

    first = evaluate(
        oracle, test, shots=(1,), repeats=1, protocols=("same-patient", "superpixel"), work_dir=tmp_path
    )
    assert (
        first[1]["cross-patient, 1 shot"]["dice"]["mean"]
        > 0.9
        > first[1]["superpixel, 1 shot"]["dice"]["mean"]
    )
    assert len(calls) == sum(map(len, first[0].values()))
    assert (
        first[1]["cross-patient, 1 shot"]["marks"]["found"] == 1.0
        and "marks" not in first[1]["same-patient, 1 shot"]
    )
    assert first[1]["cross-patient, 1 shot"]["marks"]["lesions"] == sum(
        len(row["found"]) for row in first[0]["cross-patient, 1 shot"]
    )
    calls.clear()
    again = evaluate(
        oracle, test, shots=(1,), repeats=1, protocols=("same-patient", "superpixel"), work_dir=tmp_path
    )
    assert not calls and json.dumps(again) == json.dumps(first)
    with pytest.raises(PANetError, match="'three-way'.*expected some of.*cross-patient"):
        evaluate(oracle, test, protocols=("three-way",))
    for wrong, words in (
        (lambda *tensors: oracle(*tensors) * 9 - 4, "values from -4 to 5; .*from 0 to 1.*tf.nn.softmax"),
        (lambda *tensors: oracle(*tensors)[0, 0], r"shape \(48, 64, 2\); expected probabilities \[1, 1,"),
    ):
        with pytest.raises(PANetError, match=words):
            evaluate(wrong, test, shots=(1,), repeats=1, protocols=())
    assert TestImages(records[:1], 32).images[0].shape == (32, 32, 3)
    with pytest.raises(PANetError, match=r"size=\(1, 2, 3\); expected \(height, width\)"):
        TestImages(records[:1], (1, 2, 3))


def test_the_presence_threshold_costs_what_it_may():
    rows = [
        {"presence": p, "dice": d} for p, d in ((0.2, 0.0), (0.3, 0.04), (0.4, 0.04), (0.5, 0.9), (0.9, 0.9))
    ]
    assert presence_threshold(rows, cost=0.01) == 0.4  # emptying the first two costs 0.04 / 5
    assert presence_threshold(rows, cost=0.0) == 0.3 and presence_threshold(rows, cost=1.0) == 0.9


def test_bootstrap_draws_patients_not_images():
    """A thousand images of two patients tell little more than two images."""
    values = np.concatenate([np.zeros(500), np.ones(500)])
    low, high = bootstrap(values, np.repeat(["a", "b"], 500))
    assert (low, high) == (0.0, 1.0)
    assert bootstrap([0.5, math.nan], ["a", "b"]) == (0.5, 0.5)
    assert all(math.isnan(x) for x in bootstrap([math.nan], ["a"]))


def test_paired_difference_is_narrower_than_the_scores():
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(20), 5)
    base = rng.random(20)[patients]
    result = paired_difference(base + 0.1, base, patients)
    np.testing.assert_allclose([result["mean"], result["low"], result["high"]], 0.1)
    assert result["n"] == 100


def test_one_undefined_score_spoils_no_mean():
    def row(query, repeat, dice):
        names = ("iou", "hd95", "nsd", "sensitivity", "precision", "inside", "outside")
        return {"query": query, "repeat": repeat, "dice": dice, **dict.fromkeys(names, dice)}

    rows = [row(0, 0, 0.8), row(0, 1, 0.6), row(1, 0, 0.05), row(2, 0, math.nan)]
    result = summarise(rows, ["a", "a", "b"])
    np.testing.assert_allclose(result["dice"]["mean"], (0.7 + 0.05) / 2)
    assert result["n"] == 3 and result["undefined"] == 1
    # Of the two that have a Dice, 0.7 and 0.05; the second patient has none.
    assert result["median"] == result["over_patients"] == pytest.approx((0.7 + 0.05) / 2)
    assert result["miss_rate"] == 1 / 2 and math.isnan(result["by_patient"]["b"])
    normal = [{"query": 3, "repeat": 0, "presence": 0.1, "false_any": 0.0, "false_area": 0.0}]
    normal += [{"query": 4, "repeat": 0, "presence": 0.95, "false_any": 1.0, "false_area": 0.02}]
    lesions = [{**row(0, 0, 0.7), "presence": 0.9}, {**row(1, 0, 0.3), "presence": 0.99}]
    summary = summarise_normal(normal, lesions)
    assert summary["false_any"] == 0.5 and summary["false_area"] == 0.01
    assert summary["presence_auroc"] == 3 / 4  # of four pairs one is the wrong way round
    assert summary["threshold"] == 0.9 and summary["false_any_at_threshold"] == 0.5
    assert summary["by_threshold"]["0.8"] == {"false_any": 0.5, "cost": 0.0}
    assert summary["by_threshold"]["0.95"] == {"false_any": 0.5, "cost": 0.7 / 2}
    assert summary["by_threshold"]["0.98"] == {"false_any": 0.0, "cost": 0.7 / 2}
    assert summary["dice_all"] == (0.7 + 0.3 + 1 + 0) / 4


def test_the_fitted_temperature_is_the_one_that_drew_the_labels():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 4, (2, 1, 100, 100, 3)).astype(np.float32)
    shares = np.exp(logits / 2.5)
    shares /= shares.sum(-1, keepdims=True)
    labels = (rng.random((2, 1, 100, 100, 1)) > shares.cumsum(-1)).sum(-1)
    labels[0, 0, :20] = 255
    answers = list(zip(logits, labels[..., None]))
    assert fit_temperature(answers, pixels=10_000) == pytest.approx(2.5, rel=0.05)
    with pytest.raises(ValueError, match="no labelled pixel"):
        fit_temperature([(logits, np.full((2, 1, 100, 100, 1), 255))])
