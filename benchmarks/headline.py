"""Ours against the paper, a supervised U-Net and ours minus one repair at a time: 3 folds over patients, the same episodes.

    python -m benchmarks.headline run BUS-UCLM WORK --rows ours paper --folds 0 1 2      20 minutes for each row and fold
    python -m benchmarks.headline show WORK                                              prints the tables, writes results/headline.json

Every row trains from the same encoder weights for the same steps, and is scored on the same episode list at the original image
size. A finished row and fold is a file in WORK; an interrupted training goes on from its last 100 steps. Run the same command
again until it says that nothing is left.
"""

import argparse
import dataclasses
import json
import pathlib
import time

from benchmarks import record

FOLDS = 3
OURS = {"size": 256, "steps": 1200}
ROWS = {
    "ours": {},
    "paper": {
        "decoder": "bilinear",
        "learning_rate": 3e-4,
        "pasted_lesions": 0.0,
        "invented_lesions": 0.0,
        "normal_queries": 0.0,
        "contrast_weight": 0.0,
        "balanced": False,
    },
    "supervised U-Net": {"model": "supervised"},
    "ours - alignment": {"align_weight": 0.0},
    "ours - U-Net decoder": {"decoder": "bilinear", "contrast_weight": 0.0},
    "ours - planted lesions": {"pasted_lesions": 0.0, "invented_lesions": 0.0},
    "ours - contrast": {"contrast_weight": 0.0},
    "ours - normal queries": {"normal_queries": 0.0},
    "ours - balanced patients": {"balanced": False},
    "ours - augmentation": {"augment": False},
    "ours + attention prototypes": {"prototype": "attention"},
    "ours + local prototypes": {"prototype": "local"},
    "ours + cross-attention": {"refine": True},
}
"""Changes of each row against the Trainer's defaults."""


def run(data, work, rows, folds, steps):
    from panet_keras.data import k_folds, load_bus_uclm, split_by_patients
    from panet_keras.files import write_whole

    records = load_bus_uclm(data)
    parts = k_folds(records, FOLDS, seed=0)
    for fold in folds:
        for row in rows:
            file = pathlib.Path(work) / f"{row.replace(' ', '_')}-{fold}.json"
            if file.exists():
                continue
            print(f"{row}, fold {fold}", flush=True)
            split = split_by_patients(records, parts[fold])
            result = one(split, dict(ROWS[row]), steps, pathlib.Path(work) / f"{file.stem}-training", ours=row == "ours")
            write_whole(file, json.dumps(result))
    print("nothing left")


def one(split, changes, steps, folder, ours):
    """Trains and scores one row on one fold."""
    import tensorflow as tf

    from benchmarks import baselines
    from panet_keras.evaluation import PROTOCOLS, TestImages, evaluate
    from pipeline.components import trainer
    from pipeline.config import Trainer

    supervised = changes.pop("model", None) == "supervised"
    build = baselines.supervised if supervised else trainer.build
    # The other rows answer what the table asks; all protocols take a third of a row's time.
    protocols = PROTOCOLS[1:] if ours else ("same-patient", "moved-support")
    settings = dataclasses.asdict(Trainer(**{**OURS, **changes, **({"steps": steps} if steps else {})}))
    folder.mkdir(parents=True, exist_ok=True)
    start = time.time()
    model, history = trainer.train(split["train"], settings, folder, build)
    minutes = (time.time() - start) / 60
    model.save_weights(folder / "model.weights.h5")

    @tf.function(reduce_retracing=True)
    def probabilities(images, masks, query):
        return tf.nn.softmax(model({"support_images": images, "support_masks": masks, "query_images": query}))

    def predict(*tensors):
        return probabilities(*map(tf.constant, tensors)).numpy()

    test = TestImages(split["test"], (settings["size"], settings["size"]))
    rows, _, calibration, _ = evaluate(predict, test, protocols=protocols, work_dir=folder / "scores")
    for scores in rows.values():
        for score in scores:
            score["patient"] = test.records[score["query"]].patient
    return {"settings": settings, "minutes": minutes, "history": history, "rows": rows, "calibration": calibration}


