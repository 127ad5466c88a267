"""Trainer: episodes, model.fit, and an export."""

import inspect
import json
import pathlib
import time

from pipeline.orchestration.annotations import InputArtifact, OutputArtifact, Parameter, WorkDir, component
from pipeline.orchestration.artifacts import Examples, Model


@component
def Trainer(
    examples: InputArtifact[Examples],
    settings: Parameter[dict],
    work_dir: WorkDir,
    model: OutputArtifact[Model],
):
    """Trains `PANet` on the train split and writes it as SavedModel and as `.keras`.

    Args:
        examples: input.
        settings: fields of `pipeline.config.Trainer`.
        work_dir: checkpoints; an interrupted training goes on from the last finished epoch.
        model: output.
    """
    from panet_keras import export_saved_model
    from panet_keras.data import read_examples

    size = (settings["size"], settings["size"])
    network, history = train(read_examples(examples.split("train")), settings, work_dir)
    model.keras.parent.mkdir(parents=True)
    network.save(model.keras)
    export_saved_model(network, model.serving, size)
    model.history.write_text(json.dumps(history, indent=1), "utf-8")
    steps = history[-1]["step"]
    model.properties |= {"steps": steps, "train_dice": history[-1]["dice"], "encoder": settings["encoder"]}
    return {"summary": f"{steps} steps, loss {history[-1]['loss']:.3f}, train Dice {history[-1]['dice']:.3f}"}


def build(settings, rate):
    """The compiled model of the settings."""
    from panet_keras import PANet, PretrainedAdamW

    network = PANet(**{name: settings[name] for name in inspect.signature(PANet).parameters if name in settings})
    network.compile(optimizer=PretrainedAdamW(rate, weight_decay=settings["weight_decay"], clipnorm=1.0))
    return network


def train(records, settings, work_dir, build=build):
    """Fits a `PANet` to records; called again with the same folder, it goes on from its last finished epoch.

    Args:
        records: of `Record`.
        settings: fields of `pipeline.config.Trainer`.
        work_dir: folder for the checkpoint and the training curve.
        build: function of (settings, learning rate schedule) to a compiled model.

    Returns:
        The model, and the curve: a list of dictionaries, one for each epoch.
    """
    import keras

    from panet_keras.data import episodes
    from panet_keras.training import checkpoints

    work_dir = pathlib.Path(work_dir)
    work_dir.mkdir(parents=True, exist_ok=True)
    strategy = strategy_of(settings)
    keras.utils.set_random_seed(settings["seed"])
    epoch_steps = min(settings["steps_per_epoch"], settings["steps"])
    epochs = -(-settings["steps"] // epoch_steps)
    finished, weights = checkpoints.newest(work_dir)
    plantable = any(record.label == "Normal" for record in records)
    if not plantable:
        print("      no frame without lesion: none is planted with another lesion, and no query is one", flush=True)
    # As the learning rate falls: what is learned last is what is asked for.
    shares = [settings["superpixel_episodes"] * (1 - 0.9 * epoch / max(1, epochs - 1)) for epoch in range(epochs)]
    dataset = episodes(
        records,
        ways=settings["ways"],
        shots=settings["shots"],
        queries=settings["queries"],
        batch_size=settings["batch_size"],
        size=(settings["size"], settings["size"]),
        steps=epoch_steps,
        seed=settings["seed"],
        normal_queries=settings["normal_queries"],
        superpixel_episodes=shares,
        pasted_lesions=settings["pasted_lesions"] * plantable,
        invented_lesions=settings["invented_lesions"] * plantable,
        balanced=settings["balanced"],
        augment=settings["augment"],
        first_epoch=finished,
    )
    warmup = max(1, settings["steps"] // 20)
    rate = keras.optimizers.schedules.CosineDecay(
        settings["learning_rate"] / 20,
        max(1, settings["steps"] - warmup),
        0.01,
        warmup_target=settings["learning_rate"],
        warmup_steps=warmup,
    )
    with strategy.scope():
        network = build(settings, rate)
        if weights:
            # An optimizer without variables would take none from the file.
            if not network.optimizer.built:
                network.optimizer.build(network.trainable_variables)
            network.load_weights(weights)
    curve = checkpoints.Curve(work_dir, finished)

    def end_epoch(epoch, logs):
        row = {"epoch": epoch, "step": (epoch + 1) * epoch_steps, "time": time.time()}
        curve.add(row | {name: float(value) for name, value in logs.items()})
        checkpoints.keep(work_dir, network, epoch + 1)
        shown = ", ".join(f"{name} {value:.3f}" for name, value in logs.items())
        print(f"      step {row['step']}/{epochs * epoch_steps}: {shown}", flush=True)

    callback = keras.callbacks.LambdaCallback(on_epoch_end=end_epoch)
    network.fit(dataset, initial_epoch=finished, epochs=epochs, callbacks=[callback], verbose=0)
    return network, curve.rows


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
    if settings["batch_size"] % strategy.num_replicas_in_sync:
        raise ConfigError(
            f"trainer.batch_size is {settings['batch_size']}; expected a multiple of the {strategy.num_replicas_in_sync} replicas."
        )
    return strategy
