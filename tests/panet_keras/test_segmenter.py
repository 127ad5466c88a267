import copy
import pickle

import keras
import numpy as np
import pytest
import tensorflow as tf

from panet_keras import DataWarning, FewShotSegmenter, ImageError, PANet, PANetError
from panet_keras.inference.presence import fit_threshold


@pytest.fixture(scope="module")
def segmenter(model):
    return FewShotSegmenter(model, size=(64, 64))


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    mask = np.zeros((90, 120), bool)
    mask[20:50, 30:70] = True
    return rng.integers(0, 256, (90, 120, 3), np.uint8), mask


def test_answers_at_the_image_s_own_size_for_any_kind_of_image(segmenter, pair):
    image, mask = pair
    segmenter.set_support([image], [mask])
    grey = image[..., 0]
    answers = [
        segmenter.predict(x)
        for x in (grey, grey.astype(np.uint16) * 257, grey / 255.0, (grey / 255.0).astype("float32"))
    ]
    for answer in answers:
        assert answer.mask.shape == (90, 120) and answer.mask.dtype == bool
        assert answer.probability.shape == (90, 120) and answer.probability.dtype == np.float32
        assert isinstance(answer.presence, float) and 0 <= answer.presence <= 1
        np.testing.assert_allclose(answer.probability, answers[0].probability, atol=1e-5)
    assert segmenter.predict(image[:33, :77]).mask.shape == (33, 77)


def test_equals_the_model_called_directly(model, segmenter, monkeypatch):
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (3, 64, 64, 3), np.uint8)
    mask = np.zeros((64, 64), np.uint8)
    mask[5:30, 5:30] = 1
    answer = segmenter.set_support(list(images[:2]), [mask, mask]).predict(images[2])
    scaled = images[None, None].astype("float32") / 255
    logits = model(
        {
            "support_images": tf.constant(scaled[:, :, :2]),
            "support_masks": tf.constant(np.stack([mask, mask])[None, None, ..., None]),
            "query_images": tf.constant(scaled[:, 0, 2:]),
        }
    )
    np.testing.assert_allclose(answer.probability, tf.nn.softmax(logits)[0, 0, ..., 1], atol=1e-5)
    # A temperature that is set later is seen by the graph that was traced before.
    monkeypatch.setattr(model, "temperature", 4.0)
    np.testing.assert_allclose(
        segmenter.predict(images[2]).probability, tf.nn.softmax(logits / 4)[0, 0, ..., 1], atol=1e-5
    )


def test_two_ways(segmenter, pair):
    image, mask = pair
    answer = segmenter.set_support([[image], [image[::-1]]], [[mask], [mask[::-1]]]).predict(image)
    assert answer.mask.dtype == np.uint8 and answer.mask.max() <= 2
    assert answer.probability.shape == (90, 120, 3) and len(answer.presence) == 2
    # A picture that shows both: the model's inputs want the other way's pixels as 255, which a mask cannot say.
    image, mask = np.zeros((64, 64), np.uint8), np.eye(64, dtype=bool)
    image[10:30, 10:30], other = 90, np.fliplr(mask)
    segmenter.set_support([[image, image + 1], [image, image + 2]], [[mask, mask], [other, other]])
    masks = np.stack([mask, mask, other, other]).astype(np.uint8).reshape(1, 2, 2, 64, 64, 1)
    masks[0, 0, 0][other & ~mask], masks[0, 1, 0][mask & ~other] = 255, 255
    expected = segmenter.model.encode_support(segmenter._support[0][None], masks)
    for name, value in segmenter.state.items():
        np.testing.assert_allclose(value, expected[name], atol=1e-5)


def test_one_pixel_support_is_not_lost(tiny_encoder, pair):
    image, _ = pair
    one = np.zeros((90, 120), bool)
    one[31, 31] = True
    for decoder in ("bilinear", "unet"):
        answer = (
            FewShotSegmenter(PANet(tiny_encoder(), decoder=decoder), (32, 32))
            .set_support([image], [one])
            .predict(image)
        )
        assert np.isfinite(answer.probability).all()


