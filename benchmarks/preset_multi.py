"""The preset of several hospitals, which is used where no model is named.

    python -m benchmarks.hospitals train DATA WORK        the three models that it begins from, 75 minutes each
    python -m benchmarks.preset_multi train DATA WORK     about 20 minutes on 2 quiet cores; run it again after an interruption
    python -m benchmarks.preset_multi write WORK          writes panet_keras/presets/bus_multi_lite0 with its model card

DATA holds BUS-UCLM, BUSI and BUS-BRA. The preset begins from the mean of the weights of three models, each of which was
trained without one of the hospitals (model soup, Wortsman et al., ICML 2022, arXiv 2203.05482; they began from the same
weights), and goes on with all three. It is scored on none of them: no hospital here is new to it.
Its card has the scores of models that were trained in the same way without the hospital that they are scored
on (benchmarks/hospitals.py, results/hospitals.json).
"""

import argparse
import json
import pathlib
import shutil

import numpy as np
from scipy.special import expit, logit

from benchmarks import hospitals, record, tables

NAME = "bus_multi_lite0"
STEPS, RATE = 1200, 5e-4
"""After the mean."""
TEMPERATURE = 1.2
"""The mean of what fits BUSI and BUS-UCLM left out."""


def mean(work):
    """Folder of a preset whose weights are the mean of those of the three models in WORK."""
    folders = [pathlib.Path(work) / f"without-{name}" for name in hospitals.HOSPITALS]
    files = [np.load(folder / "weights.npz") for folder in folders]
    target = pathlib.Path(work) / "mean"
    target.mkdir(exist_ok=True)
    shutil.copy(folders[0] / "preset.json", target)
    means = {name: np.mean([file[name].astype(np.float32) for file in files], 0) for name in files[0].files}
    np.savez_compressed(
        target / "weights.npz", **{name: value.astype(np.float16) for name, value in means.items()}
    )
    return target


def train(data, work):
    from panet_keras import presets
    from panet_keras import train as fit
    from panet_keras.training import BUS_MULTI

    work = pathlib.Path(work)
    recipe = BUS_MULTI.change(steps=STEPS, learning_rate=RATE, start_from=str(mean(work)))
    sources = {name: hospitals.load(data, name) for name in hospitals.HOSPITALS}
    model, history = fit(
        [r for records in sources.values() for r in records], recipe, work / "training", progress=print
    )
    about = {
        "data": {
            name: f"{len(records)} images of {len({r.patient for r in records})} patients"
            for name, records in sources.items()
        },
        "recipe": recipe.change(start_from="mean").as_dict(),
        "train_dice": history[-1]["dice"],
        "machine": record.machine(),
    }
    shutil.rmtree(work / NAME, ignore_errors=True)
    presets.write(model, work / NAME, recipe.episodes.size, hospitals.THRESHOLD, about=about)
    print(work / NAME)


def write(work):
    from panet_keras import presets

    source, target = pathlib.Path(work) / NAME, presets.FOLDER / NAME
    preset = json.loads((source / "preset.json").read_text("utf-8"))
    # Found at a temperature of 1: dividing the logits moves it with them.
    preset["presence_threshold"] = round(float(expit(logit(hospitals.THRESHOLD) / TEMPERATURE)), 2)
    preset["model"]["temperature"] = TEMPERATURE
    (source / "preset.json").write_text(json.dumps(preset, indent=1) + "\n", "utf-8")
    (source / "README.md").write_text(card(preset), "utf-8")
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    print(f"{target}: {sum(file.stat().st_size for file in target.iterdir()) / 1e6:.1f} MB")


def card(preset):
    """The model card, Markdown."""
    about, recipe = preset["about"], preset["about"]["recipe"]
    from panet_keras.training import BUS_MULTI

    scores = json.loads((record.RESULTS / "hospitals.json").read_text("utf-8"))
    trained = "; ".join(f"{name}, {what}" for name, what in about["data"].items())
    return f"""# {NAME}

Few-shot segmentation of breast lesions in B-mode ultrasound: `PANet` on EfficientNet-Lite0, U-Net decoder over similarities to the
support. Give it annotated images of lesions, and frames of your scanner without one, and it marks what is like the lesions in others.

**Intended use:** research, and help with annotation that a radiologist checks. **Not a medical device:** it must not inform a diagnosis.

**Licence:** non-commercial use only. The weights are derived from BUS-UCLM (authors' repository: CC BY-NC 4.0), BUSI (Al-Dhabyani et al., Data in
Brief 2020; no licence text found, research use with citation) and BUS-BRA (Gomez-Flores et al., Medical Physics 2024; free use with citation).

**Trained on** {trained}; {recipe["steps"]} steps of several layouts at {recipe["episodes"]["size"][0]} x {recipe["episodes"]["size"][1]}, seed
{recipe["seed"]}, from the mean of the weights of three models, each trained without one of the hospitals ({BUS_MULTI.steps} steps from ImageNet's weights).
{about.get("note", "")}

**On hospitals that a model has not seen.** Each line is the one of those three models that was trained without the hospital that it is scored on, with a
presence threshold of {hospitals.THRESHOLD} (at a temperature of 1) or what `calibrate` and `adapt` set; on the thyroid, another organ, this preset:

{tables.hospitals(scores["table"])}

*adapt* fine-tunes a copy on the annotated frames where that helps (`FewShotSegmenter.adapt`). Masks whose presence is below a threshold are emptied: the
preset's own, {preset["presence_threshold"]}, is for a scanner of which nothing is known; with normal frames of your own `calibrate` and `adapt` set it for yours.
`python -m panet_keras check --support-dir DIR` says what to expect.

**Limits.** Three hospitals, five scanners, one seed. On unknown scanners 1 to 14 % of the lesions are missed whole, and 32 to 42 % of the frames without lesion get a mask
where ten of the scanner's own were given, more without, 22 to 31 % after `adapt`. More supports alone bring little: give twenty, and `adapt`. Another organ needs `adapt`.

**Made by** `python -m benchmarks.hospitals train DATA WORK && python -m benchmarks.preset_multi train DATA WORK && python -m
benchmarks.preset_multi write WORK`, TensorFlow {about["machine"]["tensorflow"]}, Keras {about["machine"]["keras"]}; but that the three models were trained on a
GPU, by a PyTorch port of that recipe (docs/decisions/hospitals.md).
"""


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    trains = commands.add_parser("train")
    trains.add_argument("data")
    trains.add_argument("work")
    writes = commands.add_parser("write")
    writes.add_argument("work")
    arguments = vars(parser.parse_args())
    {"train": train, "write": write}[arguments.pop("command")](**arguments)
