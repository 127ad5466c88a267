"""Trainer: `panet_keras.train` on the train split, and an export."""

import json
import logging

from pipeline.orchestration.annotations import (
    InputArtifact,
    InputPath,
    OutputArtifact,
    Parameter,
    WorkDir,
    component,
)
from pipeline.orchestration.artifacts import Examples, Model

LOG = logging.getLogger(__name__)


@component
def Trainer(
    examples: InputArtifact[Examples],
    settings: Parameter[dict],
    work_dir: WorkDir,
    model: OutputArtifact[Model],
    weights: InputPath = (),
):
    """Trains `PANet` on the train split and writes it as SavedModel and as `.keras`.

    Args:
        examples: input.
        settings: fields of `pipeline.config.Trainer`.
        work_dir: checkpoints; an interrupted training goes on from the last finished epoch.
        model: output.
        weights: what the recipe's training begins from, a tuple of paths, for the cache: the recipe names them.
    """
    from panet_keras import export_saved_model, train
    from panet_keras.data import read_examples
    from panet_keras.training import Recipe

    asked, records = Recipe.from_dict(settings["recipe"]), read_examples(examples.split("train"))
    recipe = asked.for_data(records)
    if recipe != asked:
        LOG.info("      no frame without lesion: none is planted with another lesion")
    network, history = train(records, recipe, work_dir, strategy_of(settings), progress=_progress)
    model.keras.parent.mkdir(parents=True)
    network.save(model.keras)
    export_saved_model(network, model.serving, recipe.episodes.size)
    model.history.write_text(json.dumps(history, indent=1), "utf-8")
    steps = history[-1]["step"]
    model.properties |= {"steps": steps, "train_dice": history[-1]["dice"], "encoder": network.encoder.name}
    return {"summary": f"{steps} steps, loss {history[-1]['loss']:.3f}, train Dice {history[-1]['dice']:.3f}"}


def _progress(done, total, metrics):
    shown = ", ".join(f"{name} {value:.3f}" for name, value in metrics.items())
    LOG.info("      step %d/%d: %s", done, total, shown)


def strategy_of(settings):
    """The tf.distribute strategy of the settings.

    Raises:
        ConfigError: an unknown name, or a batch that the replicas cannot share evenly.
    """
    import tensorflow as tf

    from pipeline.errors import ConfigError

    name = settings["strategy"]
    if not name:
        return tf.distribute.get_strategy()
    if name not in ("mirrored", "multi_worker"):
        raise ConfigError(f"trainer.strategy is {name!r}; expected '', 'mirrored' or 'multi_worker'.")
    if name == "multi_worker":
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    else:
        if not tf.config.list_physical_devices("GPU") and settings["devices"] > 1:
            [processor] = tf.config.list_physical_devices("CPU")
            wanted = [tf.config.LogicalDeviceConfiguration()] * settings["devices"]
            if len(tf.config.get_logical_device_configuration(processor) or ()) != len(wanted):
                try:
                    tf.config.set_logical_device_configuration(processor, wanted)
                except RuntimeError:
                    raise ConfigError(
                        f"trainer.devices={settings['devices']}: TensorFlow has started already in this process; run the pipeline in a fresh one."
                    ) from None
        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        strategy = tf.distribute.MirroredStrategy([device.name for device in devices])
    if settings["recipe"]["batch_size"] % strategy.num_replicas_in_sync:
        raise ConfigError(
            f"trainer.batch_size is {settings['recipe']['batch_size']}; expected a multiple of the {strategy.num_replicas_in_sync} replicas."
        )
    return strategy
