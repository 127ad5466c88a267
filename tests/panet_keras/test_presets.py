import json

import keras
import numpy as np
import pytest

from panet_keras import FewShotSegmenter, PANet, PANetError, presets
from panet_keras.heads import Head


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    model = PANet(
        "efficientnet_lite0",
        weights=None,
        decoder="unet",
        prototype="local",
        align_weight=0.5,
        contrast_elsewhere=False,
        temperature=1.5,
    )
    path = tmp_path_factory.mktemp("presets") / "mine"
    presets.write(model, path, (64, 96), 0.25, {"licence": "none"})
    return path, model


def test_a_preset_gives_the_model_back(folder, episode):
    path, model = folder
    loaded = PANet.from_preset(path)
    assert loaded.get_config() | {"name": ""} == model.get_config() | {"name": ""}
    inputs, _ = episode(1, 1, 1)
    np.testing.assert_allclose(loaded(inputs), model(inputs), atol=0.02)  # half precision
    segmenter = FewShotSegmenter(path, mirror=True)
    assert (segmenter.size, segmenter.presence_threshold, segmenter.mirror) == ((64, 96), 0.25, True)
    with pytest.raises(FileExistsError, match="mine exists"):
        presets.write(model, path, (64, 64))


def test_an_unknown_preset_or_foreign_weights_are_refused(folder, tmp_path):
    path, _ = folder
    with pytest.raises(PANetError, match=r"preset 'bus_uclm_lite9' is unknown; expected one of \["):
        PANet.from_preset("bus_uclm_lite9")
    (tmp_path / "saved_model.pb").touch()
    with pytest.raises(PANetError, match="is a SavedModel, which a server takes; expected the preset or"):
        PANet.from_preset(tmp_path)
    (tmp_path / "preset.json").write_text(
        (path / "preset.json").read_text().replace('"local"', '"attention"')
    )
    (tmp_path / "weights.npz").write_bytes((path / "weights.npz").read_bytes())
    with pytest.raises(PANetError, match="weights.npz: .* missing or of another shape"):
        PANet.from_preset(tmp_path)


def test_the_shipped_preset_is_small_licensed_and_used_where_no_model_is_named(phantom):
    folder = presets.FOLDER / presets.DEFAULT
    assert presets.names() == ["bus_multi_lite0", "bus_multi_lite2", "bus_uclm_lite0"]
    assert presets.DEFAULT == "bus_multi_lite0"
    for name in presets.names():
        assert sum(file.stat().st_size for file in (presets.FOLDER / name).iterdir()) < 12e6
        card = (presets.FOLDER / name / "README.md").read_text("utf-8")
        for part in (
            "CC BY-NC 4.0",
            "Not a medical device",
            "python -m benchmarks.preset",
            "Limits",
            "95 % interval",
        ):
            assert part in card
    image, mask, query = (
        f"{phantom}/{name}" for name in ("images/PHAA_000.png", "masks/PHAA_000.png", "images/PHAC_001.png")
    )
    segmenter = FewShotSegmenter()
    preset = json.loads((folder / "preset.json").read_text("utf-8"))
    assert segmenter.size == (256, 256) and segmenter.presence_threshold == preset["presence_threshold"] > 0
    answer = segmenter.set_support([image], [mask]).predict(query)
    assert answer.mask.shape == answer.probability.shape == (96, 128)
    # The support decides: with its mask in a corner of its frame the probability falls.
    corner = np.zeros((96, 128), bool)
    corner[:12, :12] = True
    moved = segmenter.set_support([image], [corner]).predict(query)
    assert moved.probability.max() < answer.probability.max()


def test_an_encoder_of_a_known_name_is_not_taken_for_ours(tiny_encoder, episode, tmp_path):
    """`keras.applications` has these names, too; and a number too large for half precision is kept."""
    import keras

    tiny = tiny_encoder()
    model = PANet(keras.Model(tiny.inputs, tiny.outputs, name="efficientnet_lite0"), decoder="unet")
    model.encoder.get_layer("stage0").bias.assign([1e5] * 4 + [0.1] * 4)
    presets.write(model, tmp_path / "foreign", (32, 32))
    loaded = PANet.from_preset(tmp_path / "foreign")
    assert [layer.name for layer in loaded.encoder.layers[1:]] == [f"stage{n}" for n in range(4)]
    np.testing.assert_array_equal(loaded.encoder.get_layer("stage0").bias, np.float32([1e5] * 4 + [0.1] * 4))


@keras.saving.register_keras_serializable("tests")
class Unnamed(Head):
    """Layers as a Keras user writes them: without a name, which Keras numbers anew, and two of one name."""

    def build(self, input_shape):
        dense = keras.layers.Dense
        self.parts = [
            dense(2, kernel_initializer="normal", name=name) for name in (None, None, "same", "same")
        ]
        for part in self.parts:
            part.build((None, input_shape[-1][-1]))
        self.built = True


def test_a_preset_of_layers_without_names_of_their_own_has_every_weight(tiny_encoder, tmp_path):
    model = PANet(tiny_encoder(), decoder=Unnamed())
    presets.write(model, tmp_path / "mine", (64, 64))
    loaded = PANet.from_preset(tmp_path / "mine")
    for weight, again in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_allclose(again, weight, atol=1e-3)


def test_an_encoder_that_normalises_by_its_weights_does_so_in_presets_and_copies(
    tiny_encoder, episode, tmp_path
):
    """`keras.layers.Normalization`, as `keras.applications.EfficientNetB0` has it, computes with constants that it
    made of its weights."""
    normalise, images = keras.layers.Normalization(), keras.Input((None, None, 3))
    normalise.build((None, None, None, 3))
    normalise.adapt(np.linspace(0, 0.2, 48, dtype="float32").reshape(1, 4, 4, 3))
    inner = keras.Model(images, normalise(images), name="inner")
    model = PANet(keras.Model(images, tiny_encoder()(inner(images))), decoder="unet")
    presets.write(model, tmp_path / "mine", (64, 64))
    loaded, copy = PANet.from_preset(tmp_path / "mine"), PANet.from_config(model.get_config())
    copy.set_weights(model.get_weights())
    inputs, _ = episode()
    for same in (loaded, copy):
        np.testing.assert_allclose(same(inputs), model(inputs), atol=0.02)
