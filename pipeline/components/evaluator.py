"""Evaluator: the protocol on the exported SavedModel, and the blessing."""

import dataclasses
import hashlib
import json
import logging
import math

from pipeline.orchestration.annotations import InputArtifact, OutputArtifact, Parameter, WorkDir, component
from pipeline.orchestration.artifacts import Examples, Model, ModelBlessing, ModelEvaluation
from pipeline.terminal import Progress

LOG = logging.getLogger(__name__)
GALLERY = ("best", "median", "worst")
QUICK_QUERIES = 60
"""Of `evaluator.quick`: at most so many images are asked for."""


@component
def Evaluator(
    examples: InputArtifact[Examples],
    model: InputArtifact[Model],
    settings: Parameter[dict],
    size: Parameter[tuple],
    work_dir: WorkDir,
    evaluation: OutputArtifact[ModelEvaluation],
    blessing: OutputArtifact[ModelBlessing],
    baseline: InputArtifact[ModelEvaluation] = None,
):
    """Scores the model through the signatures that will be served, and blesses it or not, always with
    reasons.

    Args:
        examples, model: inputs.
        settings: fields of `pipeline.config.Evaluator`.
        size: (height, width) of the model's images.
        work_dir: finished rows of the protocol; an interrupted evaluation goes on after the last one.
        evaluation, blessing: outputs.
        baseline: evaluation of the last blessed model, if there is one.
    """
    from panet_keras.data import read_examples
    from panet_keras.evaluation import TestImages, evaluate, some_queries

    predict = served(model)
    test = TestImages(read_examples(examples.split("test")), tuple(size))
    options = {name: settings[name] for name in ("shots", "repeats", "seed", "protocols")}
    if settings["quick"]:
        options |= {"shots": settings["shots"][:1], "repeats": 1, "protocols": ()}
        options["queries"] = some_queries(test.lesion, QUICK_QUERIES)
    if settings["supports"]:
        options["supports"] = indices(test, settings["supports"])
    progress = Progress(LOG, "episodes")
    rows, table, calibration, skipped = evaluate(
        predict,
        test,
        **options,
        progress=lambda name, done, total: progress(done, total, name),
        work_dir=work_dir,
    )
    result = summarised(rows, table, test, settings) | {"calibration": calibration, "skipped": skipped}
    contents = contents_of(examples, test)
    for file, facts in result["per_image"].items():
        facts["content"] = contents[file]
    before = json.loads(baseline.evaluation.read_text("utf-8")) if baseline else None
    verdict = judge(result, settings, before)
    result |= {"baseline": verdict.comparison, "notes": verdict.notes}
    blessing.write(verdict.blessed, verdict.reasons)
    evaluation.rows.write_text(json.dumps(rows), "utf-8")
    evaluation.evaluation.write_text(json.dumps(result, indent=1, ensure_ascii=False), "utf-8")
    draw(evaluation, result, rows, test, model, predict, size)
    headline = result["headline"]
    dice, annotated = table[headline]["dice"], table[headline]["annotated"]
    evaluation.properties |= {
        "dice": dice["mean"],
        "dice_low": dice["low"],
        "dice_high": dice["high"],
        "annotated": annotated,
    }
    interval = f"Dice {dice['mean']:.3f} ({dice['low']:.3f} to {dice['high']:.3f}) at {headline}, {annotated} annotated images as supports"
    return {
        "summary": f"{interval}; {'blessed' if verdict.blessed else 'NOT blessed: ' + '; '.join(verdict.reasons)}"
    }


def served(model):
    """The function (support images, support masks, query) to probabilities of a `Model`, through the
    signatures a server uses."""
    import tensorflow as tf

    signatures = tf.saved_model.load(str(model.serving)).signatures

    def predict(images, masks, query):
        state = signatures["encode_support"](
            support_images=tf.constant(images), support_masks=tf.constant(masks)
        )
        return signatures["segment"](**state, query_images=tf.constant(query))["probabilities"].numpy()

    return predict


def indices(test, files):
    """Indices of test images by their file names.

    Raises:
        ConfigError: a name that no test image has.
    """
    from pipeline.errors import ConfigError

    place = {record.filename: index for index, record in enumerate(test.records)}
    unknown = [file for file in files if file not in place]
    if unknown:
        some = ", ".join(sorted(place)[:3])
        raise ConfigError(
            f"evaluator.supports has {unknown}; expected file names of the {len(place)} test images, such as {some}."
        )
    return [place[file] for file in files]


def contents_of(examples, test):
    """Dictionary of each test image's file to a digest of its picture and its mask: other data sets may use the name,
    too, and masks get corrected."""
    from pipeline.validation.image_checks import read_rows

    pictures = {row.filename: row.digest for row in read_rows(examples.split("test"), "test")}
    return {
        record.filename: hashlib.sha256(pictures[record.filename].encode() + truth.tobytes()).hexdigest()[:32]
        for record, truth in zip(test.records, test.truths)
    }


def shared(first, second):
    """What two evaluations scored alike.

    Args:
        first, second: `per_image` of evaluation.json; of an older version it has no content, and the name counts.

    Returns:
        Sorted files of the same name, picture and mask; and how many have no more than the name in common.
    """
    names = sorted(set(first) & set(second))
    contents = [[images[name].get("content") for images in (first, second)] for name in names]
    same = [name for name, pair in zip(names, contents) if None in pair or pair[0] == pair[1]]
    return same, len(names) - len(same)


