"""Meta-learning after the training: made-up scanners, and weights that go a part of the way to those of each round."""

import numpy as np
import pytest

from panet_keras import PANet, PANetError
from panet_keras.data.episodic.scanner import Scanner
from panet_keras.training import Reptile, train_to_adapt


def test_a_scanner_shows_all_its_frames_alike_and_masks_move_with_them():
    image, mask = np.full((48, 64, 3), 0.2, np.float32), np.zeros((48, 64), np.uint8)
    image[20:30, 20:40], mask[20:30, 20:40] = 0.9, 1
    plain = Scanner(gamma=0, depth_gain=0, blur=0, noise=0, inverted=0, zoom=0.3)
    for seed in range(5):
        shown, moved = Scanner(noise=0)(
            np.stack([image] * 2), np.stack([mask] * 2), np.random.default_rng(seed)
        )
        np.testing.assert_array_equal(shown[0], shown[1])
        assert shown.dtype == np.float32 and 0 <= shown.min() and shown.max() <= 1
        assert np.abs(shown[0] - image).max() > 0.02
        shown, moved = plain(image[None], mask[None], np.random.default_rng(seed))
        differ = (shown[0, ..., 0] > 0.55) != (moved[0] > 0)
        assert differ.mean() < 0.02 and moved.sum() != mask.sum()
    # Another polarity, and nothing else.
    negative = Scanner(gamma=0, depth_gain=0, blur=0, noise=0, inverted=1, zoom=0)
    np.testing.assert_allclose(
        negative(image[None], mask[None], np.random.default_rng(0))[0][0], 1 - image, atol=1e-6
    )
    # A lesion at the rim is not lost.
    corner = np.zeros_like(mask)
    corner[:2, :2] = 1
    for seed in range(8):
        assert plain(image[None], corner[None], np.random.default_rng(seed))[1].any()


@pytest.mark.slow
def test_rounds_move_the_weights_and_a_run_that_was_cut_off_goes_on(
    records, tiny_encoder, tmp_path, monkeypatch
):
    from panet_keras.training import reptile as module

    model = PANet(tiny_encoder(), decoder="unet", normal_evidence=True)
    start = model.get_weights()
    settings = Reptile(rounds=3, steps=2, lesions=4, normals=2)
    monkeypatch.setattr(module, "KEPT", 2)

    def again(folder, progress=None):
        model.set_weights(start)
        return train_to_adapt(model, records, 32, settings, folder, progress).get_weights()

    whole = again(tmp_path / "whole")
    assert all(np.isfinite(weight).all() for weight in whole)
    assert max(np.abs(one - other).max() for one, other in zip(whole, start)) > 1e-4

    def interrupted(done, rounds):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        again(tmp_path / "cut", interrupted)
    assert [file.name for file in (tmp_path / "cut").glob("*.h5")] == ["epoch-2.weights.h5"]
    for one, other in zip(again(tmp_path / "cut"), whole):
        np.testing.assert_allclose(one, other, atol=1e-5)

    settings = Reptile(rounds=3, steps=1, lesions=4, normals=2)
    with pytest.raises(PANetError, match="another training; recipe.steps differ"):
        again(tmp_path / "whole")
    with pytest.raises(PANetError, match="rounds=0"):
        Reptile(rounds=0)
