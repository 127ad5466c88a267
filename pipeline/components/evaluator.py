"""Evaluator: the protocol on the exported SavedModel, and the blessing."""

import json
import math

from pipeline.orchestration.annotations import InputArtifact, OutputArtifact, Parameter, WorkDir, component
from pipeline.orchestration.artifacts import Examples, Model, ModelBlessing, ModelEvaluation

GALLERY = ("best", "median", "worst")


@component
def Evaluator(
    examples: InputArtifact[Examples],
    model: InputArtifact[Model],
    settings: Parameter[dict],
    size: Parameter[int],
    work_dir: WorkDir,
    evaluation: OutputArtifact[ModelEvaluation],
    blessing: OutputArtifact[ModelBlessing],
    baseline: InputArtifact[ModelEvaluation] = None,
):
    """Scores the model through the signatures that will be served, and blesses it or not, always with reasons.

    Args:
        examples, model: inputs.
        settings: fields of `pipeline.config.Evaluator`.
        size: height and width of the model's images.
        work_dir: finished rows of the protocol; an interrupted evaluation goes on after the last one.
        evaluation, blessing: outputs.
        baseline: evaluation of the last blessed model, if there is one.
    """
    import tensorflow as tf

    from panet_keras.data import read_examples
    from panet_keras.evaluation import TestImages, episode_list, evaluate, strata
    from pipeline.report.html import gallery as pictures

    signatures = tf.saved_model.load(str(model.serving)).signatures

    def predict(images, masks, query):
        state = signatures["encode_support"](support_images=tf.constant(images), support_masks=tf.constant(masks))
        return signatures["segment"](**state, query_images=tf.constant(query))["probabilities"].numpy()

    test = TestImages(read_examples(examples.split("test")), (size, size))
    options = {name: settings[name] for name in ("shots", "repeats", "seed", "protocols")}
    rows, table, calibration, skipped = evaluate(predict, test, **options, progress=_progress, work_dir=work_dir)
    headline = next(iter(table))
    area = [float(mask.mean()) for mask in test.truths]
    result = {
        "headline": headline,
        "table": table,
        "strata": strata(rows[headline], test.records, area),
        "calibration": calibration,
        "skipped": skipped,
        "settings": dict(settings),
        "per_image": _per_image(rows[headline], test),
    }
    blessed, reasons, result["baseline"] = judge(result, settings, baseline)
    blessing.write(blessed, reasons)
    evaluation.rows.write_text(json.dumps(rows), "utf-8")
    evaluation.evaluation.write_text(json.dumps(result, indent=1), "utf-8")
    first = {
        row["query"]: e
        for row, e in zip(
            rows[headline],
            episode_list(
                test.patients, test.lesion, settings["shots"][0], settings["repeats"], settings["seed"], digests=test.digests
            ),
        )
        if row["repeat"] == 0
    }
    chosen = choose(rows[headline])
    pictures.write_gallery(evaluation.gallery, chosen, first, test, predict)
    pictures.write_grad_cam(evaluation.grad_cam, model.keras, chosen, first, test, (size, size))
    dice = table[headline]["dice"]
    evaluation.properties |= {"dice": dice["mean"], "dice_low": dice["low"], "dice_high": dice["high"]}
    interval = f"{dice['mean']:.3f} ({dice['low']:.3f} to {dice['high']:.3f})"
    return {"summary": f"Dice {interval} at {headline}; {'blessed' if blessed else 'NOT blessed: ' + '; '.join(reasons)}"}


def judge(result, settings, baseline):
    """Decides the blessing.

    Returns:
        (blessed, reasons, comparison with the baseline or None).
    """
    from panet_keras.evaluation import paired_difference

    dice = result["table"][result["headline"]]["dice"]["mean"]
    reasons, blessed, comparison = [], True, None
    if math.isnan(dice) or dice < settings["min_dice"]:
        blessed = False
        reasons.append(f"mean Dice {dice:.3f} is below evaluator.min_dice {settings['min_dice']}")
    else:
        reasons.append(f"mean Dice {dice:.3f} is at least evaluator.min_dice {settings['min_dice']}")
    if baseline is None:
        return blessed, [*reasons, "no blessed model before this one to compare with"], None
    before = json.loads(baseline.evaluation.read_text("utf-8"))["per_image"]
    now = result["per_image"]
    shared = sorted(set(before) & set(now))
    if not shared:
        return blessed, [*reasons, "the last blessed model was scored on other images; not compared"], None
    comparison = paired_difference(
        [now[name]["dice"] for name in shared], [before[name]["dice"] for name in shared], [now[name]["patient"] for name in shared]
    )
    text = f"{comparison['mean']:+.3f} Dice ({comparison['low']:+.3f} to {comparison['high']:+.3f}) against the last blessed model on {len(shared)} images"
    if comparison["mean"] < -settings["max_drop"]:
        blessed = False
        text += f", a drop of more than evaluator.max_drop {settings['max_drop']}"
    return blessed, [*reasons, text], comparison


def _per_image(rows, test):
    from panet_keras.evaluation import per_image

    queries, dice = per_image(rows, "dice")
    return {test.records[q].filename: {"dice": float(d), "patient": test.records[q].patient} for q, d in zip(queries, dice)}


def choose(rows):
    """Query index and mean Dice of the best, the median and the worst image."""
    from panet_keras.evaluation import per_image

    queries, dice = per_image(rows, "dice")
    order = dice.argsort(kind="stable")
    picks = (order[-1], order[len(order) // 2], order[0])
    return {name: (int(queries[i]), float(dice[i])) for name, i in zip(GALLERY, picks)}


def _progress(name, done, total):
    print(f"      {name}: {done}/{total} episodes", flush=True)
