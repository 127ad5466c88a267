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