def trained(work, fold):
    """Ours, as `run` trained it on a fold; None where it did not."""
    from pipeline.components import trainer
    from pipeline.config import Trainer

    weights = pathlib.Path(work) / f"ours-{fold}-training" / "model.weights.h5"
    if not weights.is_file():
        return None
    model = trainer.build(dataclasses.asdict(Trainer(**OURS)), 1e-3)
    model.load_weights(weights)
    return model


def show(work):
    import numpy as np

    from panet_keras.evaluation import paired_difference, per_image, summarise, summarise_normal

    found = {}
    for file in sorted(pathlib.Path(work).glob("*.json")):
        row, fold = file.stem.rsplit("-", 1)
        found.setdefault(row.replace("_", " "), {})[int(fold)] = json.loads(file.read_text("utf-8"))
    table, images = {}, {}
    for row in (name for name in ROWS if name in found):
        entry = {"folds": sorted(found[row]), "minutes": [round(found[row][f]["minutes"], 1) for f in sorted(found[row])]}
        joined = {}
        for fold, result in sorted(found[row].items()):
            for protocol, scores in result["rows"].items():
                # Test images of different folds are different images.
                joined.setdefault(protocol, []).extend({**s, "query": s["query"] + 1000 * fold} for s in scores)
        for protocol, scores in joined.items():
            if protocol.endswith("normal"):
                continue
            patients = {s["query"]: s["patient"] for s in scores}
            names = np.full(1000 * FOLDS, "", object)
            for query, patient in patients.items():
                names[query] = patient
            entry[protocol] = summarise(scores, names)
            entry[protocol].pop("by_patient")
            if f"{protocol}, normal" in joined:
                entry[protocol]["normal"] = summarise_normal(joined[f"{protocol}, normal"], scores)
            queries, dice = per_image(scores, "dice")
            images[row, protocol] = {int(q): (float(d), patients[int(q)]) for q, d in zip(queries, dice)}
        table[row] = entry
    for (row, protocol), own in images.items():
        table[row][protocol]["against ours"] = _paired(own, images.get(("ours", protocol), {}), paired_difference)
    for row in table:
        one, five, same = (
            images.get((row, f"{name}"), {}) for name in ("cross-patient, 1 shot", "cross-patient, 5 shots", "same-patient, 1 shot")
        )
        table[row]["5 shots - 1 shot"] = _paired(five, one, paired_difference)
        table[row]["same-patient - cross-patient"] = _paired(same, one, paired_difference)
    record.write("headline", "Ours against the paper, a supervised U-Net and ours minus one repair", {"table": table})
    print(markdown(table))


def _paired(first, second, paired_difference):
    shared = sorted(set(first) & set(second))
    if not shared or first is second:
        return None
    return paired_difference([first[q][0] for q in shared], [second[q][0] for q in shared], [first[q][1] for q in shared])


def markdown(table):
    """The README's table."""
    lines = ["| row | folds | 1 shot | 5 shots | same patient | moved | missed | inside / outside | normal marked | minus ours |"]
    lines.append("| --- " * 10 + "|")
    for row, entry in table.items():
        head = entry["cross-patient, 1 shot"]
        cells = [row, str(len(entry["folds"]))]
        for protocol in ("cross-patient, 1 shot", "cross-patient, 5 shots", "same-patient, 1 shot", "moved-support, 1 shot"):
            dice = entry[protocol]["dice"]
            cells.append(f"{dice['mean']:.3f} ({dice['low']:.2f} to {dice['high']:.2f})")
        cells += [f"{head['miss_rate']:.0%}", f"{head['inside']['mean']:.2f} / {head['outside']['mean']:.3f}"]
        cells.append(f"{head['normal']['false_any']:.0%}")
        against = head["against ours"]
        cells.append(f"{against['mean']:+.3f} ({against['low']:+.3f} to {against['high']:+.3f})" if against else "")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    runs = commands.add_parser("run")
    runs.add_argument("data")
    runs.add_argument("work")
    runs.add_argument("--rows", nargs="+", choices=ROWS, default=["ours", "paper", "supervised U-Net"])
    runs.add_argument("--folds", nargs="+", type=int, choices=range(FOLDS), default=list(range(FOLDS)))
    runs.add_argument("--steps", type=int, help="instead of the recipe's")
    shows = commands.add_parser("show")
    shows.add_argument("work")
    arguments = vars(parser.parse_args())
    {"run": run, "show": show}[arguments.pop("command")](**arguments)