@pytest.mark.parametrize(
    ("images", "masks", "message"),
    [
        (
            np.zeros((2, 64, 64, 3)),
            np.ones((2, 32, 32, 1)),
            r"image has shape \(64, 64\), mask \(32, 32\).*Resize the mask",
        ),
        (
            np.zeros((2, 64, 64, 3)),
            np.stack([np.ones((64, 64)), np.zeros((64, 64))]),
            r"way 0, shot 1\) has no foreground pixel",
        ),
        (np.zeros((2, 64, 64, 3)), np.ones((1, 64, 64)), "one mask for each image"),
        ([], [], "at least 1"),
        ("image.png", "mask.png", "expects lists"),
        (np.zeros((64, 64, 1)), np.ones((64, 64, 1)), "expects lists"),
    ],
)
def test_bad_supports_are_refused_by_way_and_shot(segmenter, images, masks, message):
    with pytest.raises(PANetError, match=message):
        segmenter.set_support(images, masks)


def test_order_and_files_are_checked(model, pair):
    with pytest.raises(PANetError, match="before set_support"):
        FewShotSegmenter(model).predict(pair[0])
    with pytest.raises(ImageError, match="nowhere.png: no such file"):
        FewShotSegmenter(model).set_support([pair[0]], [pair[1]]).predict("nowhere.png")


def test_mirroring_averages_both_views(model, segmenter, pair):
    image, mask = pair
    both = FewShotSegmenter(model, size=(64, 64), mirror=True).set_support([image], [mask]).predict(image)
    segmenter.set_support([image], [mask])
    plain, mirrored = segmenter.predict(image), segmenter.predict(image[:, ::-1])
    np.testing.assert_allclose(
        both.probability, (plain.probability + mirrored.probability[:, ::-1]) / 2, atol=1e-4
    )


@pytest.mark.parametrize("mirror", [False, True])
def test_a_frame_left_out_is_judged_as_any_other_picture(model, scanner, mirror):
    images, masks = map(list, zip(*scanner[0]))
    segmenter = FewShotSegmenter(model, size=(64, 64), mirror=mirror).set_support(images[:3], masks[:3])
    held_out = segmenter._held_out(segmenter._features("expected"))
    answer = segmenter.set_support(images[1:3], masks[1:3]).predict(images[0])
    assert held_out.presence[0] == pytest.approx(answer.presence, abs=1e-5)
    np.testing.assert_array_equal(held_out.logits[0].argmax(-1), answer.mask)


def test_what_is_hardly_present_is_not_marked(model, pair):
    image, mask = pair
    plain = (
        FewShotSegmenter(model, size=(64, 64))
        .set_support([[image], [image]], [[mask], [mask[::-1]]])
        .predict(image)
    )
    threshold = float(np.mean(plain.presence))
    strict = FewShotSegmenter(model, size=(64, 64), presence_threshold=threshold)
    answer = strict.set_support([[image], [image]], [[mask], [mask[::-1]]]).predict(image)
    weaker = int(np.argmin(plain.presence)) + 1
    assert answer.presence == plain.presence and not (answer.mask == weaker).any()
    assert (
        not FewShotSegmenter(model, (64, 64), presence_threshold=1.0)
        .set_support([image], [mask])
        .predict(image)
        .mask.any()
    )
    with pytest.raises(PANetError, match="presence_threshold=1.5"):
        FewShotSegmenter(model, presence_threshold=1.5)


