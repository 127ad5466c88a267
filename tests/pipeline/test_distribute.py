"""One and two logical devices give the same loss curve."""

import json

import pytest

CODE = """
import json, sys, warnings
warnings.simplefilter("ignore")
import keras
from panet_keras import PANet, Recipe, data, training
from pipeline.components.trainer import strategy_of
devices, folder, path = int(sys.argv[1]), sys.argv[2], sys.argv[3]

def build(recipe):
    x = images = keras.Input((None, None, 3))
    outputs = []
    for stage in range(3):
        x = keras.layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(x)
        outputs.append(x)
    network = PANet(keras.Model(images, outputs), decoder="unet", contrast_weight=0.0)
    # Keras clips gradients on each replica, before they are summed: with clipnorm two devices are not one.
    network.compile(keras.optimizers.SGD(0.05))
    return network

records = [r for r in data.load_bus_uclm(path) if r.patient != "PHAB"]
recipe = Recipe().change(size=32, steps=6, steps_per_epoch=2, batch_size=2, augment=False, pasted_lesions=0.0, invented_lesions=0.0,
                         normal_queries=0.0)
strategy = strategy_of({"recipe": recipe.as_dict(), "strategy": "mirrored" if devices > 1 else "", "devices": devices})
if devices == 1:
    # Under a strategy Keras looks at a batch before it begins, and so begins with the second pass.
    module = sys.modules["panet_keras.training.loop"]
    given = module.episodes
    module.episodes = lambda *arguments, first_epoch, **options: given(*arguments, first_epoch=1, **options)
model, history = training.train(records, recipe, folder, strategy, build)
assert model.distribute_strategy.num_replicas_in_sync == devices
print(json.dumps([[row["loss"], row["align_loss"], row["dice"]] for row in history]))
"""


@pytest.mark.slow
def test_two_devices_learn_as_one(phantom, tmp_path, python):
    import numpy as np

    curves = [
        json.loads(python(CODE, count, tmp_path / str(count), phantom).stdout.splitlines()[-1])
        for count in (1, 2)
    ]
    np.testing.assert_allclose(*curves, rtol=1e-4)
    assert curves[0][0][0] > curves[0][-1][0]
