"""What tells a bad proposal from a good one, and how many supports does a proposal need?

    python -m benchmarks.annotation_doubt DATA [--model NAME]          about 3 minutes on 2 cores

DATA holds BUSI; the model should not have seen it (default: bus_uclm_lite0). 100 lesion frames are segmented
with 1 to 96 lesions (and half as many normal frames, 24 at most) as support, of other frames: mean Dice, how
well presence tells them from 25 normal frames (area under the curve), and processor time of the decoder for
each.

Doubt: with 24 lesions and 12 normal frames, Spearman's correlation of each kind of doubt with one minus Dice,
and how well it tells masks with a Dice below 0.9, which a person would correct (area under the curve):

* expected: one minus the Dice that the probabilities expect of their own mask (`answer.expected_dice`);
* halves: one minus the soft Dice of the answers of the two halves of the support;
* mirrored: one minus the Dice of the masks of the picture and of its mirror image (encoder and decoder
again);
* mirrored features: the same with the kept features turned over, which costs the decoder alone.
"""

import argparse
import pathlib
import time

import numpy as np
from scipy.stats import spearmanr

from benchmarks import record
from panet_keras.annotate.answer import expected_dice, presence
from panet_keras.annotate.loop import BATCH
from panet_keras.annotate.model import LocalModel
from panet_keras.annotate.quality import dice_of
from panet_keras.data import load_csv
from panet_keras.pictures.resize import resize_mask

MODEL = "bus_uclm_lite0"
SUPPORTS = ((1, 0), (5, 2), (12, 6), (24, 12), (48, 24), (96, 24))
QUERIES, NORMAL_QUERIES = 100, 25
GOOD = 0.9


def load(records, model):
    """List of (features, features of the mirrored picture, mask uint8 [h, w])."""
    found = []
    for record_ in records:
        decoded = record_.decode()
        prepared = model.prepare(decoded.image)
        features = model.encode([prepared, np.ascontiguousarray(prepared[:, ::-1])])
        mask = resize_mask(np.squeeze(decoded.mask) > 0, model.size).astype(np.uint8)
        found.append((*features, mask))
    return found


def segment(model, state, features):
    parts = [model.segment(state, features[i : i + BATCH]) for i in range(0, len(features), BATCH)]
    return np.concatenate(parts)


def above(one, other):
    """Area under the curve: how often a value of one is above one of other, ties half."""
    one, other = np.asarray(one)[:, None], np.asarray(other)[None]
    return float((one > other).mean() + (one == other).mean() / 2)


def soft(one, other):
    """One minus the soft Dice of probabilities [F, h, w]."""
    alike = np.minimum(one, other).sum((1, 2))
    return 1 - 2 * alike / (one.sum((1, 2)) + other.sum((1, 2)) + 1e-6)


def turned(model, features):
    """Kept features of which each scale is turned over."""
    maps = model.maps([features])
    return np.concatenate([x[0, :, ::-1].ravel() for x in maps]).astype(np.float16)


def run(data, name):
    model = LocalModel.open(name)
    records, rng = load_csv(pathlib.Path(data) / "BUSI" / "table.csv"), np.random.default_rng(0)
    lesions = [one for one in records if one.label != "Normal"]
    normals = [one for one in records if one.label == "Normal"]
    most = [max(column) for column in zip(*SUPPORTS)]
    lesions = load([lesions[i] for i in rng.permutation(len(lesions))[: most[0] + QUERIES]], model)
    normals = load([normals[i] for i in rng.permutation(len(normals))[: most[1] + NORMAL_QUERIES]], model)
    queries, empty = lesions[most[0] :], normals[most[1] :]

    def support(k, n, half=slice(None)):
        chosen = [(features, mask) for features, _, mask in lesions[:k][half]]
        return model.support(chosen + [(features, 0 * mask) for features, _, mask in normals[:n][half]])

    def answer(state, which=0, frames=queries):
        return segment(model, state, [frame[which] for frame in frames])

    def dice(probabilities):
        return np.array([dice_of(p > 0.5, frame[2] > 0) for p, frame in zip(probabilities, queries)])

    rows = []
    for k, n in SUPPORTS:
        state = support(k, n)
        answer(state)
        began = time.process_time()
        found = answer(state)
        seconds = (time.process_time() - began) / len(queries)
        seen = [[presence(p) for p in part] for part in (found, answer(state, 0, empty))]
        rows.append([k, n, *np.round([dice(found).mean(), above(*seen), 1000 * seconds], 4).tolist()])
    full = answer(support(24, 12))
    mirrored = answer(support(24, 12), 1)[..., ::-1]
    over = segment(model, support(24, 12), [turned(model, frame[0]) for frame in queries])[..., ::-1]
    halves = [answer(support(24, 12, slice(start, None, 2))) for start in (0, 1)]
    bad = dice(full) < GOOD
    kinds = {
        "expected": np.array([1 - expected_dice(p) if (p > 0.5).any() else 1.0 for p in full]),
        "halves": soft(*halves),
        "mirrored": np.array([1 - dice_of(one > 0.5, other > 0.5) for one, other in zip(mirrored, full)]),
        "mirrored features": np.array(
            [1 - dice_of(one > 0.5, other > 0.5) for one, other in zip(over, full)]
        ),
    }
    kinds["mean of expected and mirrored"] = (kinds["expected"] + kinds["mirrored"]) / 2
    return {
        "model": name,
        "supports": {
            "columns": ["lesions", "normals", "Dice", "presence AUC", "decoder, processor ms"],
            "rows": rows,
        },
        "doubt": {
            kind: {
                "Spearman with 1 - Dice": round(float(spearmanr(value, 1 - dice(full))[0]), 3),
                "AUC of Dice below 0.9": round(above(value[bad], value[~bad]), 3),
                "mean": round(float(value.mean()), 3),
            }
            for kind, value in kinds.items()
        },
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument(
        "--model", default=MODEL, help=f"a preset's name or folder, or a .keras file (default: {MODEL})"
    )
    arguments = parser.parse_args()
    question = "What tells a bad proposal from a good one, and how many supports does a proposal need?"
    record.write("annotation_doubt", question, run(arguments.data, arguments.model))


if __name__ == "__main__":
    main()