@pytest.fixture(scope="module")
def scanner():
    """Frames of a made-up scanner: dark squares on tissue, and tissue alone."""
    rng = np.random.default_rng(2)

    def frame(lesion):
        image, mask = rng.integers(90, 160, (64, 64, 3), np.uint8), np.zeros((64, 64), bool)
        if lesion:
            y, x = rng.integers(4, 40, 2)
            mask[y : y + 18, x : x + 18] = True
            image[mask] //= 4
        return image, mask

    return [frame(True) for _ in range(6)], [frame(False)[0] for _ in range(4)]


def test_normal_frames_are_support(model, scanner):
    lesions, normals = scanner
    images, masks = map(list, zip(*lesions))
    segmenter = FewShotSegmenter(model, size=(64, 64)).set_support(images[:2], masks[:2])
    without = segmenter.predict(images[3]).probability
    answer = segmenter.set_support(images[:2], masks[:2], normals=normals)
    assert answer.state["masks_1"].shape[2] == (2 + 4) * 16  # pixels of stride 16 of each frame
    assert np.abs(answer.predict(images[3]).probability - without).max() > 1e-4
    for one in ("a.png", bytearray(b"GIF"), normals[0], normals[0][..., 0], tf.constant(normals[0])):
        with pytest.raises(PANetError, match="expects a list of normals"):
            segmenter.set_support(images[:1], masks[:1], normals=one)


def test_a_frame_left_out_is_not_supported_by_its_copy(model, scanner):
    """The same picture under two names is one; what it says of itself is no expectation of others."""
    images, masks = map(list, zip(*scanner[0]))
    segmenter = FewShotSegmenter(model, size=(64, 64)).set_support(images[:3], masks[:3], scanner[1][:1])
    once = segmenter.expected()
    twice = segmenter.set_support([*images[:3], images[0]], [*masks[:3], masks[0]], scanner[1][:1]).expected()
    assert (len(once.curve), [supports for supports, _ in twice.curve]) == (2, [1, 2])
    assert [twice.each[0], twice.each[3]] == pytest.approx([once.each[0]] * 2, abs=1e-6)
    with pytest.raises(PANetError, match=r"expected\(\) has 1 annotated lesion"):
        segmenter.set_support(images[:1] * 2, masks[:1] * 2).expected()


@pytest.mark.slow
def test_adaptation_helps_by_frames_left_out_and_leaves_the_model_alone(tiny_encoder, scanner, tmp_path):
    lesions, normals = scanner
    images, masks = map(list, zip(*lesions))
    model = PANet(tiny_encoder(), decoder="unet", normal_evidence=True)
    before = [w.copy() for w in model.get_weights()]
    segmenter = FewShotSegmenter(model, size=(64, 64)).set_support(images[:5], masks[:5], normals=normals)
    noted = []
    segmenter.adapt(learning_rate=5e-3, progress=lambda done, total: noted.append((done, total)))
    found = segmenter.adaptation
    assert set(found.scores) == {0, 0.5, 1.0} and found.share > 0
    assert found.scores[found.share] > found.scores[0]
    assert noted[-1] == (60, 60) and found.steps == 30
    # Every annotated frame was judged by a copy that had not seen it.
    assert len(found.held_out.lesion) == 9 and found.held_out.lesion.sum() == 5
    for weight, was in zip(model.get_weights(), before):
        np.testing.assert_array_equal(weight, was)
    expected = segmenter.expected()
    assert (expected.lesions, expected.normals) == (5, 4) and 0 <= expected.dice <= 1
    segmenter.save(tmp_path / "adapted")
    again = FewShotSegmenter(tmp_path / "adapted").set_support(images[:5], masks[:5], normals=normals)
    assert again.presence_threshold == segmenter.presence_threshold
    np.testing.assert_allclose(
        again.predict(images[5]).probability, segmenter.predict(images[5]).probability, atol=0.02
    )
    # Of another support the adaptation says nothing; but the model has learnt from these frames.
    segmenter.set_support(images[:3], masks[:3])
    with pytest.warns(DataWarning, match="expected: the model was adapted to 3 of these 3 frames"):
        other = segmenter.expected()
    assert segmenter.adaptation is None and (other.lesions, len(other.each)) == (3, 3)


