"""From records and a recipe to a trained model; what README, pipeline, presets and benchmarks call."""

import pathlib
import tempfile
import time

import keras
import tensorflow as tf

from panet_keras import presets
from panet_keras.data import episodes
from panet_keras.losses import CrossEntropyDice
from panet_keras.model import PANet
from panet_keras.optimizers import PretrainedAdamW
from panet_keras.recipes.recipe import Recipe
from panet_keras.training import checkpoints


def build(recipe):
    """The compiled model of a recipe."""
    model = PANet(**recipe.model)
    if recipe.start_from:
        presets.transfer(model, recipe.start_from)
    model.compile(optimizer=optimizer(recipe), loss=CrossEntropyDice(**recipe.loss))
    return model


def optimizer(recipe):
    """`PretrainedAdamW` with the recipe's schedule."""
    warmup = max(1, round(recipe.steps * recipe.warmup))
    rate = keras.optimizers.schedules.CosineDecay(
        recipe.learning_rate / 20,
        max(1, recipe.steps - warmup),
        0.01,
        warmup_target=recipe.learning_rate,
        warmup_steps=warmup,
    )
    return PretrainedAdamW(rate, weight_decay=recipe.weight_decay, clipnorm=recipe.clipnorm)


def train(records, recipe=None, work_dir=None, strategy=None, build=build, progress=None):
    """Fits a `PANet` to records; called again with the same folder, it goes on from its last finished epoch.

    Args:
        records: of `Record`.
        recipe: `Recipe`; its defaults without one.
        work_dir: folder for the checkpoint and the training curve, of this training alone; a temporary one
            without it.
        strategy: `tf.distribute.Strategy`, or None.
        build: function of the recipe to a compiled model, for models that are no `PANet`.
        progress: function of (steps done, steps in all, dictionary of metrics), called after each epoch.

    Returns:
        The model, and the curve: a list of dictionaries, one for each epoch.

    Raises:
        PANetError: records of which no episode can be drawn, a recipe that does not fit them, or a `work_dir` with
            the checkpoint of other records or of another recipe.

    Example: a look at the preset's training.

    >>> from panet_keras import train
    >>> from panet_keras.training import BUS_UCLM
    >>> recipe = BUS_UCLM.change(steps=300, size=128)
    >>> recipe.episodes.size, recipe.epochs
    ((128, 128), 3)
    """
    records = list(records)  # a generator is empty the second time
    recipe = (recipe or Recipe()).for_data(records)
    if work_dir is None:
        with tempfile.TemporaryDirectory() as folder:
            return train(records, recipe, folder, strategy, build, progress)
    work_dir = pathlib.Path(work_dir)
    work_dir.mkdir(parents=True, exist_ok=True)
    checkpoints.claim(work_dir, records, recipe)
    keras.utils.set_random_seed(recipe.seed)
    finished, weights = checkpoints.newest(work_dir)
    dataset = episodes(
        records,
        recipe.episodes,
        batch_size=recipe.batch_size,
        layouts=recipe.layouts,
        steps=recipe.epoch_steps,
        seed=recipe.seed,
        frozen=recipe.frozen_episodes,
        first_epoch=finished,
        superpixel_episodes=recipe.superpixel_shares,
    )
    with (strategy or tf.distribute.get_strategy()).scope():
        model = build(recipe)
        if weights:
            # An optimizer without variables would take none from the file.
            if not model.optimizer.built:
                model.optimizer.build(model.trainable_variables)
            model.load_weights(weights)
    curve = checkpoints.Curve(work_dir, finished)

    def end_epoch(epoch, logs):
        steps = (epoch + 1) * recipe.epoch_steps
        values = {name: float(value) for name, value in logs.items()}
        curve.add({"epoch": epoch, "step": steps, "time": time.time()} | values)
        checkpoints.keep(work_dir, model, epoch + 1)
        if progress:
            progress(steps, recipe.epochs * recipe.epoch_steps, values)

    callback = keras.callbacks.LambdaCallback(on_epoch_end=end_epoch)
    model.fit(dataset, initial_epoch=finished, epochs=recipe.epochs, callbacks=[callback], verbose=0)
    return model, curve.rows
