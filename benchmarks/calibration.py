"""Which temperature makes probabilities right, and what becomes of the presence thresholds?

    python -m benchmarks.headline run headline BUS-UCLM WORK --rows ours        first: trains the folds
    python -m benchmarks.calibration BUS-UCLM WORK                      a minute for each fold

One support from another patient for each image, at 256 x 256. A fold is scored with the temperature that fits
the other folds, lesion or not, and with the preset's (`shipped`). Rows of changed pictures
(benchmarks/robustness.py; lesion images only) have the temperature of the unchanged ones.
"""

import itertools
import sys

import numpy as np

from benchmarks import headline, preset, record, robustness

CHANGES = ("as it is", "gamma 0.45", "contrast 0.4", "speckle 0.4", "zoom 2.2")


def answers(model, test, change, queries):
    """Query index, logit of foreground against background [H, W] and truth [H, W] of each query."""
    import tensorflow as tf

    from panet_keras.evaluation import episode_list

    call = tf.function(
        lambda images, masks, query: model(dict(zip(robustness.INPUTS, (images, masks, query))))
    )
    frames = robustness.frames(
        test, change, range(len(test.records)) if queries == "normal" else np.flatnonzero(test.lesion)
    )
    for episode in episode_list(test.patients, test.lesion, 1, 1, queries=queries):
        logits = call(*robustness.tensors(frames, episode)).numpy()[0, 0]
        yield (
            int(episode.query),
            (logits[..., 1] - logits[..., 0]).astype(np.float16),
            frames[episode.query][1] > 0,
        )


def fitted(found):
    from panet_keras.evaluation import fit_temperature

    return fit_temperature(
        (np.stack([np.zeros_like(logit), logit], -1).astype(np.float32), truth) for _, logit, truth in found
    )


def summary(found, temperatures):
    """What the probabilities of lesion images are worth. found: by fold. temperatures: of each fold."""
    from panet_keras.evaluation import calibration_counts, expected_calibration_error

    counts, entropy, inside, outside = np.zeros((3, 10)), [], [], []
    for fold, items in found.items():
        for _, logit, truth in items:
            scaled = logit.astype(np.float64) / temperatures[fold]
            probability = 1 / (1 + np.exp(-scaled))
            counts += calibration_counts(truth, probability)
            entropy.append(np.logaddexp(0, np.where(truth, -scaled, scaled)).mean())
            inside.append(probability[truth].mean())
            outside.append(probability[~truth].mean())
    names = ("cross-entropy", "inside", "outside")
    means = {name: float(np.mean(values)) for name, values in zip(names, (entropy, inside, outside))}
    return {"ECE": expected_calibration_error(counts), **means, "images": len(inside)}


def presence_of(lesion, normal, temperatures):
    """As `summarise_normal`."""
    from panet_keras.evaluation import score_mask, summarise_normal
    from panet_keras.inference.presence import presence

    def rows(found):
        for fold, items in found.items():
            for query, logit, truth in items:
                probability = 1 / (1 + np.exp(-logit.astype(np.float32) / temperatures[fold]))
                yield {
                    "query": query + 1000 * fold,
                    "presence": presence(probability),
                    **score_mask(truth, probability, surface=False),
                }

    return summarise_normal(list(rows(normal)), list(rows(lesion)))


def main(data, work):
    from panet_keras.data import k_folds, load_bus_uclm, split_by_patients
    from panet_keras.evaluation import TestImages

    records = load_bus_uclm(data)
    lesion, normal = {change: {} for change in CHANGES}, {}
    for fold, members in enumerate(k_folds(records, headline.FOLDS, seed=0)):
        model = headline.trained(work, fold)
        if model is None:
            raise SystemExit(f"{work} has no model of fold {fold}; run the headline first.")
        test = TestImages(split_by_patients(records, members)["test"], (robustness.SIZE, robustness.SIZE))
        for change in CHANGES:
            lesion[change][fold] = list(answers(model, test, robustness.CHANGES[change], "lesion"))
        normal[fold] = list(answers(model, test, robustness.CHANGES["as it is"], "normal"))
    both = {fold: lesion["as it is"][fold] + normal[fold] for fold in normal}
    others = {
        fold: fitted(itertools.chain(*(both[other] for other in both if other != fold))) for fold in both
    }
    ways = {
        "before": dict.fromkeys(both, 1.0),
        "after": others,
        "shipped": dict.fromkeys(both, preset.TEMPERATURE),
    }
    result = {
        "temperature that fits all folds": fitted(itertools.chain(*both.values())),
        "that fits the other folds": others,
        "shipped": preset.TEMPERATURE,
        "table": {
            change: {way: summary(found, t) for way, t in ways.items()} for change, found in lesion.items()
        },
        "frames without lesion": {way: presence_of(lesion["as it is"], normal, t) for way, t in ways.items()},
    }
    record.write("calibration", __doc__.splitlines()[0], result)


if __name__ == "__main__":
    main(*sys.argv[1:])
