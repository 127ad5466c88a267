"""Hospitals that a model was not trained on: what 1 to 50 annotated pictures bring, and normal frames, and `adapt`.

    python -m benchmarks.hospitals train DATA WORK         trains one model for each hospital, without it (75 minutes each, resumable)
    python -m benchmarks.hospitals score DATA WORK         scores them (15 minutes each on 2 quiet cores, resumable); writes results/hospitals.json
    python -m benchmarks.hospitals protocols DATA WORK     does the support decide there? (5 minutes each); writes results/hospital_protocols.json
    python -m benchmarks.hospitals home DATA WORK          other patients of BUS-UCLM, three folds: trains a model for each on the rest and on
                                                           the other hospitals, scores it (5 minutes each); writes results/hospital_home.json
    python -m benchmarks.hospitals show                    prints the tables
    python -m benchmarks.hospitals compare WORK OTHER      Dice in WORK minus Dice in OTHER of what both have scored, paired by image

`train`, `score` and `show` take `--encoder efficientnet_lite2`, with a WORK of its own; its results are hospitals_lite2.json.
DATA holds BUS-UCLM, BUSI, BUS-BRA and thyroid (the last is never trained on, and scored with a model of all
three: WORK/all). Everything goes through `FewShotSegmenter`, as users have it: masks at the original size,
with the presence threshold of the preset (`THRESHOLD`) or what `calibrate` and `adapt` set. Supports and normal frames of the tested hospital
are of other patients than the queries (100 lesion images at most, and all normal frames that are not support,
120 at most); those of k = 5 hold those of k = 1. Intervals are by bootstrap over patients; every difference
is paired.
"""

import argparse
import dataclasses
import json
import pathlib
import time

import numpy as np

from benchmarks import record

HOSPITALS = ("BUS-UCLM", "BUSI", "BUS-BRA")
ORGAN = "thyroid"
ENCODER = "efficientnet_lite0"
"""Of the recipe."""
SUPPORTS = (1, 5, 20, 50)
ADAPTED = (20, 50)
NORMALS = 10
THRESHOLD = 0.8
"""Of the preset: the highest tenth that costs less than 0.01 Dice on BUSI and BUS-UCLM left out, at 5 supports."""
DRAWS = 2
FOLDS = 3
QUERIES, NORMAL_QUERIES, POOL = 100, 120, 60


def load(data, name):
    """Records of a hospital, with its name as source."""
    from panet_keras.data import load_bus_uclm, load_csv

    folder = pathlib.Path(data) / name
    records = load_bus_uclm(folder) if name == "BUS-UCLM" else load_csv(folder / "table.csv")
    return [dataclasses.replace(r, source=name) for r in records]


def results(encoder):
    """Name of the results of an encoder."""
    return "hospitals" if encoder == ENCODER else f"hospitals_{encoder.removeprefix('efficientnet_')}"


def train(data, work, encoder=ENCODER):
    from panet_keras import presets
    from panet_keras import train as fit
    from panet_keras.training import BUS_MULTI

    for left_out in HOSPITALS:
        folder = pathlib.Path(work) / f"without-{left_out}"
        if not folder.exists():
            records = [r for name in HOSPITALS if name != left_out for r in load(data, name)]
            recipe = BUS_MULTI.change(encoder=encoder)
            model, _ = fit(records, recipe, pathlib.Path(work) / f"{left_out}-training", progress=print)
            presets.write(model, folder, (256, 256), THRESHOLD)


