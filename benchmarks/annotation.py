"""Does the loop pay: how much less has a person to draw with proposals, and with corrections that support the
next?

    python -m benchmarks.annotation DATA WORK [--pictures 60] [--orders 3] [--folder BUSI] [--model NAME]

takes about 10 minutes for each order on 2 quiet cores, most of them to learn.

DATA holds BUSI (or another folder with a `table.csv`). What is done lies in WORK, with a log; started again, it
goes on after the last picture order and way that are whole. A simulated person goes through pictures in a random order, the same in each way of
working:

* by hand: every lesion is drawn;
* fixed: proposals with the first five lesions as support (and the normal frames seen until then), for good;
* loop: every accepted or corrected mask supports the next proposal, through `panet_keras.annotate.loop`;
* learning: the loop, and the person has the model learn (`panet_keras.annotate.learn`) when 10, 20 and 40
  lesions are done, and waits for it.

The person accepts a mask whose Dice with the truth is at least 0.9, and corrects any other to the truth; an
empty proposal for a frame without lesion is accepted as well. Pixels are those that are changed. A stroke is
one drag of the mouse: by hand each lesion takes one; a correction takes one for each connected region of
wrong pixels (of 25 or more), or draws the lesions anew where that is less. Keys count in no way: each
picture takes one in every way, to accept it or to say that there is no lesion, which also empties a wrong
proposal.

Proposals are made of the next picture alone, and the curve of quality is not: the page makes all, and the
numbers are the same, for no proposal depends on another.

The model should not have seen BUSI: bus_uclm_lite0, of another hospital, is the default; the shipped
bus_multi_lite0 was trained on it.
"""

import argparse
import json
import pathlib
import tempfile
import time

import numpy as np
from scipy import ndimage

from benchmarks import record
from panet_keras.annotate import masks, server
from panet_keras.annotate.learn import Learner
from panet_keras.annotate.model import LocalModel
from panet_keras.annotate.quality import dice_of
from panet_keras.annotate.store import Store
from panet_keras.data import load_csv
from panet_keras.files import write_whole

MODEL = "bus_uclm_lite0"
GOOD = 0.9
FIRST = 5
NORMALS = 0.2
"""Share of frames without lesion among the pictures."""
SMALLEST = 25
WAYS = ("by hand", "fixed", "loop", "learning")
LEARN = (10, 20, 40)
"""Lesions."""
COLUMNS = ("accepted as proposed", "pixels changed", "strokes")


class NextAlone(Store):
    """A store of which one frame at a time gets a proposal.

    Attributes:
        next: identifier of that frame.
    """

    next = None

    def pending(self):
        return {identifier: key for identifier, key in super().pending().items() if identifier == self.next}


class FirstSupports(NextAlone):
    """Its support is what was there when the fifth lesion was accepted."""

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
    """How many a person needs from a mask to the truth; none to an empty one, for which there is a key."""
    eight = np.ones((3, 3), bool)
    anew = ndimage.label(truth, eight)[1]
    numbers, _ = ndimage.label(found != truth, eight)
    wrong = int((np.bincount(numbers.ravel())[1:] >= SMALLEST).sum())
    return max(1, min(wrong, anew)) if truth.any() else 0


def work(records, way, model):
    """One way through the pictures: totals of `COLUMNS` after each picture."""
    rows, totals = [], [0, 0, 0]
    with tempfile.TemporaryDirectory() as place:
        pictures = pathlib.Path(place, "pictures")
        pictures.mkdir()
        truths = []
        for number, one in enumerate(records):
            link = pictures / f"{number:03d}{pathlib.Path(one.image).suffix}"
            link.symlink_to(pathlib.Path(one.image).resolve())
            truths.append((one.decode().mask > 0).astype(np.uint8))
        kind = FirstSupports if way == "fixed" else NextAlone
        store, folder, loop = server.open_folder(pictures, f"{place}/out", say=lambda line: None, kind=kind)
        if way != "by hand":
            loop.use(model)
            loop.wanted, loop.curve = True, False
        lesions = 0
        for frame, truth in zip(list(folder.frames.values()), truths):
            store.next = frame.id
            loop.changed(frame)
            while way != "by hand" and loop.work():
                pass
            folder.picture(frame)
            found = store.mask(frame)
            if store.proposal(frame) and dice_of(found > 0, truth > 0) >= GOOD:
                totals[0] += 1
            else:
                totals[1] += int(np.count_nonzero(found != truth))
                totals[2] += strokes(found, truth)
                if truth.any():
                    store.stroke(frame, masks.encode(truth), store.version(frame), "truth", "simulated")
            store.decide(frame, "accepted" if truth.any() else "normal", store.version(frame), "simulated")
            rows.append(list(totals))
            lesions += bool(truth.any())
            if way == "learning" and truth.any() and lesions in LEARN:
                Learner(loop).learn()
        loop.stop()
        store.close()
    return rows


def run(data, work_folder, pictures=60, orders=3, name=MODEL, folder="BUSI"):
    """The result, made of what lies in `work_folder` and what is still to do."""
    kept, model = pathlib.Path(work_folder), None
    kept.mkdir(parents=True, exist_ok=True)
    records = load_csv(pathlib.Path(data) / folder / "table.csv")
    ways = {way: [] for way in WAYS}
    for seed in range(orders):
        chosen = sample(records, pictures, seed)
        for way in WAYS:
            file = kept / f"{folder}-{pathlib.Path(name).name}-{pictures}-{seed}-{way.replace(' ', '_')}.json"
            if not file.exists():
                model = model or LocalModel.open(name)
                began = time.time()
                write_whole(file, json.dumps(work(chosen, way, model)))
                line = f"order {seed}, {way}: {time.time() - began:.0f} s"
                print(line, flush=True)
                with open(kept / "log.txt", "a") as log:
                    log.write(f"{time.strftime('%F %T')} {line}\n")
            ways[way].append(json.loads(file.read_text()))
            print(f"order {seed}, {way}: {', '.join(COLUMNS)} = {ways[way][-1][-1]}", flush=True)
    hand = [rows[-1] for rows in ways["by hand"]]
    return {
        "model": name,
        "folder": folder,
        "pictures": pictures,
        "orders": orders,
        "columns": COLUMNS,
        "totals": {way: _totals([rows[-1] for rows in found], hand) for way, found in ways.items()},
        "curves": {way: np.mean(found, 0).round(1).tolist() for way, found in ways.items()},
    }


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
    parser.add_argument("work", help="folder for what is done")
    parser.add_argument("--pictures", type=int, default=60)
    parser.add_argument("--orders", type=int, default=3)
    parser.add_argument(
        "--folder",
        default="BUSI",
        help="of DATA (default: %(default)s); another one writes annotation_FOLDER.json",
    )
    parser.add_argument(
        "--model", default=MODEL, help=f"a preset's name or folder, or a .keras file (default: {MODEL})"
    )
    parser.add_argument("--try", action="store_true", dest="trial", help="print, and write no result")
    arguments = parser.parse_args()
    result = run(
        arguments.data,
        arguments.work,
        arguments.pictures,
        arguments.orders,
        arguments.model,
        arguments.folder,
    )
    question = (
        "How much less has a person to draw with proposals, and with corrections that support the next ones?"
    )
    if arguments.trial:
        print(result["totals"])
    else:
        record.write(
            "annotation" if arguments.folder == "BUSI" else f"annotation_{arguments.folder}", question, result
        )


if __name__ == "__main__":
    main()
