"""Ours against the paper, a supervised U-Net and ours minus one repair at a time, on the same episodes.

    python -m benchmarks.headline run headline BUS-UCLM WORK --rows ours paper --folds 0 1 2    25 minutes for each row and fold
    python -m benchmarks.headline run ablation BUS-UCLM WORK --folds 0                          3 minutes for each row and fold, VGG16 18
    python -m benchmarks.headline show headline WORK                                            prints and writes results/headline.json

Every row trains from the same encoder weights (VGG16 from its own) for the same steps, and is scored on the
same episode list at the original image size. The ablation is the same at a smaller size and fewer steps, so
that all its rows can be trained side by side. A finished row and fold is a file in WORK; an interrupted
training goes on from its last 100 steps. Run the same command again until it says that nothing is left.
"""

import argparse
import json
import pathlib
import time

from benchmarks import record, tables
from panet_keras.training import BUS_UCLM, Recipe

FOLDS = 3
TABLES = {
    "headline": {
        "recipe": BUS_UCLM,
        "scores": {"protocols": ("same-patient", "moved-support")},
        "rows": ("ours", "paper", "supervised U-Net"),
    },
    "ablation": {
        "recipe": Recipe().change(size=128, steps=500),
        "scores": {"protocols": ("moved-support", "superpixel"), "repeats": 3, "surface": False},
        "rows": None,
    },
}
"""How each table's rows train and what they are asked; its usual rows, None for all that do not say for how
long.

The ablation is too short to learn regions, and has the recipe's defaults.
"""
LESIONS_ONLY = {"superpixel_episodes": 0.0, "contrast_elsewhere": True}
PAPER = {
    **LESIONS_ONLY,
    "decoder": "bilinear",
    "learning_rate": 3e-4,
    "pasted_lesions": 0.0,
    "invented_lesions": 0.0,
    "normal_queries": 0.0,
    "contrast_weight": 0.0,
    "balanced": False,
}
ROWS = {
    "ours": {},
    "paper": PAPER,
    "supervised U-Net": {"superpixel_episodes": 0.0},
    "lesions only, 1,200 steps": {**LESIONS_ONLY, "steps": 1200},
    "ours, 5 shots in training": {"shots": 5, "batch_size": 2},
    "ours, seed 1": {"seed": 1},
    "ours, seed 2": {"seed": 2},
    "ours, VGG16": {"encoder": "vgg16"},
    "ours - alignment": {"align_weight": 0.0},
    "ours - U-Net decoder": {"decoder": "bilinear", "contrast_weight": 0.0},
    "ours - prior masks": {"prior_masks": False},
    "ours - planted lesions": {"pasted_lesions": 0.0, "invented_lesions": 0.0},
    "ours - contrast": {"contrast_weight": 0.0},
    "ours - Dice": {"loss": {"dice_weight": 0.0}},
    "ours - fresh episodes": {"frozen_episodes": True, "steps_per_epoch": 25},
    "ours - normal queries": {"normal_queries": 0.0},
    "ours - balanced patients": {"balanced": False},
    "ours - augmentation": {"augment": False},
    "ours + attention prototypes": {"prototype": "attention"},
    "ours + local prototypes": {"prototype": "local"},
    "ours + cross-attention": {"refine": True},
    "ours + superpixel episodes": {"superpixel_episodes": 0.2},
}
"""Changes of each row against the table's recipe."""
BUILDERS = {"supervised U-Net": "supervised"}
"""Rows that are no `PANet`, and who builds them in `benchmarks.baselines`."""
SEEDS = ("ours", "ours, seed 1", "ours, seed 2")
"""Trainings by one recipe: rows are compared with their mean, and their spread is what one training is
worth."""


