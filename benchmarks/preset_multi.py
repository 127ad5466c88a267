"""The presets of several hospitals, one of which is used where no model is named.

    python -m benchmarks.hospitals train DATA WORK        the three models that it begins from, 75 minutes each
    python -m benchmarks.preset_multi train DATA WORK     about 45 minutes on 2 quiet cores; run it again after an interruption
    python -m benchmarks.preset_multi write WORK          writes panet_keras/presets/bus_multi_lite0 with its model card

Each takes `--encoder efficientnet_lite2`, with a WORK of its own, for bus_multi_lite2; that one begins from the model without BUS-UCLM.
DATA holds BUS-UCLM, BUSI and BUS-BRA. The preset begins from the mean of the weights of three models, each of which was
trained without one of the hospitals (model soup, Wortsman et al., ICML 2022, arXiv 2203.05482; they began from the same
weights), goes on with all three, and then with rounds of fine-tuning on made-up scanners (`train_to_adapt`; of EfficientNet-Lite0 alone,
of Lite2 they were not tried). It is scored on none of them: no hospital here is new to it.
Its card has the scores of models that were trained in the same way without the hospital that they are scored
on (benchmarks/hospitals.py, results/hospitals.json).
"""

import argparse
import dataclasses
import json
import pathlib
import shutil

import numpy as np
from scipy.special import expit, logit

from benchmarks import hospitals, record, tables

STEPS, RATE = 1200, 5e-4
"""After the weights that it begins from."""
SEED = {"efficientnet_lite0": 0, "efficientnet_lite2": 1}
MADE_TO_ADAPT = {"efficientnet_lite0"}
THRESHOLD = {"efficientnet_lite0": 0.9, "efficientnet_lite2": hospitals.THRESHOLD}
"""Presence, at a temperature of 1. The rounds raise it: by the rule of `hospitals.THRESHOLD`, on BUSI left out."""
TEMPERATURE = 1.2
"""The mean of what fits BUSI and BUS-UCLM left out, of both encoders."""


def name_of(encoder):
    return f"bus_multi_{encoder.removeprefix('efficientnet_')}"


def start(work, encoder):
    """Folder of the preset that the training begins from."""
    # Of those of EfficientNet-Lite2 not all began from the same weights, and their mean is nothing (docs/decisions/hospitals.md).
    return mean(work) if encoder == hospitals.ENCODER else pathlib.Path(work) / "without-BUS-UCLM"


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


def train(data, work, encoder):
    from panet_keras import presets
    from panet_keras import train as fit
    from panet_keras.training import BUS_MULTI, Reptile, train_to_adapt

    work = pathlib.Path(work)
    begin = start(work, encoder)
    recipe = BUS_MULTI.change(
        encoder=encoder, steps=STEPS, learning_rate=RATE, seed=SEED[encoder], start_from=str(begin)
    )
    sources = {name: hospitals.load(data, name) for name in hospitals.HOSPITALS}
    records = [r for own in sources.values() for r in own]
    model, history = fit(records, recipe, work / "training", progress=print)
    settings = Reptile() if encoder in MADE_TO_ADAPT else None
    if settings:
        train_to_adapt(model, records, recipe.episodes.size, settings, work / "rounds", progress=print)
    about = {
        "data": {
            name: f"{len(records)} images of {len({r.patient for r in records})} patients"
            for name, records in sources.items()
        },
        "recipe": recipe.change(start_from=begin.name).as_dict(),
        "rounds": settings and dataclasses.asdict(settings),
        "train_dice": history[-1]["dice"],
        "machine": record.machine(),
    }
    folder = work / name_of(encoder)
    shutil.rmtree(folder, ignore_errors=True)
    presets.write(model, folder, recipe.episodes.size, THRESHOLD[encoder], about=about)
    print(folder)


def write(work, encoder):
    from panet_keras import presets

    source, target = pathlib.Path(work) / name_of(encoder), presets.FOLDER / name_of(encoder)
    preset = json.loads((source / "preset.json").read_text("utf-8"))
    # Found at a temperature of 1: dividing the logits moves it with them.
    preset["presence_threshold"] = round(float(expit(logit(THRESHOLD[encoder]) / TEMPERATURE)), 2)
    preset["model"]["temperature"] = TEMPERATURE
    (source / "preset.json").write_text(json.dumps(preset, indent=1) + "\n", "utf-8")
    (source / "README.md").write_text(card(preset), "utf-8")
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    print(f"{target}: {sum(file.stat().st_size for file in target.iterdir()) / 1e6:.1f} MB")