def summarised(rows, table, test, settings):
    """What evaluation.json says of the scores.

    Args:
        rows, table: of `panet_keras.evaluation.evaluate`. test: `TestImages`. settings: of the Evaluator.

    Returns:
        Dictionary: headline, table, strata, sources (`by_source`), settings, gallery (name to file, Dice and
            supports), per_image (file to Dice, patient and the
        support files of each repeat; evaluation.json has its content, too, of `contents_of`), and supports: the files of all annotated images that were supports of
        the headline.
    """
    from panet_keras.evaluation import by_source, strata

    headline = next(iter(table))
    files = [record.filename for record in test.records]
    drawn = {}
    for row in rows[headline]:
        drawn.setdefault(row["query"], []).append([files[index] for index in row["supports"]])
    per_image = {
        files[query]: {"dice": dice, "patient": test.records[query].patient, "supports": drawn[query]}
        for query, dice in _mean_dice(rows[headline]).items()
    }
    gallery = {
        name: {"file": files[query], "dice": dice, "supports": drawn[query][0]}
        for name, (query, dice) in choose(rows[headline]).items()
    }
    return {
        "headline": headline,
        "table": table,
        "strata": strata(rows[headline], test.records, [float(mask.mean()) for mask in test.truths]),
        "sources": by_source(
            rows[headline], rows.get(f"{headline}, normal", ()), test.records, settings["seed"]
        ),
        "settings": dict(settings),
        "gallery": gallery,
        "per_image": per_image,
        "supports": sorted({name for sets in drawn.values() for names in sets for name in names}),
    }


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Whether a model is blessed.

    Attributes:
        blessed: bool. reasons: what decided it. notes: what is also to know, and decided nothing.
        comparison: with the last blessed model, of `paired_difference`, or None.
    """

    blessed: bool
    reasons: list
    notes: list
    comparison: dict | None


def judge(result, settings, before):
    """Decides the blessing.

    Args:
        result: of `summarised`. settings: of the Evaluator. before: evaluation.json of the last blessed
            model, or None.

    Returns:
        `Verdict`.
    """
    dice = result["table"][result["headline"]]["dice"]["mean"]
    low = math.isnan(dice) or dice < settings["min_dice"]
    passed, failed, notes = [], [], []
    if settings["quick"]:
        failed.append(
            "evaluator.quick is a look at few images, not a judgement; run without it to have the model blessed"
        )
    text = (
        f"mean Dice {dice:.3f} is {'below' if low else 'at least'} evaluator.min_dice {settings['min_dice']}"
    )
    (failed if low else passed).append(text)
    comparison = None
    if before is None:
        notes.append("no blessed model before this one to compare with")
    elif before["headline"] != result["headline"]:
        notes.append(f"the last blessed model was scored at {before['headline']}; not compared")
    elif list(before["settings"].get("supports", ())) != list(settings["supports"]):
        notes.append("the last blessed model was scored with other supports; not compared")
    elif not shared(result["per_image"], before["per_image"])[0]:
        notes.append("the last blessed model was scored on other images; not compared")
    else:
        comparison, changed = _against(result["per_image"], before["per_image"])
        if changed:
            notes.append(
                f"{changed} images have the name of one that the last blessed model was scored on, and another picture or mask; not compared"
            )
        interval = f"{comparison['mean']:+.3f} Dice ({comparison['low']:+.3f} to {comparison['high']:+.3f})"
        text = f"{interval} against the last blessed model on {comparison['n']} images"
        if not comparison["mean"] >= -settings["max_drop"]:  # NaN is no proof
            failed.append(f"{text}, a drop of more than evaluator.max_drop {settings['max_drop']}")
        else:
            passed.append(text)
    return Verdict(not failed, failed or passed, notes, comparison)


def _against(now, before):
    from panet_keras.evaluation import paired_difference

    files, changed = shared(now, before)
    dice = [[scores[name]["dice"] for name in files] for scores in (now, before)]
    return paired_difference(*dice, [now[name]["patient"] for name in files]), changed


def draw(evaluation, result, rows, test, model, predict, size):
    """Gallery and Grad-CAM of the best, the median and the worst image, with the supports of their first
    repeat."""
    from panet_keras.evaluation import Episode
    from pipeline.report import gallery as pictures

    headline = rows[result["headline"]]
    first = {
        row["query"]: Episode(row["query"], tuple(row["supports"]), 0)
        for row in headline
        if row["repeat"] == 0
    }
    chosen = choose(headline)
    pictures.write_gallery(evaluation.gallery, chosen, first, test, predict)
    pictures.write_grad_cam(evaluation.grad_cam, model.keras, chosen, first, test, tuple(size))


def choose(rows):
    """Query index and mean Dice of the best, the median and the worst image."""
    ranked = sorted(_mean_dice(rows).items(), key=lambda item: item[1])
    return dict(zip(GALLERY, (ranked[-1], ranked[len(ranked) // 2], ranked[0])))


def _mean_dice(rows):
    """Query index to mean Dice over its repeats."""
    from panet_keras.evaluation import per_image

    queries, dice = per_image(rows, "dice")
    return {int(query): float(value) for query, value in zip(queries, dice)}
