"""What pays at prediction, without training again? Paired against the plain answer, on the same episodes.

    python -m benchmarks.headline run headline BUS-UCLM WORK --rows ours        first: trains the folds
    python -m benchmarks.inference_options BUS-UCLM WORK               about 10 minutes for each fold that is there

* mirrored query: mean with the answer for the mirrored frame (`FewShotSegmenter(mirror=True)`);
* mirrored support: each support image also mirrored, as a further shot;
* three sizes: mean of the answers at 192, 256 and 320 pixels;
* mean of one-shot answers: instead of one answer from all shots;
* self-support: the query with its first mask as a further shot, as SSP's self-support prototypes (Fan et al.,
  ECCV 2022);
* 320, 384: the model's size, trained at 256;
* float16 weights: what `export_saved_model(..., weights_dtype="float16")` computes with.
"""

import sys

import numpy as np

from benchmarks import headline, record

REPEATS = 2
ROWS = (("cross-patient", 1), ("cross-patient", 5))


def options(predict):
    """Functions of (support images, masks, query) to probabilities, by name."""
    from panet_keras.pictures.decode import resize_nearest
    from panet_keras.pictures.resize import resize_images

    def mirrored_query(images, masks, query):
        return (predict(images, masks, query) + predict(images, masks, query[..., ::-1, :])[..., ::-1, :]) / 2

    def mirrored_support(images, masks, query):
        both = [np.concatenate([x, x[..., ::-1, :]], 2) for x in (images, masks)]
        return predict(*both, query)

    def one_by_one(images, masks, query):
        return np.mean(
            [predict(images[:, :, k : k + 1], masks[:, :, k : k + 1], query) for k in range(images.shape[2])],
            0,
        )

    def three_sizes(images, masks, query):
        answers = [predict(images, masks, query)]
        for side in (192, 320):
            small = [resize_images(x, (side, side)).numpy() for x in (images, query)]
            marked = np.array(
                [
                    [[resize_nearest(shot[..., 0], (side, side)) for shot in way] for way in batch]
                    for batch in masks
                ]
            )
            answers.append(
                resize_images(predict(small[0], marked[..., None], small[1]), query.shape[2:4]).numpy()
            )
        return np.mean(answers, 0)

    def self_support(images, masks, query):
        first = predict(images, masks, query)
        own = (first[..., 1:] > 0.7).astype(np.uint8)[:, None]
        if not own.any():
            return first
        return predict(np.concatenate([images, query[:, None]], 2), np.concatenate([masks, own], 2), query)

    return {
        "plain": predict,
        "mirrored query": mirrored_query,
        "mirrored support": mirrored_support,
        "three sizes": three_sizes,
        "mean of one-shot answers": one_by_one,
        "self-support": self_support,
    }


def score(model, records, size, chosen):
    """Dice by (row, option, query), with the patients of the queries."""
    import tensorflow as tf

    from panet_keras.evaluation import TestImages, episode_list, per_image, run_protocol

    @tf.function(reduce_retracing=True)
    def probabilities(images, masks, query):
        return tf.nn.softmax(model({"support_images": images, "support_masks": masks, "query_images": query}))

    def predict(*tensors):
        return probabilities(*map(tf.constant, tensors)).numpy()

    test = TestImages(records, (size, size))
    found = {}
    for protocol, shots in ROWS:
        episodes = episode_list(test.patients, test.lesion, shots, REPEATS, protocol=protocol)
        for name, function in options(predict).items():
            if name in chosen and (name != "mean of one-shot answers" or shots > 1):
                rows, _ = run_protocol(function, test, episodes, protocol, surface=False)
                found[f"{protocol}, {shots} shot(s)", name] = dict(zip(*map(list, per_image(rows, "dice"))))
    return found, test.patients


def main(data, work):
    import tensorflow as tf

    from panet_keras.data import k_folds, load_bus_uclm, split_by_patients
    from panet_keras.evaluation import paired_difference

    records = load_bus_uclm(data)
    parts = k_folds(records, headline.FOLDS, seed=0)
    joined, patients, folds = {}, {}, []
    for fold, test in enumerate(parts):
        model = headline.trained(work, fold)
        if model is None:
            continue
        folds.append(fold)
        tests = split_by_patients(records, test)["test"]
        for variant in ("", "320", "384", "float16 weights"):
            if variant.startswith("float16"):
                for weight in model.weights:
                    weight.assign(tf.cast(tf.cast(weight.value, tf.float16), tf.float32))
            chosen = ("plain",) if variant else options(None)
            found, owners = score(model, tests, int(variant) if variant.isdigit() else 256, chosen)
            for (row, name), values in found.items():
                name = variant or name
                # Images of different folds are different images.
                joined.setdefault((row, name), {}).update({(fold, int(q)): d for q, d in values.items()})
            patients |= {(fold, q): owners[q] for q in range(len(owners))}
        tf.keras.backend.clear_session()
    table = {}
    for (row, name), values in joined.items():
        plain = joined[row, "plain"]
        queries = sorted(values)
        table.setdefault(row, {})[name] = {
            "dice": float(np.mean(list(values.values()))),
            "minus plain": paired_difference(
                [values[q] for q in queries], [plain[q] for q in queries], [patients[q] for q in queries]
            ),
        }
    result = {"folds": folds, "repeats": REPEATS, "seed": 0, "table": table}
    record.write("inference_options", "What pays at prediction, without training again?", result)
    for row, entry in table.items():
        for name, value in entry.items():
            paired = value["minus plain"]
            print(
                f"{row:26} {name:26} {value['dice']:.3f}  {paired['mean']:+.4f} ({paired['low']:+.4f} to {paired['high']:+.4f})"
            )


if __name__ == "__main__":
    main(*sys.argv[1:])
