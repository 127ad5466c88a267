import math

import numpy as np
import pytest

from panet_keras import CrossEntropyDice, Dice
from panet_keras.evaluation import dice as reported_dice


def logits_of(mask, strength=20.0):
    """Logits [1, 1, H, W, 2] that say the mask with near certainty."""
    foreground = np.where(mask, strength, -strength).astype("float32")
    return np.stack([np.zeros_like(foreground), foreground], -1)[None, None]


def test_wholly_missed_one_percent_lesion_costs_one():
    truth = np.zeros((1, 1, 100, 100, 1), "uint8")
    truth[0, 0, :10, :10] = 1
    missed = CrossEntropyDice(cross_entropy_weight=0)(truth, logits_of(np.zeros((100, 100), bool)))
    # 1 - (2 * 0 + 1) / (0 + 100 + 1)
    np.testing.assert_allclose(missed, 1 - 1 / 101, rtol=1e-4)
    found = CrossEntropyDice(cross_entropy_weight=0)(truth, logits_of(truth[0, 0, ..., 0] > 0))
    np.testing.assert_allclose(found, 0, atol=1e-4)


def test_empty_truth_has_the_stated_value():
    truth = np.zeros((1, 1, 20, 20, 1), "uint8")
    marked = np.zeros((20, 20), bool)
    loss = CrossEntropyDice(cross_entropy_weight=0)
    np.testing.assert_allclose(loss(truth, logits_of(marked)), 0, atol=1e-4)
    marked[:3, :3] = True
    np.testing.assert_allclose(loss(truth, logits_of(marked)), 1 - 1 / (9 + 1), rtol=1e-4)
    gentle = CrossEntropyDice(cross_entropy_weight=0, empty_weight=0.2)
    np.testing.assert_allclose(gentle(truth, logits_of(marked)), 0.2 * (1 - 1 / (9 + 1)), rtol=1e-4)
    truth[0, 0, 0, 0] = 1  # no longer empty: the factor is 1
    np.testing.assert_allclose(gentle(truth, logits_of(marked)), loss(truth, logits_of(marked)), rtol=1e-6)


def test_a_miss_can_cost_more_than_a_false_mark():
    truth = np.zeros((1, 1, 20, 20, 1), "uint8")
    truth[0, 0, :10, :10] = 1
    small, large = np.zeros((2, 20, 20), bool)
    small[:10, :8] = True
    large[:10, :12] = True
    even, wary = (CrossEntropyDice(cross_entropy_weight=0, miss_weight=w) for w in (0.5, 0.7))
    np.testing.assert_allclose(even(truth, logits_of(small)), 1 - (160 + 1) / (180 + 1), rtol=1e-4)
    np.testing.assert_allclose(wary(truth, logits_of(small)), 1 - (160 + 1) / (160 + 1.4 * 20 + 1), rtol=1e-4)
    np.testing.assert_allclose(wary(truth, logits_of(large)), 1 - (200 + 1) / (200 + 0.6 * 20 + 1), rtol=1e-4)


def test_presence_is_judged_by_the_hottest_pixels():
    """100 x 100 pixels: the hottest 0.1 % are 10, inside the lesion where there is one."""
    truth = np.zeros((1, 3, 100, 100, 1), "uint8")
    truth[0, 0, 40:60, 40:60] = 1  # a lesion that is found, hotter still beside it
    truth[0, 1, 50, 50:54] = 1  # a tiny one, half sure
    heat = np.full((1, 3, 100, 100), 0.01)
    heat[0, 0, 45:55, 45:55] = 0.9
    heat[0, 0, 30:40, 40:60] = 0.99
    heat[0, 1, 50, 50:54] = 0.5
    heat[0, 2, 0, :5] = 0.7  # a normal frame with five hot pixels
    logits = np.stack([np.zeros_like(heat), np.log(heat / (1 - heat))], -1).astype("float32")
    loss = CrossEntropyDice(cross_entropy_weight=0, dice_weight=0, presence_weight=2.0)
    found = -math.log(0.9) - math.log(0.5)
    empty = -math.log(1 - (5 * 0.7 + 5 * 0.01) / 10)
    np.testing.assert_allclose(loss(truth, logits), 2 * (found + empty) / 3, rtol=1e-4)
    truth[0, 2] = 255
    np.testing.assert_allclose(loss(truth, logits), 2 * found / 2, rtol=1e-4)
    truth[:] = 255
    assert float(loss(truth, logits)) == 0.0


def test_ignored_and_unweighted_pixels_count_nowhere():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, (1, 2, 8, 8, 1)).astype("uint8")
    logits = rng.normal(size=(1, 2, 8, 8, 2)).astype("float32")
    half = CrossEntropyDice()(truth[:, :, :4], logits[:, :, :4])
    ignored = truth.copy()
    ignored[:, :, 4:] = 255
    np.testing.assert_allclose(CrossEntropyDice()(ignored, logits), half, rtol=1e-6)
    assert float(CrossEntropyDice()(truth, logits, np.zeros((1, 2, 8, 8), "float32"))) == 0.0
    doubled = CrossEntropyDice(dice_weight=0)(truth, logits, np.full((1,), 2.0))
    np.testing.assert_allclose(doubled, 2 * CrossEntropyDice(dice_weight=0)(truth, logits), rtol=1e-6)
    with pytest.raises(ValueError, match="sample_weight has shape"):
        CrossEntropyDice()(truth, logits, np.ones((1, 2, 8)))


@pytest.mark.parametrize(
    ("truth_pixels", "predicted_pixels", "expected"),
    [(0, 0, math.nan), (0, 10, 0.0), (10, 0, 0.0), (10, 10, 1.0)],
)
def test_dice_of_empty_masks_is_the_same_in_keras_and_in_the_report(truth_pixels, predicted_pixels, expected):
    truth, mask = np.zeros(64 * 48, bool), np.zeros(64 * 48, bool)
    truth[:truth_pixels] = True
    mask[:predicted_pixels] = True
    truth, mask = truth.reshape(64, 48), mask.reshape(64, 48)
    metric = Dice()
    metric.update_state(truth[None, None, ..., None].astype("uint8"), logits_of(mask))
    np.testing.assert_equal(float(metric.result()), expected)
    np.testing.assert_equal(float(reported_dice(truth, mask)), expected)
    assert float(metric.undefined.value) == float(math.isnan(expected))
    # One undefined image does not spoil the mean of the others.
    full = np.ones((64, 48), bool)
    metric.update_state(np.ones((1, 1, 64, 48, 1), "uint8"), logits_of(full))
    np.testing.assert_allclose(metric.result(), 1.0 if math.isnan(expected) else (expected + 1) / 2)


@pytest.mark.parametrize(
    ("argument", "value"), [("smooth", 0), ("miss_weight", 1.5), ("dice_weight", -1), ("reduction", "none")]
)
def test_a_loss_outside_its_range_is_refused(argument, value):
    with pytest.raises(ValueError, match=f"{argument}=.*; expected"):
        CrossEntropyDice(**{argument: value})
