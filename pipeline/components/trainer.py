"""Trainer: episodes, model.fit, and an export."""

import json
import pathlib

from pipeline.artifacts import Examples, Model
from pipeline.component import InputArtifact, OutputArtifact, Parameter, WorkDir, component


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
    import keras

    from panet_keras import PANet, PretrainedAdamW, export_saved_model
    from panet_keras.data import episodes, read_examples

    keras.utils.set_random_seed(settings["seed"])
    size = (settings["size"], settings["size"])
    epoch_steps = min(settings["steps_per_epoch"], settings["steps"])
    epochs = -(-settings["steps"] // epoch_steps)
    done = _finished_epochs(work_dir)
    dataset = episodes(
        read_examples(examples.split("train")),
        ways=settings["ways"],
        shots=settings["shots"],
        queries=settings["queries"],
        batch_size=settings["batch_size"],
        size=size,
        steps=epoch_steps,
        seed=settings["seed"],
        normal_queries=settings["normal_queries"],
        moved_supports=settings["moved_supports"],
        augment=settings["augment"],
        first_epoch=done,
    )
    network = PANet(
        encoder=settings["encoder"],
        weights=settings["weights"],
        decoder=settings["decoder"],
        align_weight=settings["align_weight"],
        encoder_rate=settings["encoder_rate"],
    )
    warmup = max(1, settings["steps"] // 20)
    rate = keras.optimizers.schedules.CosineDecay(
        settings["learning_rate"] / 20,
        max(1, settings["steps"] - warmup),
        0.01,
        warmup_target=settings["learning_rate"],
        warmup_steps=warmup,
    )
    network.compile(optimizer=PretrainedAdamW(rate, weight_decay=settings["weight_decay"], clipnorm=1.0))
    history_file = pathlib.Path(work_dir) / "history.jsonl"
    callbacks = [
        # Its own folder: the callback deletes it at the end.
        keras.callbacks.BackupAndRestore(str(pathlib.Path(work_dir) / "backup"), delete_checkpoint=False),
        keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: _note(history_file, epoch, epochs, epoch_steps, logs)),
    ]
    network.fit(dataset, epochs=epochs, callbacks=callbacks, verbose=0)

    model.keras.parent.mkdir(parents=True)
    network.save(model.keras)
    export_saved_model(network, model.serving, size)
    history = [json.loads(line) for line in history_file.read_text("utf-8").splitlines()]
    # A run killed between an epoch's note and its checkpoint notes the epoch twice; the later one counts.
    history = list({row["epoch"]: row for row in history}.values())
    model.history.write_text(json.dumps(history, indent=1), "utf-8")
    model.properties |= {"steps": epochs * epoch_steps, "train_dice": history[-1]["dice"], "encoder": settings["encoder"]}
    return {"summary": f"{epochs * epoch_steps} steps, loss {history[-1]['loss']:.3f}, train Dice {history[-1]['dice']:.3f}"}


def _finished_epochs(work_dir):
    """Epochs that BackupAndRestore will skip."""
    file = pathlib.Path(work_dir) / "backup" / "training_metadata.json"
    return json.loads(file.read_text())["epoch"] if file.is_file() else 0


def _note(file, epoch, epochs, steps, logs):
    import time

    row = {"epoch": epoch, "step": (epoch + 1) * steps, "time": time.time(), **{name: float(value) for name, value in logs.items()}}
    with open(file, "a", encoding="utf-8") as stream:
        stream.write(json.dumps(row) + "\n")
    shown = ", ".join(f"{name} {value:.3f}" for name, value in logs.items())
    print(f"      step {row['step']}/{epochs * steps}: {shown}", flush=True)