def test_masks_that_the_threshold_empties_do_not_speak_for_adaptation():
    from panet_keras.inference.adapt import score
    from panet_keras.inference.leave_one_out import HeldOut

    lesion = np.array([True] * 6 + [False] * 4)
    masks = np.zeros((10, 8, 8), bool)
    masks[lesion, 2:6, 2:6] = True

    def held_out(found, normals):
        """Lesions drawn on `found`, and normal frames with one region of a logit."""
        logits = np.zeros((10, 8, 8, 2), np.float32)
        logits[..., 0] = 4
        logits[lesion, found, 2:6, :] = [0, 4]
        logits[~lesion, 2:6, 2:6, :] = [0, normals]
        return HeldOut(logits, masks, lesion)

    doubtful, shy = held_out(slice(2, 6), 0.5), held_out(slice(2, 5), -4)
    assert doubtful.marked.all() and not shy.marked[~lesion].any()
    assert score(doubtful, 0.8) == 1.0 > score(shy, 0.8) == pytest.approx(6 / 7)
    # Where no threshold tells them from lesions, they count.
    assert score(held_out(slice(2, 6), 4), 0.8) == pytest.approx(0.9)


def test_adaptation_deals_copies_of_a_picture_into_one_fold():
    from panet_keras.inference.adapt import _folds

    pictures, lesion = np.array(list("aabcdeefgg")), np.array([1] * 6 + [0] * 4, bool)  # e as both
    for seed in range(5):
        fold = _folds(pictures, lesion, np.random.default_rng(seed))
        assert all(len(set(fold[pictures == one])) == 1 for one in "aeg")
        distinct = {one: fold[pictures == one][0] for one in "abcde"}
        assert sorted(distinct.values()) in ([0, 0, 0, 1, 1], [0, 0, 1, 1, 1])


def test_what_cannot_be_decided_is_left(model, scanner):
    images, masks = map(list, zip(*scanner[0]))
    segmenter = FewShotSegmenter(model, size=(64, 64))
    for action in (segmenter.adapt, segmenter.calibrate, segmenter.expected):
        with pytest.raises(PANetError, match=f"{action.__name__} was called before set_support"):
            action()
    segmenter.set_support(images[:1], masks[:1])
    assert segmenter.adapt().model is model and segmenter.adaptation is None
    with pytest.raises(PANetError, match="1 annotated lesion; it needs at least 2"):
        segmenter.expected()
    with pytest.raises(PANetError, match="calibrate works with one way; the support has 2"):
        segmenter.set_support([images[:1], images[1:2]], [masks[:1], masks[1:2]]).calibrate()


@pytest.mark.parametrize(
    ("lesions", "normals", "low", "high"),
    [
        ([0.99] * 10, [0.1] * 10, 0.2, 0.97),  # between the two
        ([0.99] * 10, [], 0.0, 0.3),  # without normal frames never above what was set before
        ([], [0.9] * 5, 0.3, 0.3),  # nothing to go by
        ([0.9] * 19 + [0.5], [0.89] * 20, 0.0, 0.9),  # at most one lesion in twenty is emptied
        ([0.99] * 19 + [0.02], [0.6] * 20, 0.6, 0.99),  # and one odd lesion does not decide alone
    ],
)
def test_the_threshold_is_fitted_to_the_scanner(lesions, normals, low, high):
    threshold = fit_threshold(lesions, normals, fallback=0.3)
    assert low <= threshold <= high
    assert np.mean(np.array(lesions) < threshold) <= 0.05 if lesions else True


def test_a_handful_of_frames_moves_the_threshold_a_little():
    few, many, alone = (
        fit_threshold([0.999] * lesions, [0.9] * 10, fallback)
        for lesions, fallback in ((3, 0.8), (60, 0.8), (3, 0.0))
    )
    assert 0.8 < few < 0.9 < many < alone


