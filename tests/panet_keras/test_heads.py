"""A head that nobody here knows: registered in this file, it trains, saves, exports, is served and
explained."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from panet_keras import FewShotSegmenter, PANet, export_saved_model, grad_cam, presets
from panet_keras.heads import Head
from panet_keras.layers.prototypes import mean_prototypes
from panet_keras.layers.similarity import cosine
from serving.models.model_manager import ModelManager


@keras.saving.register_keras_serializable(package="made_up")
class SharpHead(Head):
    """Cosines to the mean prototypes of the finest scale, times one learned number."""

    contrast_weight = 0.1

    def __init__(self, sharpness=5.0, **kwargs):
        super().__init__(**kwargs)
        self.sharpness = sharpness

    def build(self, input_shape):
        self.factor = self.add_weight(
            name="factor", shape=(), initializer=keras.initializers.Constant(self.sharpness)
        )
        self.built = True

    def encode_support(self, features, support_masks):
        return {"prototypes": mean_prototypes(features[0], support_masks)}

    def segment(self, features, state, size):
        maps = self.factor * cosine(features[0], state["prototypes"])
        shape = tf.shape(maps)
        flat = tf.image.resize(tf.reshape(maps, tf.concat([[-1], shape[2:]], 0)), size)
        return tf.reshape(flat, tf.concat([shape[:2], size, shape[4:]], 0))

    def get_config(self):
        return {**super().get_config(), "sharpness": self.sharpness}


@pytest.mark.slow
def test_a_made_up_head_is_used_everywhere(tiny_encoder, episode, tmp_path):
    model = PANet(tiny_encoder(), decoder="made_up>SharpHead", sharpness=3.0)
    assert model.contrast_weight == 0.1 and model.decoder.sharpness == 3.0
    inputs, labels = episode(batch=2)
    model.compile()
    history = model.fit(tf.data.Dataset.from_tensors((inputs, labels)), epochs=2, verbose=0).history
    assert {"loss", "align_loss", "contrast_loss", "dice"} <= set(history)
    assert float(model.decoder.factor) != 3.0
    logits = model(inputs).numpy()

    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "model.keras")(inputs), logits)
    presets.write(model, tmp_path / "preset", (64, 64))
    np.testing.assert_allclose(
        PANet.from_preset(tmp_path / "preset")(inputs), logits, atol=0.02
    )  # half precision

    export_saved_model(model, tmp_path / "served" / "1", (64, 64))
    manager = ModelManager("made_up", tmp_path / "served", 0)
    manager.refresh()
    with manager.lease(None) as version:
        served = version.signatures["serving_default"](
            **{name: tf.constant(value) for name, value in inputs.items()}
        )
    np.testing.assert_allclose(served["probabilities"], tf.nn.softmax(logits), atol=1e-5)

    image, mask = (np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)), np.zeros((64, 64), bool)
    mask[10:30, 10:40] = True
    maps = grad_cam(model, [image], [mask], image, size=(64, 64))
    assert [item.role for item in maps] == ["query", "support"]
    assert FewShotSegmenter(model, (64, 64)).set_support([image], [mask]).predict(image).mask.shape == (
        64,
        64,
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"decoder": "u-net"}, "decoder='u-net'; expected one of .'bilinear', 'unet'."),
        (
            {"decoder": "bilinear", "prior_masks": False},
            "has no switch 'prior_masks'; it has .'prototype', 'refine'.",
        ),
        ({"decoder": SharpHead(), "sharpness": 2.0}, "'sharpness'. came beside a SharpHead"),
        ({"decoder": "unet", "prototype": "median"}, "prototype='median'; expected one of"),
    ],
)
def test_unknown_heads_and_switches_are_refused(tiny_encoder, arguments, message):
    with pytest.raises(ValueError, match=message):
        PANet(tiny_encoder(), **arguments)


def test_every_switch_survives_a_preset(tmp_path):
    """All away from their defaults, found by their defaults: a new switch is in this test by being there."""
    import inspect

    from panet_keras import heads

    away = {
        str: lambda d: {"mean": "local", "bilinear": "unet"}.get(d),
        bool: lambda d: not d,
        float: lambda d: d * 0.5,
        int: lambda d: d * 2,
    }
    own = {
        p.name: p.default
        for p in inspect.signature(PANet.__init__).parameters.values()
        if p.default is not p.empty
    }
    skipped = {"encoder", "weights", "decoder", "name", "dtype", "trainable", "contrast_weight"}
    changed = {
        n: away[type(d)](d) for n, d in {**own, **heads.switches(heads.UNetHead)}.items() if n not in skipped
    }
    model = PANet("efficientnet_lite0", weights=None, decoder="unet", contrast_weight=0.7, **changed)
    presets.write(model, tmp_path / "away", (64, 64))
    loaded = PANet.from_preset(tmp_path / "away")
    for name, value in changed.items():
        assert getattr(loaded if name in own else loaded.decoder, name) == value, name
    assert loaded.contrast_weight == 0.7