def run(table, data, work, rows, folds):
    from panet_keras.data import k_folds, load_bus_uclm, split_by_patients
    from panet_keras.files import write_whole

    records = load_bus_uclm(data)
    parts = k_folds(records, FOLDS, seed=0)
    for fold in folds:
        for row in rows or TABLES[table]["rows"] or [row for row in ROWS if "steps" not in ROWS[row]]:
            file = pathlib.Path(work) / f"{row.replace(' ', '_')}-{fold}.json"
            if file.exists():
                continue
            print(f"{row}, fold {fold}", flush=True)
            split = split_by_patients(records, parts[fold])
            write_whole(
                file, json.dumps(one(table, row, split, pathlib.Path(work) / f"{file.stem}-training"))
            )
    print("nothing left")


def recipe_of(table, row):
    """All that decides how a row trains, but for the code: kept beside its scores, so that scores of another
    recipe are not mixed in."""
    return TABLES[table]["recipe"].change(**ROWS[row])


def settings_of(table, row):
    """The recipe and the model's kind as plain values, for JSON."""
    return {**recipe_of(table, row).as_dict(), "builder": BUILDERS.get(row, "PANet")}


def one(table, row, split, folder):
    """Trains and scores one row on one fold."""
    import tensorflow as tf

    from benchmarks import baselines
    from panet_keras import train
    from panet_keras.evaluation import PROTOCOLS, TestImages, evaluate
    from panet_keras.training import checkpoints
    from panet_keras.training.loop import build

    recipe = recipe_of(table, row)
    scores = dict(TABLES[table]["scores"])
    if (table, row) == ("headline", "ours"):
        # The other rows answer what the table asks; all protocols take a third of a row's time.
        scores["protocols"] = PROTOCOLS[1:]
    folder.mkdir(parents=True, exist_ok=True)
    # How long a training took that goes on from a checkpoint is not known.
    start, interrupted = time.time(), checkpoints.newest(folder)[0] > 0
    builder = getattr(baselines, BUILDERS[row]) if row in BUILDERS else build
    model, history = train(split["train"], recipe, folder, build=builder, progress=print)
    minutes = None if interrupted else (time.time() - start) / 60
    model.save_weights(folder / "model.weights.h5")

    @tf.function(reduce_retracing=True)
    def probabilities(images, masks, query):
        return tf.nn.softmax(model({"support_images": images, "support_masks": masks, "query_images": query}))

    def predict(*tensors):
        return probabilities(*map(tf.constant, tensors)).numpy()

    test = TestImages(split["test"], recipe.episodes.size)
    rows, _, calibration, _ = evaluate(predict, test, work_dir=folder / "scores", **scores)
    for episodes in rows.values():
        for score in episodes:
            score["patient"] = test.records[score["query"]].patient
    return {
        "settings": settings_of(table, row),
        "minutes": minutes,
        "history": history,
        "rows": rows,
        "calibration": calibration,
    }


def trained(work, fold, row="ours"):
    """A row of ours, as `run` trained it on a fold; None where it did not."""
    from panet_keras.training.loop import build

    weights = pathlib.Path(work) / f"{row.replace(' ', '_')}-{fold}-training" / "model.weights.h5"
    if not weights.is_file():
        return None
    model = build(recipe_of("headline", row))
    model.load_weights(weights)
    return model


def show(table, work):
    found = {}
    for file in sorted(pathlib.Path(work).glob("*.json")):
        row, fold = file.stem.rsplit("-", 1)
        found.setdefault(row.replace("_", " "), {})[int(fold)] = json.loads(file.read_text("utf-8"))
    entries = {**kept(table), **{row: entry(folds) for row, folds in found.items()}}
    entries = {row: entries[row] for row in ROWS if row in entries}
    ours = averaged([entries[row]["images"] for row in SEEDS if row in entries])
    for row, own in entries.items():
        for protocol, scores in own["images"].items():
            own[protocol]["against ours"] = (
                paired(scores, ours.get(protocol, {})) if set(SEEDS) & set(entries) != {row} else None
            )
        one, five, same = (
            own["images"].get(name, {})
            for name in ("cross-patient, 1 shot", "cross-patient, 5 shots", "same-patient, 1 shot")
        )
        own["5 shots - 1 shot"] = paired(five, one)
        own["same-patient - cross-patient"] = paired(same, one)
    record.write(
        table,
        "Ours against the paper, a supervised U-Net and ours minus one repair",
        {"table": entries},
        shown=False,
    )
    print(tables.models(entries))


