import numpy as np
import pytest

from panet_keras import PANet, PANetError, grad_cam


@pytest.fixture
def pictures():
    rng = np.random.default_rng(0)
    masks = np.zeros((2, 64, 96), bool)
    masks[:, 20:40, 30:60] = True
    return list(rng.integers(0, 256, (2, 64, 96, 3), np.uint8)), list(masks), rng.integers(0, 256, (64, 96, 3), np.uint8)


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
