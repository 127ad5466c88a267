"""Does the loop pay: how much less has a person to draw who gets proposals, and corrections that support the next?

    python -m benchmarks.annotation DATA [--pictures 60] [--orders 3]      about 10 minutes for each order on 2 cores

DATA holds BUSI. A simulated person goes through pictures in a random order, the same in each way of working:

* by hand: every lesion is drawn;
* fixed: proposals with the first five lesions as support (and the normal frames seen until then), for good;
* loop: every accepted or corrected mask supports the next proposal, through `panet_keras.annotate.loop`.

The person accepts a mask whose Dice with the truth is at least 0.9, and corrects any other to the truth; an
empty proposal for a frame without lesion is accepted as well. Pixels are those that are changed. Strokes are
counted in favour of nobody: a correction takes one for each connected region of wrong pixels (of 25 or more),
or draws the lesion anew where that is less; by hand each lesion takes one.

The model is the preset of another hospital, bus_uclm_lite0: the shipped bus_multi_lite0 was trained on BUSI.
"""

import argparse
import pathlib
import tempfile
import time

import numpy as np
from scipy import ndimage

from benchmarks import record
from panet_keras.annotate import masks, server
from panet_keras.annotate.model import LocalModel
from panet_keras.annotate.quality import dice_of
from panet_keras.annotate.store import Store
from panet_keras.data import load_csv

MODEL = "bus_uclm_lite0"
GOOD = 0.9
FIRST = 5
NORMALS = 0.2
"""Share of frames without lesion among the pictures."""
SMALLEST = 25
WAYS = ("by hand", "fixed", "loop")


class FirstSupports(Store):
    """A store whose support is what was there when the fifth lesion was accepted."""

    def supports(self):
        found = super().supports()
        lesions = [number for number, (*_, labels) in enumerate(found) if labels]
        return found[: lesions[FIRST - 1] + 1] if len(lesions) >= FIRST else found


def sample(records, count, seed):
    """Records of `count` pictures in a random order, a fifth of them without lesion."""
    rng = np.random.default_rng(seed)
    normal = [one for one in records if one.label == "Normal"]
    lesion = [one for one in records if one.label != "Normal"]
    few = min(len(normal), round(NORMALS * count))
    chosen = [normal[i] for i in rng.choice(len(normal), few, replace=False)]
    chosen += [lesion[i] for i in rng.choice(len(lesion), count - few, replace=False)]
    return [chosen[i] for i in rng.permutation(count)]


def strokes(found, truth):
    """How many a person needs from a mask to the truth."""
    eight = np.ones((3, 3), bool)
    anew = ndimage.label(truth, eight)[1]
    numbers, _ = ndimage.label(found != truth, eight)
    wrong = int((np.bincount(numbers.ravel())[1:] >= SMALLEST).sum())
    # An empty truth needs one key, "no lesion".
    return max(1, min(wrong, anew)) if truth.any() else 1


def work(records, way, model):
    """One way through the pictures: totals after each, and seconds for each proposal."""
    rows, seconds = [], {"first": [], "again": []}
    totals = {"accepted": 0, "pixels": 0, "strokes": 0}
    with tempfile.TemporaryDirectory() as place:
        pictures = pathlib.Path(place, "pictures")
        pictures.mkdir()
        truths = []
        for number, one in enumerate(records):
            link = pictures / f"{number:03d}{pathlib.Path(one.image).suffix}"
            link.symlink_to(pathlib.Path(one.image).resolve())
            truths.append((one.decode().mask > 0).astype(np.uint8))
        kind = FirstSupports if way == "fixed" else Store
        store, folder, loop = server.open_folder(pictures, f"{place}/out", say=lambda line: None, kind=kind)
        if way != "by hand":
            loop.use(model)
            loop.wanted = True
        for frame, truth in zip(list(folder.frames.values()), truths):
            folder.picture(frame)
            found = store.mask(frame)
            fine = dice_of(found > 0, truth > 0) >= GOOD
            proposed = store.proposal(frame) is not None
            if fine and proposed:
                totals["accepted"] += 1
            else:
                totals["pixels"] += int(np.count_nonzero(found != truth))
                totals["strokes"] += strokes(found, truth)
            if truth.any() and not (fine and proposed):
                store.stroke(frame, masks.encode(truth), store.version(frame), "truth", "simulated")
            store.decide(frame, "accepted" if truth.any() else "normal", store.version(frame), "simulated")
            rows.append(list(totals.values()))
            if way != "by hand":
                _propose(loop, frame, seconds)
        store.close()
    return rows, seconds


def _propose(loop, frame, seconds):
    """Has all proposals made, as the page's thread does between two pictures."""
    loop.changed(frame)
    pending = loop.store.pending()
    kind = "first" if pending and all(key is None for key in pending.values()) else "again"
    began, before, spent = time.perf_counter(), loop.quality, 0.0
    while loop.work():
        if loop.quality is before:  # its measure comes after the proposals, and is no part of their time
            spent = time.perf_counter() - began
    made = sum(key is not None for key in loop.store.pending().values())
    if made:
        seconds[kind].append(spent / made)


def run(data, pictures=60, orders=3):
    """Writes results/annotation.json."""
    records = load_csv(pathlib.Path(data) / "BUSI" / "table.csv")
    model = LocalModel.open(MODEL)
    ways = {way: [] for way in WAYS}
    times = {"first": [], "again": []}
    for seed in range(orders):
        chosen = sample(records, pictures, seed)
        for way in WAYS:
            rows, seconds = work(chosen, way, model)
            ways[way].append(rows)
            if way == "loop":
                for kind, values in seconds.items():
                    times[kind] += values
            print(f"order {seed}, {way}: accepted, pixels, strokes = {rows[-1]}", flush=True)
    hand = [rows[-1] for rows in ways["by hand"]]
    result = {
        "model": MODEL,
        "pictures": pictures,
        "orders": orders,
        "columns": ["accepted as proposed", "pixels changed", "strokes"],
        "totals": {way: _totals([rows[-1] for rows in found], hand) for way, found in ways.items()},
        "curves": {way: np.mean(found, 0).round(1).tolist() for way, found in ways.items()},
        "seconds_for_each_proposal": {
            "encoder and decoder": float(np.median(times["first"])) if times["first"] else None,
            "decoder alone, later rounds": float(np.median(times["again"])) if times["again"] else None,
        },
    }
    return result


def _totals(found, hand):
    """Means over the orders, with the least and the most, and the share of what the hand does."""
    found, hand = np.array(found, float), np.array(hand, float)
    share = found[:, 1:] / hand[:, 1:]
    return {
        "accepted": [float(found[:, 0].mean()), float(found[:, 0].min()), float(found[:, 0].max())],
        "pixels_share": [round(float(value), 3) for value in (share[:, 0].mean(), *_ends(share[:, 0]))],
        "strokes_share": [round(float(value), 3) for value in (share[:, 1].mean(), *_ends(share[:, 1]))],
    }


def _ends(values):
    return values.min(), values.max()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--pictures", type=int, default=60)
    parser.add_argument("--orders", type=int, default=3)
    parser.add_argument("--try", action="store_true", dest="trial", help="print, and write nothing")
    arguments = parser.parse_args()
    result = run(arguments.data, arguments.pictures, arguments.orders)
    question = (
        "How much less has a person to draw with proposals, and with corrections that support the next ones?"
    )
    if arguments.trial:
        print(result)
    else:
        record.write("annotation", question, result)


if __name__ == "__main__":
    main()
