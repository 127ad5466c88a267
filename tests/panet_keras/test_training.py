import dataclasses

import numpy as np
import pytest

from panet_keras import PANet, PANetError, Recipe, presets, train
from panet_keras.training import BUS_MULTI, BUS_UCLM, checkpoints

SHORT = {"size": 32, "steps": 4, "steps_per_epoch": 2, "superpixel_episodes": 0.0, "start_from": ""}


@pytest.mark.slow
def test_ten_lines_remake_a_preset_s_training(records, tiny_encoder):
    """The shipped recipe is an object that one can print and change; here only shorter, with a small
    encoder."""
    print(BUS_UCLM)
    recipe = BUS_UCLM.change(**SHORT, encoder=tiny_encoder())
    model, curve = train(records, recipe)
    assert [row["step"] for row in curve] == [2, 4] and all(np.isfinite(row["loss"]) for row in curve)
    assert model.contrast_elsewhere is False and model.decoder.prior_masks
    assert int(model.optimizer.iterations) == 4


def test_a_change_finds_its_field_and_leaves_the_recipe_alone():
    changed = BUS_UCLM.change(steps=300, shots=5, refine=True)
    assert (changed.steps, changed.episodes.shots, changed.model["refine"]) == (300, 5, True)
    assert (BUS_UCLM.steps, BUS_UCLM.episodes.shots) == (1800, 1) and "refine" not in BUS_UCLM.model
    for recipe in (BUS_UCLM, BUS_MULTI, changed):
        assert Recipe.from_dict(recipe.as_dict()) == recipe
    # Regions first, lesions last.
    shares = BUS_UCLM.superpixel_shares
    assert (
        len(shares) == 18
        and shares[0] == 0.4
        and shares[-1] == pytest.approx(0.04)
        and sorted(shares, reverse=True) == list(shares)
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps=0; expected an integer of at least 1"),
        ({"learning_rate": -1.0}, "learning_rate=-1.0; expected a number above 0"),
        ({"warmup": 2.0}, "warmup=2.0; expected a share from 0 to 1"),
        ({"normal_queries": 2.0}, "normal_queries=2.0; expected a probability"),
    ],
)
def test_a_recipe_refuses_what_cannot_be(change, message):
    with pytest.raises(PANetError, match=message):
        Recipe().change(**change)


@pytest.mark.slow
def test_a_training_of_several_hospitals(records, tiny_encoder):
    """The recipe of `bus_multi_lite0`: two hospitals, steps of several layouts, mirrored normals."""
    hospitals = [
        dataclasses.replace(r, source=source, filename=f"{source}/{r.filename}")
        for r in records
        for source in ("north", "south")
    ]
    recipe = BUS_MULTI.change(**SHORT, encoder=tiny_encoder())
    recipe = dataclasses.replace(
        recipe, layouts=tuple(dataclasses.replace(x, shots=1, episodes=2) for x in recipe.layouts)
    )
    model, curve = train(hospitals, recipe)
    assert len(curve) == 2 and model.decoder.normal_evidence


def test_a_model_begins_from_a_preset_and_reads_new_evidence_from_zero(episode):
    model = PANet("efficientnet_lite0", weights=None, decoder="unet", normal_evidence=True, temperature=1.8)
    presets.transfer(model, "bus_uclm_lite0")
    kernel = next(v for v in model.variables if v.path == "decoder/first1/kernel").numpy()
    assert not kernel[:, :, 35:37].any() and np.abs(kernel[:, :, :35]).min() > 0
    inputs, _ = episode(1, 2, 1)
    np.testing.assert_allclose(model(inputs), PANet.from_preset("bus_uclm_lite0")(inputs), atol=1e-4)
    with pytest.raises(PANetError, match="no weights for .*; expected a preset of the same encoder and head"):
        presets.transfer(PANet("vgg16", weights=None), "bus_uclm_lite0")


def test_a_folder_holds_one_training(records, tiny_encoder, tmp_path):
    """The next fold, another seed or a corrected mask must not be given the weights of the training before."""
    recipe = Recipe().change(encoder=tiny_encoder(), superpixel_episodes=[0.5, 0.25], seed=np.int64(1))
    checkpoints.claim(tmp_path, records, recipe.for_data(records))
    (tmp_path / "epoch-1.weights.h5").touch()
    checkpoints.claim(tmp_path, records, recipe.for_data(records))
    corrected = [dataclasses.replace(records[0], masks=(b"another",)), *records[1:]]
    for other, changed, named in (
        (records, recipe.change(seed=np.int64(2)), "recipe.seed differ"),
        (records[:-1], recipe.change(shots=2), "recipe.episodes, records differ"),
        (corrected, recipe, "records differ"),
    ):
        with pytest.raises(PANetError, match=f"checkpoint of another training; {named}.*work_dir of its own"):
            train(other, changed, tmp_path)
