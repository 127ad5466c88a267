import numpy as np
import pytest
import tensorflow as tf

from panet_keras import FewShotSegmenter, ImageError, PANet, PANetError


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
    answers = [segmenter.predict(x) for x in (grey, grey.astype(np.uint16) * 257, grey / 255.0, (grey / 255.0).astype("float32"))]
    for answer in answers:
        assert answer.mask.shape == (90, 120) and answer.mask.dtype == bool
        assert answer.probability.shape == (90, 120) and answer.probability.dtype == np.float32
        assert isinstance(answer.presence, float) and 0 <= answer.presence <= 1
        np.testing.assert_allclose(answer.probability, answers[0].probability, atol=1e-5)
    assert segmenter.predict(image[:33, :77]).mask.shape == (33, 77)


def test_equals_the_model_called_directly(model, segmenter):
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


def test_two_ways(segmenter, pair):
    image, mask = pair
    answer = segmenter.set_support([[image], [image[::-1]]], [[mask], [mask[::-1]]]).predict(image)
    assert answer.mask.dtype == np.uint8 and answer.mask.max() <= 2
    assert answer.probability.shape == (90, 120, 3) and len(answer.presence) == 2


def test_one_pixel_support_is_not_lost(tiny_encoder, pair):
    image, _ = pair
    one = np.zeros((90, 120), bool)
    one[31, 31] = True
    for decoder in ("bilinear", "unet"):
        answer = FewShotSegmenter(PANet(tiny_encoder(), decoder=decoder), (32, 32)).set_support([image], [one]).predict(image)
        assert np.isfinite(answer.probability).all()


@pytest.mark.parametrize(
    ("images", "masks", "message"),
    [
        (np.zeros((2, 64, 64, 3)), np.ones((2, 32, 32, 1)), r"image has shape \(64, 64\), mask \(32, 32\).*Resize the mask"),
        (np.zeros((2, 64, 64, 3)), np.stack([np.ones((64, 64)), np.zeros((64, 64))]), r"way 0, shot 1\) has no foreground pixel"),
        (np.zeros((2, 64, 64, 3)), np.ones((1, 64, 64)), "one mask for each image"),
        ([], [], "at least 1"),
        ("image.png", "mask.png", "expects lists"),
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
    np.testing.assert_allclose(both.probability, (plain.probability + mirrored.probability[:, ::-1]) / 2, atol=1e-4)


def test_what_is_hardly_present_is_not_marked(model, pair):
    image, mask = pair
    plain = FewShotSegmenter(model, size=(64, 64)).set_support([[image], [image]], [[mask], [mask[::-1]]]).predict(image)
    threshold = float(np.mean(plain.presence))
    strict = FewShotSegmenter(model, size=(64, 64), presence_threshold=threshold)
    answer = strict.set_support([[image], [image]], [[mask], [mask[::-1]]]).predict(image)
    weaker = int(np.argmin(plain.presence)) + 1
    assert answer.presence == plain.presence and not (answer.mask == weaker).any()
    assert not FewShotSegmenter(model, (64, 64), presence_threshold=1.0).set_support([image], [mask]).predict(image).mask.any()
    with pytest.raises(PANetError, match="presence_threshold=1.5"):
        FewShotSegmenter(model, presence_threshold=1.5)


@pytest.mark.parametrize("shots", [1, 3])
def test_adaptation_learns_the_support_and_leaves_the_model_alone(tiny_encoder, shots):
    rng = np.random.default_rng(2)
    image = rng.integers(0, 60, (64, 64, 3), np.uint8)
    mask = np.zeros((64, 64), bool)
    mask[20:44, 16:48] = True
    image[mask] += 150
    model = PANet(tiny_encoder(), decoder="unet")
    before = [w.copy() for w in model.get_weights()]
    segmenter = FewShotSegmenter(model, size=(64, 64)).set_support([image] * shots, [mask] * shots)
    first = segmenter.predict(image[:, ::-1]).probability
    second = segmenter.adapt(steps=25, learning_rate=3e-3).predict(image[:, ::-1]).probability
    truth = mask[:, ::-1]
    assert second[truth].mean() - second[~truth].mean() > first[truth].mean() - first[~truth].mean() + 0.2
    for weight, was in zip(model.get_weights(), before):
        np.testing.assert_array_equal(weight, was)
    with pytest.raises(PANetError, match="adapt was called before set_support"):
        FewShotSegmenter(model).adapt()