def parts(records, seed=0):
    """Queries, normal queries, and supports and normal frames of other patients."""
    rng = np.random.default_rng(seed)
    lesion = np.array([r.label != "Normal" for r in records])
    patients = np.array([r.patient for r in records])
    names, support, count = rng.permutation(np.unique(patients[lesion])), [], 0
    for name in names:
        if count >= POOL and len(support) >= 0.35 * min(len(names), POOL):
            break
        support.append(name)
        count += int((lesion & (patients == name)).sum())
    inside = np.isin(patients, support)
    queries = np.sort(rng.permutation(np.flatnonzero(lesion & ~inside))[:QUERIES])
    normals = np.flatnonzero(~lesion & inside)
    if len(normals) < NORMALS:
        # BUSI's normal frames are of patients without lesions: a third of those is support.
        own = rng.permutation(np.unique(patients[~lesion]))
        normals = np.flatnonzero(~lesion & np.isin(patients, own[: -(-len(own) // 3)]))
    rest = np.flatnonzero(~lesion & ~np.isin(patients, patients[normals]))
    return queries, np.sort(rng.permutation(rest)[:NORMAL_QUERIES]), np.flatnonzero(lesion & inside), normals


def score(data, work, hospitals=(*HOSPITALS, ORGAN), encoder=ENCODER):
    from panet_keras.files import write_whole

    kept = pathlib.Path(work) / "scores"
    kept.mkdir(parents=True, exist_ok=True)
    for name in hospitals:
        model = pathlib.Path(work) / (f"without-{name}" if name in HOSPITALS else "all")
        if not model.exists():
            print(f"{model} is not there; left out")
            continue
        records = load(data, name)
        queries, normal_queries, pool, normals = parts(records)
        cells = [
            (k, n, a, d)
            for a in (False, True)
            for k in (ADAPTED if a else SUPPORTS)
            for n in (0, NORMALS)
            for d in range(DRAWS)
        ]
        cells.sort(key=lambda cell: cell[0] == max(SUPPORTS))  # the dearest last
        for k, n, adapted, draw in cells:
            file = kept / f"{name}-{k}-{n}-{'adapted' if adapted else 'plain'}-{draw}.json"
            if (
                file.exists()
                or k > len(pool)
                or (n and len(normals) < n)
                or (adapted and (draw or (n == 0 and len(normals) >= NORMALS)))
            ):
                continue
            rng = np.random.default_rng([draw, 7])
            support, empty = rng.permutation(pool)[:k], rng.permutation(normals)[:n]
            row = one(
                model,
                [records[i] for i in support],
                [records[i] for i in empty],
                [records[i] for i in queries],
                [records[i] for i in normal_queries],
                adapted,
            )
            write_whole(
                file,
                json.dumps(
                    {"hospital": name, "supports": k, "normals": n, "adapted": adapted, "draw": draw, **row}
                ),
            )
            print(file.stem, f"Dice {np.mean([image['dice'] for image in row['lesions']]):.3f}", flush=True)
    record.write(results(encoder), __doc__.splitlines()[0], {"table": table(scored(work))}, shown=False)
    show(encoder)


def one(model, support, normals, queries, normal_queries, adapted):
    """Scores of one support set: a dictionary for each image, the threshold and the seconds that setting up
    took."""
    from panet_keras import FewShotSegmenter
    from panet_keras.evaluation import fit_temperature

    samples = [r.decode() for r in support]
    segmenter = FewShotSegmenter(model)
    start = time.monotonic()
    segmenter.set_support(
        [s.image for s in samples], [s.mask for s in samples], normals=[r.decode().image for r in normals]
    )
    if adapted:
        segmenter.adapt()
    elif len(samples) > 1 and normals:
        segmenter.calibrate()
    seconds = time.monotonic() - start
    steps = segmenter.adaptation.steps if segmenter.adaptation else 0
    lesions, normals = ([answer(segmenter, r) for r in part] for part in (queries, normal_queries))
    temperature = fit_temperature(
        (np.stack([np.zeros_like(logit), logit], -1), truth) for _, logit, truth in lesions + normals
    )
    return {
        "threshold": segmenter.presence_threshold,
        # Of a model whose temperature is 1, as those that are left out are written.
        "temperature": temperature,
        "seconds": seconds,
        "steps": steps,
        "lesions": [row for row, _, _ in lesions],
        "normal frames": [row for row, _, _ in normals],
    }


def protocols(data, work):
    """Asks the models that were left out of a hospital whether its support decides: masks moved away, and
    superpixels."""
    from panet_keras.evaluation import TestImages, some_queries

    found = {}
    for name in HOSPITALS:
        test = TestImages(load(data, name), (256, 256))
        _, rows = asked(
            pathlib.Path(work) / f"without-{name}",
            test,
            pathlib.Path(work) / "protocols" / name,
            shots=(1,),
            repeats=1,
            queries=some_queries(test.lesion, QUERIES),
        )
        for row, entry in rows.items():
            entry.pop("by_patient")
            found[f"{name}: {row}"] = entry
    record.write("hospital_protocols", "Does the support decide on a hospital left out?", {"table": found})


def home(data, work):
    """Patients of BUS-UCLM that a model of the several hospitals has not seen: the folds of benchmarks/headline.py."""
    from panet_keras import presets
    from panet_keras import train as fit
    from panet_keras.data import k_folds, split_by_patients
    from panet_keras.evaluation import TestImages
    from panet_keras.training import BUS_MULTI

    first, *others = HOSPITALS
    own, rest = load(data, first), [r for name in others for r in load(data, name)]
    pooled = {}
    for fold, patients in enumerate(k_folds(own, FOLDS, seed=0)):
        folder, split = pathlib.Path(work) / f"home-{fold}", split_by_patients(own, patients)
        if not folder.exists():
            model, _ = fit(
                split["train"] + rest, BUS_MULTI, pathlib.Path(work) / f"home-{fold}-training", progress=print
            )
            presets.write(model, folder, (256, 256), THRESHOLD)
        test = TestImages(split["test"], (256, 256))
        rows, _ = asked(folder, test, pathlib.Path(work) / "protocols" / f"home-{fold}")
        for name, found in rows.items():
            pooled.setdefault(name, []).extend(
                {**row, "image": (fold, row["query"]), "patient": test.patients[row["query"]]}
                for row in found
            )
    record.write(
        "hospital_home",
        "Patients of BUS-UCLM that a model of several hospitals has not seen, three folds",
        {"threshold": THRESHOLD, "table": {name: at_home(name, rows) for name, rows in pooled.items()}},
    )


def at_home(name, rows):
    """Figures of one row of `evaluate`, all folds together, means over images with intervals over patients."""
    from panet_keras.evaluation import bootstrap

    images = {}
    for row in rows:
        images.setdefault((row["image"], row["patient"]), []).append(row)
    patients = np.array([patient for _, patient in images])

    def figure(value):
        values = np.array([np.mean([value(row) for row in same]) for same in images.values()])
        low, high = bootstrap(values, patients)
        return {"mean": float(values.mean()), "low": low, "high": high}

    entry = {"n": len(images), "patients": len(set(patients))}
    if name.endswith("normal"):
        return entry | {
            "marked": figure(lambda row: row["presence"] >= THRESHOLD),
            "marked without threshold": figure(lambda row: row["false_any"]),
        }
    return entry | {
        "dice": figure(lambda row: row["dice"]),
        "missed": figure(lambda row: row["dice"] < 0.1),
        "dice after the threshold": figure(lambda row: row["dice"] * (row["presence"] >= THRESHOLD)),
        "emptied": figure(lambda row: row["presence"] < THRESHOLD),
    }


def asked(folder, test, kept, **options):
    """Rows and table of `evaluate` for a preset: cross-patient, masks moved away, superpixels."""
    import tensorflow as tf

    from panet_keras import PANet
    from panet_keras.evaluation import evaluate

    model = PANet.from_preset(folder)

    @tf.function(reduce_retracing=True)
    def probabilities(images, masks, query):
        return tf.nn.softmax(model({"support_images": images, "support_masks": masks, "query_images": query}))

    rows, table, _, _ = evaluate(
        lambda *tensors: probabilities(*map(tf.constant, tensors)).numpy(),
        test,
        protocols=("moved-support", "superpixel"),
        surface=False,
        work_dir=kept,
        **options,
    )
    return rows, table


def answer(segmenter, query):
    """Scores of one picture; float16 logits [H, W] of the lesion and the truth."""
    from panet_keras.evaluation import dice
    from panet_keras.evaluation.lesions import find_lesions

    sample = query.decode()
    found = segmenter.predict(sample.image)
    truth = sample.mask > 0
    marks = find_lesions(truth, np.where(found.mask, found.probability, 0.0))
    plain = found.probability > 0.5
    row = {
        "file": query.filename,
        "patient": query.patient,
        "dice": float(dice(truth, found.mask)) if truth.any() else None,
        "plain dice": float(dice(truth, plain)) if truth.any() else None,
        "presence": found.presence,
        "marked": float(found.mask.mean()),
        "plain marked": float(plain.mean()),
        "found": marks.found,
        "false": marks.false,
    }
    sure = np.clip(found.probability.astype(np.float64), 1e-6, 1 - 1e-6)
    return row, np.log(sure / (1 - sure)).astype(np.float16), truth


def scored(work):
    """What `score` has kept in WORK."""
    return [json.loads(file.read_text("utf-8")) for file in sorted(pathlib.Path(work).glob("scores/*.json"))]


def grouped(entries):
    """Entries by hospital, supports, normals and adaptation, the draws of each in a list."""
    groups = {}
    for entry in entries:
        groups.setdefault(
            (entry["hospital"], entry["supports"], entry["normals"], entry["adapted"]), []
        ).append(entry)
    return groups


def compare(work, other):
    from panet_keras.evaluation import paired_difference

    one, two = grouped(scored(work)), grouped(scored(other))
    for key in sorted(one.keys() & two.keys()):
        (mine, patients), (theirs, _) = (per_image(group[key], "lesions", "dice") for group in (one, two))
        hospital, supports, normals, adapted = key
        found = paired_difference(mine, theirs, patients)
        print(
            f"{hospital}, {supports} supports, {normals} normal frames{', adapt' if adapted else ''}: "
            f"{found['mean']:+.3f} ({found['low']:+.3f} to {found['high']:+.3f})"
        )


def table(entries):
    """Rows by hospital, supports, normals and adaptation."""
    groups = grouped(entries)
    return [
        summary(*key, draws, groups)
        for key, draws in sorted(
            groups.items(), key=lambda item: (item[0][0], item[0][3], item[0][2], item[0][1])
        )
    ]


def per_image(draws, part, name):
    """Mean over the draws of support of each image: (values, patients)."""
    values = np.mean([[image[name] for image in draw[part]] for draw in draws], 0)
    return values, np.array([image["patient"] for image in draws[0][part]])


def summary(hospital, supports, normals, adapted, draws, groups):
    from scipy import stats

    from panet_keras.evaluation import bootstrap, paired_difference
    from panet_keras.evaluation.lesions import Marks, froc

    values, patients = per_image(draws, "lesions", "dice")
    single = groups.get((hospital, 1, normals, False)) or groups.get((hospital, 1, 0, False))
    row = {
        "hospital": hospital,
        "supports": supports,
        "normals": normals,
        "adapted": adapted,
        "draws": len(draws),
        "n": len(values),
        "patients": len(set(patients)),
        "dice": float(values.mean()),
        "interval": bootstrap(values, patients),
        "plain dice": float(per_image(draws, "lesions", "plain dice")[0].mean()),
        "missed": float(np.mean([[image["dice"] < 0.1 for image in draw["lesions"]] for draw in draws])),
        "emptied": float(
            np.mean([[image["presence"] < draw["threshold"] for image in draw["lesions"]] for draw in draws])
        ),
        "threshold": float(np.mean([draw["threshold"] for draw in draws])),
        "temperature": float(np.mean([draw["temperature"] for draw in draws])),
        "seconds": float(np.mean([draw["seconds"] for draw in draws])),
        "steps": float(np.mean([draw["steps"] for draw in draws])),
        "minus one support": paired_difference(values, per_image(single, "lesions", "dice")[0], patients)
        if single
        else None,
    }
    images = [image for draw in draws for part in ("lesions", "normal frames") for image in draw[part]]
    row["froc"] = {
        str(rate): share
        for rate, share in froc([Marks(tuple(i["found"]), tuple(i["false"])) for i in images]).items()
    }
    if draws[0]["normal frames"]:
        marked, whose = per_image(draws, "normal frames", "marked")
        seen = [image["presence"] for draw in draws for image in draw["lesions"]]
        unseen = [image["presence"] for draw in draws for image in draw["normal frames"]]
        any_pixel = np.mean([[image["marked"] > 0 for image in draw["normal frames"]] for draw in draws], 0)
        row |= {
            "normal frames": len(marked),
            "marked": float(any_pixel.mean()),
            "marked interval": bootstrap(any_pixel, whose),
            "marked without threshold": float(
                np.mean([[image["plain marked"] > 0 for image in d["normal frames"]] for d in draws])
            ),
            "marked area over 0.1 %": float(
                np.mean([[image["marked"] > 0.001 for image in d["normal frames"]] for d in draws])
            ),
            "presence AUROC": float(stats.mannwhitneyu(seen, unseen).statistic / len(seen) / len(unseen)),
        }
    return row


def show(encoder=ENCODER):
    from benchmarks import tables

    found = (record.RESULTS / f"{results(encoder)}.json").read_text("utf-8")
    print(tables.hospitals(json.loads(found)["table"]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("train", "score", "protocols", "home", "show", "compare"):
        command = commands.add_parser(name)
        if name == "compare":
            command.add_argument("work")
            command.add_argument("other")
        elif name != "show":
            command.add_argument("data")
            command.add_argument("work")
        if name in ("train", "score", "show"):
            command.add_argument("--encoder", default=ENCODER)
        if name == "score":
            command.add_argument(
                "--hospitals", nargs="+", default=(*HOSPITALS, ORGAN), help="all of them without it"
            )
    arguments = vars(parser.parse_args())
    {"train": train, "score": score, "protocols": protocols, "home": home, "show": show, "compare": compare}[
        arguments.pop("command")
    ](**arguments)