FROM = {
    "efficientnet_lite0": "the mean of the weights of three models, each trained without one of the hospitals",
    "efficientnet_lite2": "the model that was trained without BUS-UCLM",
}
BY_GPU = {
    "efficientnet_lite0": "the three models were trained on a GPU, by a",
    "efficientnet_lite2": "the model that BUSI is scored with was trained on a GPU, by a",
}


def rounds(about):
    """What the training ended with, in words; empty where it had no rounds."""
    told = about.get("rounds")
    if not told:
        return ""
    return f"""Then {told["rounds"]} rounds of {told["steps"]} steps of fine-tuning on frames of one hospital through a made-up scanner, and {told["kept"]:.0%} of the way to the
weights after them (`panet_keras.training.train_to_adapt`). The models that the hospitals' lines are of had no such rounds."""


def percents(rows, name):
    """The least and the most of a share in rows, in words."""
    shares = [round(100 * row[name]) for row in rows]
    return f"{min(shares)} to {max(shares)} %"


def card(preset):
    """The model card, Markdown."""
    encoder = preset["model"]["encoder"]
    about, recipe = preset["about"], preset["about"]["recipe"]
    from panet_keras.training import BUS_MULTI

    file = record.RESULTS / f"{hospitals.results(encoder)}.json"
    table = json.loads(file.read_text("utf-8"))["table"]
    known = [row for row in table if row["hospital"] in hospitals.HOSPITALS]
    given = [row for row in known if row["normals"] and "marked" in row]
    asked = "" if encoder == hospitals.ENCODER else f" --encoder {encoder}"
    trained = "; ".join(f"{name}, {what}" for name, what in about["data"].items())
    return f"""# {name_of(encoder)}

Few-shot segmentation of breast lesions in B-mode ultrasound: `PANet` on EfficientNet-Lite{encoder[-1]}, U-Net decoder over similarities to the
support. Give it annotated images of lesions, and frames of your scanner without one, and it marks what is like the lesions in others.

**Intended use:** research, and help with annotation that a radiologist checks. **Not a medical device:** it must not inform a diagnosis.

**Licence:** non-commercial use only. The weights are derived from BUS-UCLM (authors' repository: CC BY-NC 4.0), BUSI (Al-Dhabyani et al., Data in
Brief 2020; no licence text found, research use with citation) and BUS-BRA (Gomez-Flores et al., Medical Physics 2024; free use with citation).

**Trained on** {trained}; {recipe["steps"]} steps of several layouts at {recipe["episodes"]["size"][0]} x {recipe["episodes"]["size"][1]}, seed
{recipe["seed"]}, from {FROM[encoder]} ({BUS_MULTI.steps} steps from ImageNet's weights).
{rounds(about)}

**On hospitals that a model has not seen.** Each line is of a model that was trained alike, without the hospital that it is scored on, with a
presence threshold of {hospitals.THRESHOLD} (at a temperature of 1) or what `calibrate` and `adapt` set; on the thyroid, another organ, this preset:

{tables.hospitals(table)}

*adapt* fine-tunes a copy on the annotated frames where that helps (`FewShotSegmenter.adapt`). Masks whose presence is below a threshold are emptied: the
preset's own, {preset["presence_threshold"]}, is for a scanner of which nothing is known; with normal frames of your own `calibrate` and `adapt` set it for yours.
`python -m panet_keras check --support-dir DIR` says what to expect.

**Limits.** Three hospitals, five scanners, one seed. On unknown scanners {percents(known, "missed")} of the lesions are missed whole, and
{percents([row for row in given if not row["adapted"]], "marked")} of the frames without lesion get a mask where ten of the scanner's own were given, more without,
{percents([row for row in given if row["adapted"]], "marked")} after `adapt`. More supports alone bring little: give twenty, and `adapt`. Another organ needs `adapt`.

**Made by** `python -m benchmarks.hospitals train DATA WORK{asked} && python -m benchmarks.preset_multi train DATA WORK{asked} &&
python -m benchmarks.preset_multi write WORK{asked}`, TensorFlow {about["machine"]["tensorflow"]}, Keras {about["machine"]["keras"]}; but that {BY_GPU[encoder]} PyTorch port of that recipe (docs/decisions/hospitals.md).
"""


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name, places in (("train", ("data", "work")), ("write", ("work",))):
        command = commands.add_parser(name)
        for place in places:
            command.add_argument(place)
        command.add_argument("--encoder", default=hospitals.ENCODER, choices=SEED)
    arguments = vars(parser.parse_args())
    {"train": train, "write": write}[arguments.pop("command")](**arguments)
