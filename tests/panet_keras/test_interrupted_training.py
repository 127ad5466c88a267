"""An interrupted training ends as if nothing had happened."""

import keras
import numpy as np
import pytest

from panet_keras import Recipe, train

TRAIN = """
import os, signal, sys
import keras
from panet_keras import PANet
from panet_keras.data import load_bus_uclm
from tests.panet_keras.test_interrupted_training import training

data, folder, kill = sys.argv[1:4]
def die():
    os.kill(os.getpid(), signal.SIGKILL)
if kill == "in an epoch":
    class Dies(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.epoch = epoch
        def on_train_batch_end(self, batch, logs=None):
            if (self.epoch, batch) == (3, 1):
                die()
    fit = PANet.fit
    PANet.fit = lambda self, *a, callbacks, **k: fit(self, *a, callbacks=[*callbacks, Dies()], **k)
elif kill == "in a checkpoint":
    save = PANet.save_weights
    def half(self, file):
        save(self, file)
        if int(self.optimizer.iterations) == 12:
            os.truncate(file, os.path.getsize(file) // 2)
            die()
    PANet.save_weights = half
training([r for r in load_bus_uclm(data) if r.patient != "PHAB"], folder)
"""


def training(records, folder):
    keras.utils.set_random_seed(0)
    x = images = keras.Input((None, None, 3))
    maps = [
        x := keras.layers.Conv2D(8, 3, 2, "same", activation="relu", name=f"stage{i}")(x) for i in range(4)
    ]
    # The head that is traced fastest, in five processes.
    recipe = Recipe().change(encoder=keras.Model(images, maps), decoder="bilinear", contrast_weight=0.0)
    recipe = recipe.change(size=32, batch_size=1, steps=15, steps_per_epoch=3)
    model, history = train(
        records, recipe, folder, progress=lambda done, total, _: print(f"step {done}/{total}")
    )
    np.savez(f"{folder}/end.npz", *model.get_weights(), *[v.numpy() for v in model.optimizer.variables])
    print([row["epoch"] for row in history], int(model.optimizer.iterations))


@pytest.mark.slow
def test_a_killed_training_goes_on_and_gives_the_same_weights(phantom, records, tmp_path, python, capsys):
    (tmp_path / "whole").mkdir()
    training(records, tmp_path / "whole")
    whole = capsys.readouterr().out.splitlines()[-1]
    for kill in ("in an epoch", "in a checkpoint"):
        (tmp_path / kill).mkdir()
        assert python(TRAIN, phantom, tmp_path / kill, kill, check=False).returncode == -9
        resumed = python(TRAIN, phantom, tmp_path / kill, "never")
        assert resumed.stdout.splitlines()[-1] == whole == "[0, 1, 2, 3, 4] 15"
        assert "step 9/15" not in resumed.stdout and "step 12/15" in resumed.stdout
        with np.load(tmp_path / "whole" / "end.npz") as first, np.load(tmp_path / kill / "end.npz") as second:
            assert first.files == second.files
            for key in first.files:
                np.testing.assert_array_equal(first[key], second[key])
