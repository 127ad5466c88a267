import numpy as np
import pytest

from panet_keras import PANet, PANetError, grad_cam


@pytest.fixture
def pictures():
    rng = np.random.default_rng(0)
    masks = np.zeros((2, 64, 96), bool)
    masks[:, 20:40, 30:60] = True
    return (
        list(rng.integers(0, 256, (2, 64, 96, 3), np.uint8)),
        list(masks),
        rng.integers(0, 256, (64, 96, 3), np.uint8),
    )


@pytest.mark.parametrize("decoder", ["bilinear", "unet"])
@pytest.mark.parametrize("method", ["gradcam", "gradcam++"])
def test_a_map_for_the_query_and_for_each_support_image(tiny_encoder, pictures, decoder, method):
    maps = grad_cam(PANet(tiny_encoder(), decoder=decoder), *pictures, method=method, size=(64, 64))
    assert [(item.role, item.shot) for item in maps] == [("query", None), ("support", 0), ("support", 1)]
    for item in maps:
        assert item.heat.shape == (64, 96) and np.isfinite(item.heat).all()
        assert item.heat.min() >= 0 and item.heat.max() <= 1
    assert any(item.heat.max() > 0.5 for item in maps)


def test_wrong_layer_way_and_method_are_refused(tiny_encoder, pictures):
    model = PANet(tiny_encoder())
    with pytest.raises(PANetError, match="layer='conv9'.*valid layers: .*stage0, stage1, stage2, stage3"):
        grad_cam(model, *pictures, layer="conv9")
    with pytest.raises(PANetError, match="way=2; expected a number from 1 to 1"):
        grad_cam(model, *pictures, way=2)
    with pytest.raises(PANetError, match="method='lime'"):
        grad_cam(model, *pictures, method="lime")


def test_another_layer_and_the_second_way(tiny_encoder, pictures):
    images, masks, query = pictures
    maps = grad_cam(
        PANet(tiny_encoder(), decoder="unet"),
        [images[:1], images[1:]],
        [masks[:1], masks[1:]],
        query,
        way=2,
        layer="stage2",
        size=(64, 64),
    )
    assert len(maps) == 2
    np.testing.assert_array_equal(maps[1].image, images[1])


def test_maps_are_drawn_at_their_own_size_with_a_scale():
    from panet_keras.pictures.heat import colour_scale, draw_maps

    rng = np.random.default_rng(0)
    first, second = (rng.integers(0, 256, size, np.uint8) for size in ((64, 96, 3), (40, 30, 3)))
    heat = np.zeros((40, 30), np.float32)
    heat[10:20, 10:20] = 1
    drawn = draw_maps([(first, np.zeros((64, 96), np.float32)), (second, heat)])
    scale = colour_scale(64)
    assert drawn.shape == (64, 96 + 6 + 30 + 6 + scale.shape[1], 3)
    np.testing.assert_array_equal(drawn[:, :96], first)
    assert (drawn[40:, 102:132] == 255).all() and not (drawn[:40, 102:132] == second).all()
    # Red at 1, blue at 0, and numbers beside the bar.
    np.testing.assert_array_equal(scale[[0, -1], 0], [[127, 0, 0], [0, 0, 127]])
    assert [
        bool((scale[rows, 16:] < 128).any()) for rows in (slice(0, 16), slice(24, 40), slice(48, 64))
    ] == [True] * 3


def test_looking_does_not_warn(tiny_encoder, pictures):
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)
        grad_cam(PANet(tiny_encoder()), *pictures, size=(32, 32))