def averaged(trainings):
    """Dice of each protocol and image, the mean of several trainings by one recipe."""
    first = trainings[0] if trainings else {}
    return {
        protocol: {
            q: [sum(t[protocol][q][0] for t in trainings) / len(trainings), patient]
            for q, (_, patient) in images.items()
            if all(q in t.get(protocol, {}) for t in trainings)
        }
        for protocol, images in first.items()
    }


def kept(table):
    """Rows of the result file that were trained by today's settings: a row whose WORK is gone stays
    comparable.

    Rows of version 0.1 noted the flat settings of its Trainer; what they say is what today's recipe does.
    """
    file = record.RESULTS / f"{table}.json"
    rows = json.loads(file.read_text("utf-8"))["table"] if file.is_file() else {}
    same = {row: json.loads(json.dumps(settings_of(table, row))) for row in rows if row in ROWS}
    return {
        row: entry
        for row, entry in rows.items()
        if "images" in entry
        and row in same
        and ("episodes" not in entry["settings"] or entry["settings"] == same[row])
    }


def entry(folds):
    """One row of the table from its scores on each fold."""
    import numpy as np

    from panet_keras.evaluation import per_image, summarise, summarise_normal

    settings = [result["settings"] for result in folds.values()]
    if any(other != settings[0] for other in settings):
        raise SystemExit(
            "WORK holds folds of one row that were trained by different settings; take another folder."
        )
    result = {
        "folds": sorted(folds),
        "settings": settings[0],
        "minutes": [folds[f]["minutes"] and round(folds[f]["minutes"], 1) for f in sorted(folds)],
    }
    joined, images = {}, {}
    for fold, scored in sorted(folds.items()):
        for protocol, scores in scored["rows"].items():
            # Test images of different folds are different images.
            joined.setdefault(protocol, []).extend({**s, "query": s["query"] + 1000 * fold} for s in scores)
    for protocol, scores in joined.items():
        if protocol.endswith("normal"):
            continue
        patients = {s["query"]: s["patient"] for s in scores}
        names = np.full(1000 * FOLDS, "", object)
        for query, patient in patients.items():
            names[query] = patient
        result[protocol] = summarise(scores, names)
        result[protocol].pop("by_patient")
        if f"{protocol}, normal" in joined:
            result[protocol]["normal"] = summarise_normal(joined[f"{protocol}, normal"], scores)
        queries, dice = per_image(scores, "dice")
        images[protocol] = {str(q): [round(float(d), 4), patients[int(q)]] for q, d in zip(queries, dice)}
    return {**result, "images": images}


def paired(first, second):
    """Interval of the difference of two rows' Dice over the images that both scored; None without any."""
    from panet_keras.evaluation import paired_difference

    shared = sorted(set(first) & set(second), key=int)
    if not shared:
        return None
    return paired_difference(
        [first[q][0] for q in shared], [second[q][0] for q in shared], [first[q][1] for q in shared]
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    runs = commands.add_parser("run")
    shows = commands.add_parser("show")
    for command in (runs, shows):
        command.add_argument("table", choices=TABLES)
    runs.add_argument("data")
    for command in (runs, shows):
        command.add_argument("work")
    runs.add_argument("--rows", nargs="+", choices=ROWS, help="instead of the table's usual rows")
    runs.add_argument("--folds", nargs="+", type=int, choices=range(FOLDS), default=list(range(FOLDS)))
    arguments = vars(parser.parse_args())
    {"run": run, "show": show}[arguments.pop("command")](**arguments)
