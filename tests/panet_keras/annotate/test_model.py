"""The page's masks are the segmenter's, from features that are kept."""

import numpy as np
import pytest
import tensorflow as tf

from panet_keras import FewShotSegmenter
from panet_keras.annotate.answer import answer, enlarge
from panet_keras.annotate.features import Features
from panet_keras.annotate.model import LocalModel
from panet_keras.annotate.quality import leave_one_out
from panet_keras.inference.leave_one_out import SupportFeatures


def test_enlarge_is_tensorflows():
    rng = np.random.default_rng(0)
    for size in ((50, 91), (7, 200), (16, 16), (5, 3)):
        small = rng.random((16, 16), np.float32)
        expected = tf.image.resize(small[..., None], size)[..., 0].numpy()
        np.testing.assert_allclose(enlarge(small, size), expected, atol=1e-6)
        # A mask is computed where it can be only; by itself it is the same.
        mask, *_ = answer({1: small**4}, {1: 0.0}, size)
        np.testing.assert_array_equal(
            mask > 0, tf.image.resize((small**4)[..., None], size)[..., 0].numpy() > 0.5
        )


@pytest.fixture
def eagerly():
    """Graphs take longer to build than these few pictures take without."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def test_the_same_answer_and_the_same_curve_as_the_segmenter(model, eagerly):
    rng = np.random.default_rng(1)
    images = [rng.integers(0, 255, (40 + 9 * number, 70, 3), np.uint8) for number in range(4)]
    masks = [np.zeros(image.shape[:2], bool) for image in images]
    for mask in masks[:3]:
        mask[10:30, 20:50] = True
    segmenter = FewShotSegmenter(model, size=(64, 64)).set_support(images[:2], masks[:2], normals=[images[3]])
    ours = LocalModel(segmenter, "tiny")
    features = ours.encode([ours.prepare(image) for image in images])
    small = [segmenter._support[1][0, number, ..., 0] for number in range(3)]
    found = ours.segment(ours.support(list(zip([features[0], features[1], features[3]], small))), features)
    for number, image in enumerate(images):
        expected = segmenter.predict(image)
        np.testing.assert_allclose(enlarge(found[number], image.shape[:2]), expected.probability, atol=2e-3)
        mask, presence, _ = answer({1: found[number]}, {1: 0.0}, image.shape[:2])
        assert abs(presence - expected.presence) < 2e-3
        near = np.abs(expected.probability - 0.5) < 2e-3
        assert ((mask > 0) == expected.mask)[~near].all()

    segmenter.set_support(images[:3], masks[:3], normals=[images[3]])
    stack, labels = segmenter._frames("test")
    expected = SupportFeatures(model, stack, labels).curve()
    lesions = [(features[number], labels[number]) for number in range(3)]
    curve, _, seen = leave_one_out(ours, lesions, [features[3]])
    np.testing.assert_allclose(curve, expected, atol=5e-3)
    assert len(seen) == 1


def test_features_stay_within_memory_and_disk(tmp_path):
    kept = Features(tmp_path, "a", memory=100, disk=60)
    rows = {f"{number}": np.full(10, number, np.float16) for number in range(6)}
    for name, row in rows.items():
        kept.put(name, row)
    assert kept._bytes <= 100 and sum(path.stat().st_size for path in (tmp_path / "a").iterdir()) <= 60
    # 0 to 2 on disk, 1 to 5 in memory; those that were only there are asked for before others take their place.
    assert all((kept.get(name) == row).all() for name, row in reversed(rows.items()))
    again = Features(tmp_path, "a", disk=60)
    assert (again.get("2") == rows["2"]).all() and again.get("5") is None
    assert Features(tmp_path, "b").get("2") is None and not (tmp_path / "a").exists()
