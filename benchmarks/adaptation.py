"""Does a short adaptation on the annotated images pay, here and on pictures as another scanner might make them?

    python -m benchmarks.headline run headline BUS-UCLM WORK --rows ours        first: trains the folds
    python -m benchmarks.adaptation BUS-UCLM WORK                      4 minutes for each fold

Three images of three patients of the fold are annotated; every lesion image of its other patients is segmented by `FewShotSegmenter`, with one of
the three, with all, and after `adapt` on them. Support and query are changed alike, as in benchmarks/robustness.py. Dice at 256 x 256; each answer
paired with that of all three as they are.
"""

import sys

import numpy as np

from benchmarks import headline, record, robustness

SHOTS = 3
CHANGES = ("as it is", "gamma 0.45", "speckle 0.4")
ADAPTATIONS = {"20 steps": {}, "60 steps": {"steps": 60}, "20 steps at 1e-4": {"learning_rate": 1e-4}}
"""Arguments of `adapt`; its defaults first."""
PLAIN = f"{SHOTS} shots"


def annotated(test, rng):
    """Indices of lesion images of SHOTS patients, one each."""
    patients = rng.permutation(sorted({test.patients[i] for i in np.flatnonzero(test.lesion)}))[:SHOTS]
    return [int(rng.choice([i for i in np.flatnonzero(test.lesion) if test.patients[i] == patient])) for patient in patients]


def score(model, test, supports, change):
    """Dice by answer and query."""
    from panet_keras import FewShotSegmenter
    from panet_keras.evaluation import dice

    apart = {test.patients[i] for i in supports}
    queries = [int(i) for i in np.flatnonzero(test.lesion) if test.patients[i] not in apart]
    frames, found = robustness.frames(test, change, (*supports, *queries)), {}

    def answers(name, segmenter):
        found[name] = {q: float(dice(frames[q][1] > 0, segmenter.predict(frames[q][0]).mask)) for q in queries}

    for shots in (1, SHOTS):
        images, masks = zip(*(frames[i] for i in supports[:shots]))
        segmenter = FewShotSegmenter(model, size=(robustness.SIZE, robustness.SIZE)).set_support(images, masks)
        answers(PLAIN if shots == SHOTS else "1 shot", segmenter)
    for name, options in ADAPTATIONS.items():
        segmenter = FewShotSegmenter(model, size=(robustness.SIZE, robustness.SIZE)).set_support(images, masks)
        answers(name, segmenter.adapt(**options))
    return found


def main(data, work):
    import tensorflow as tf

    from panet_keras.data import k_folds, load_bus_uclm, split_by_patients
    from panet_keras.evaluation import TestImages, paired_difference

    records = load_bus_uclm(data)
    joined, patients, folds = {}, {}, []
    for fold, members in enumerate(k_folds(records, headline.FOLDS, seed=0)):
        model = headline.trained(work, fold)
        if model is None:
            continue
        folds.append(fold)
        test = TestImages(split_by_patients(records, members)["test"], (robustness.SIZE, robustness.SIZE))
        supports = annotated(test, np.random.default_rng(fold))
        for change in CHANGES:
            for name, values in score(model, test, supports, robustness.CHANGES[change]).items():
                joined.setdefault(change, {}).setdefault(name, {}).update({(fold, q): d for q, d in values.items()})
                print(fold, change, name, round(float(np.mean(list(values.values()))), 3), flush=True)
        patients |= {(fold, i): patient for i, patient in enumerate(test.patients)}
        tf.keras.backend.clear_session()
    table = {}
    for change, rows in joined.items():
        queries = sorted(rows[PLAIN])
        owners = [patients[q] for q in queries]
        for name, values in rows.items():
            entry = {"dice": float(np.mean(list(values.values()))), "images": len(queries)}
            if name != PLAIN:
                entry[f"minus {PLAIN}"] = paired_difference([values[q] for q in queries], [rows[PLAIN][q] for q in queries], owners)
            table.setdefault(change, {})[name] = entry
    record.write("adaptation", __doc__.splitlines()[0], {"folds": folds, "table": table})


if __name__ == "__main__":
    main(*sys.argv[1:])