def test_a_threshold_fitted_again_is_the_same(model, scanner, tmp_path):
    """It begins from what was given or set, here, and in a segmenter that was saved."""
    (images, masks), normals = map(list, zip(*scanner[0])), scanner[1]
    segmenter = FewShotSegmenter(model, 64, presence_threshold=0.8).set_support(
        images[:4], masks[:4], normals
    )
    first = segmenter.calibrate().presence_threshold
    assert segmenter.calibrate().presence_threshold == first != 0.8
    segmenter.save(tmp_path / "fitted")
    again = FewShotSegmenter(tmp_path / "fitted").set_support(images[:4], masks[:4], normals)
    assert again.presence_threshold == first
    assert again.calibrate().presence_threshold == pytest.approx(first, abs=0.05)  # half precision
    segmenter.presence_threshold = 0.1
    assert segmenter.calibrate().presence_threshold != first


def test_what_is_decided_again_is_decided_of_the_model_given(model, scanner, monkeypatch):
    """Frames that a copy was tuned on are not left out of it; neither `adapt` nor `calibrate` may judge it by them."""
    from panet_keras.inference import adapt
    from panet_keras.inference import segmenter as module
    from panet_keras.inference.leave_one_out import HeldOut

    images, masks = map(list, zip(*scanner[0]))
    asked = []

    def tuned(given, frames, marks, *_):
        asked.append(given)
        lesions = np.array(marks) > 0
        held_out = HeldOut(np.stack([~lesions, lesions], -1) * 3.0, lesions, np.ones(len(lesions), bool))
        return keras.models.clone_model(given), adapt.Adaptation(
            30, 1.0, {0: 0.1, 1.0: 0.5}, held_out, held_out
        )

    monkeypatch.setattr(module.adaptation, "adapt", tuned)
    monkeypatch.setattr(module, "SupportFeatures", None)  # the tuned copy is not asked of these frames
    segmenter = FewShotSegmenter(model, 64).set_support(images[:4], masks[:4])
    threshold = segmenter.adapt().adapt().presence_threshold
    assert asked == [model, model] and segmenter.model is not model
    assert segmenter.calibrate().presence_threshold == threshold


def test_a_segmenter_can_be_copied_and_pickled(model, pair):
    image, mask = pair
    segmenter = FewShotSegmenter(model, 64).set_support([image], [mask], normals=None)
    expected = segmenter.predict(image).probability
    copied = copy.copy(segmenter)
    for other in (copied, pickle.loads(pickle.dumps(segmenter))):
        np.testing.assert_array_equal(other.predict(image).probability, expected)
    copied.set_support([image[::-1]], [mask[::-1]])
    np.testing.assert_array_equal(segmenter.predict(image).probability, expected)


def test_models_are_opened_by_any_kind_of_path(model, tmp_path):
    model.save(tmp_path / "m.keras")
    for path in (tmp_path / "m.keras", str(tmp_path / "m.keras")):
        segmenter = FewShotSegmenter(path, size=np.array([32, 48]), presence_threshold=np.float32(0.5))
        assert segmenter.size == (32, 48)
    segmenter.save(tmp_path / "preset")
    assert FewShotSegmenter(tmp_path / "preset").size == (32, 48)
    dense = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    dense.save(tmp_path / "dense.keras")
    for source, message in (
        (tmp_path / "none.keras", "none.keras: no such file"),
        (tmp_path / "dense.keras", "dense.keras: a model of class Sequential; expected a PANet"),
        (dense, "model of class Sequential; expected a PANet"),
    ):
        with pytest.raises(PANetError, match=message):
            FewShotSegmenter(source)
    for size in (0, (64,), (64, 1.5)):
        with pytest.raises(PANetError, match="size=.*; expected .height, width."):
            FewShotSegmenter(model, size)
