"""How does the model hold on pictures as another scanner might make them?

    python -m benchmarks.headline run headline BUS-UCLM WORK --rows ours        first: trains the folds
    python -m benchmarks.robustness BUS-UCLM WORK [ROW ...]            1 minute for each fold of each row

Support and query of each test image are changed alike, and the mask with them: one support from another
patient for each lesion image, scored at model size. ROW is "ours" or another row of that table, compared with
the first on the same episodes. No other data set is here: these changes are made up, and say which way a
recipe leans, not what it reaches elsewhere. `emptied` is the Dice that a presence threshold of 0.8 or 0.9
would cost.
"""

import sys

import numpy as np
from scipy import ndimage

from benchmarks import headline, record

SIZE = headline.TABLES["headline"]["recipe"].episodes.size[0]
THRESHOLDS = (0.8, 0.9)


def zoom(factor):
    """Enlarges a window round the lesion, whole lesion included: a shallower depth, or a cropped picture."""

    def change(image, mask, rng):
        rows, columns = np.nonzero(mask)
        least = max(np.ptp(rows), np.ptp(columns)) + 10
        side = min(SIZE, max(int(SIZE / factor), least))
        top, left = (
            int(np.clip((axis.min() + axis.max()) / 2 - side / 2, 0, SIZE - side)) for axis in (rows, columns)
        )
        window = slice(top, top + side), slice(left, left + side)
        return _resized(image[window], mask[window], SIZE)

    return change


def shrink(factor):
    """A deeper setting: the frame smaller, black around it."""

    def change(image, mask, rng):
        side = int(SIZE / factor)
        small, small_mask = _resized(image, mask, side)
        edge = (SIZE - side) // 2, SIZE - side - (SIZE - side) // 2
        return np.pad(small, (edge, edge, (0, 0))), np.pad(small_mask, (edge, edge))

    return change


def _resized(image, mask, side):
    import tensorflow as tf

    small = tf.image.resize(mask[..., None], (side, side), "nearest").numpy()[..., 0]
    return tf.image.resize(image, (side, side)).numpy(), small


def tone(function):
    return lambda image, mask, rng: (np.clip(function(image), 0, 1), mask)


def speckle(deviation):
    def change(image, mask, rng):
        noise = ndimage.gaussian_filter(rng.normal(size=mask.shape), 1.0)
        return np.clip(image * (1 + deviation * noise[..., None] / noise.std()), 0, 1), mask

    return change


def both(*changes):
    def change(image, mask, rng):
        for one in changes:
            image, mask = one(image, mask, rng)
        return image, mask

    return change


CHANGES = {
    "as it is": lambda image, mask, rng: (image, mask),
    "gamma 0.45": tone(lambda image: image**0.45),
    "gamma 2.2": tone(lambda image: image**2.2),
    "contrast 0.4": tone(lambda image: 0.4 * image + 0.24),
    "blur, 2 px": tone(lambda image: ndimage.gaussian_filter(image, (2, 2, 0))),
    "speckle 0.4": speckle(0.4),
    "zoom 1.5": zoom(1.5),
    "zoom 2.2": zoom(2.2),
    "shrink 1.5": shrink(1.5),
    "zoom 1.8, gamma 0.6, blur 1.2 px": both(
        zoom(1.8), tone(lambda image: ndimage.gaussian_filter(image**0.6, (1.2, 1.2, 0)))
    ),
}


INPUTS = ("support_images", "support_masks", "query_images")


def frames(test, change, indices):
    """Changed image float32 [H, W, 3] and mask uint8 [H, W] by index."""
    return {
        int(i): change(
            test.images[i].astype(np.float32) / 255,
            test.masks[i].astype(np.uint8),
            np.random.default_rng(int(i)),
        )
        for i in indices
    }


def tensors(frames, episode):
    """What a model takes of a one-shot episode, in the order of INPUTS."""
    import tensorflow as tf

    image, mask = frames[episode.supports[0]]
    query, _ = frames[episode.query]
    inputs = image[None, None, None], mask[None, None, None, ..., None], query[None, None]
    return [tf.constant(x, tf.uint8 if x.dtype == np.uint8 else tf.float32) for x in inputs]


def score(model, test, change):
    """(Dice, presence) of each lesion image, by index."""
    import tensorflow as tf

    from panet_keras.evaluation import dice, episode_list
    from panet_keras.inference.presence import presence

    @tf.function
    def probabilities(*inputs):
        return tf.nn.softmax(model(dict(zip(INPUTS, inputs))))[0, 0, ..., 1]

    changed, found = frames(test, change, np.flatnonzero(test.lesion)), {}
    for episode in episode_list(test.patients, test.lesion, 1, 1):
        answer = probabilities(*tensors(changed, episode))
        truth = changed[episode.query][1] > 0
        found[episode.query] = float(dice(truth, answer.numpy() > 0.5)), float(presence(answer))
    return found


def main(data, work, *rows):
    from panet_keras.data import k_folds, load_bus_uclm, split_by_patients
    from panet_keras.evaluation import TestImages, paired_difference

    rows = rows or ("ours",)
    records = load_bus_uclm(data)
    scores, patients, folds = {}, {}, []
    for fold, members in enumerate(k_folds(records, headline.FOLDS, seed=0)):
        models = {row: headline.trained(work, fold, row) for row in rows}
        if None in models.values():
            continue
        folds.append(fold)
        test = TestImages(split_by_patients(records, members)["test"], (SIZE, SIZE))
        patients |= {(fold, query): patient for query, patient in enumerate(test.patients)}
        for row, model in models.items():
            for name, change in CHANGES.items():
                found = {(fold, query): value for query, value in score(model, test, change).items()}
                scores.setdefault((row, name), {}).update(found)
    table = {}
    for (row, name), found in scores.items():
        queries = sorted(found)
        dice, present = np.array([found[q] for q in queries]).T
        entry = {"dice": float(dice.mean()), "missed": float((dice < 0.1).mean()), "images": len(queries)}
        entry["emptied"] = {
            str(threshold): float((dice * (present < threshold)).mean()) for threshold in THRESHOLDS
        }
        if row != rows[0]:
            first = [scores[rows[0], name][q][0] for q in queries]
            entry["minus the first"] = paired_difference(dice, first, [patients[q] for q in queries])
        table.setdefault(row, {})[name] = entry
    record.write(
        "robustness",
        "How does the model hold on pictures as another scanner might make them?",
        {"folds": folds, "table": table},
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
