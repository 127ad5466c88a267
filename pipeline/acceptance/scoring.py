"""Scores of one support set."""

import dataclasses
import json

import numpy as np

from pipeline.acceptance.models import BATCH


def score(answers, pictures, chosen, note):
    """Scores all queries of a support set, at their own size.

    Args:
        answers: `KerasAnswers` or alike, prepared. pictures: `Pictures`. chosen: `SupportSet`. note: function
            that is called with the number of queries that were scored just now.

    Returns:
        List of dictionaries: query (index), lesion, presence, fitted (the presence threshold that the
        supports give), dice, false_any, false_area, found and false (scores of `find_lesions`), counts
        [3, 10] of `calibration_counts`.
    """
    from panet_keras.evaluation.lesions import find_lesions
    from panet_keras.evaluation.scores import calibration_counts, score_mask
    from panet_keras.inference.presence import presence
    from panet_keras.inference.segmenter import restore

    fitted = fit(answers, pictures, chosen)
    state = answers.state(chosen.frames, [pictures.masks[index] for index in chosen.frames])
    rows = []
    for start in range(0, len(chosen.queries), BATCH):
        batch = chosen.queries[start : start + BATCH]
        for query, small in zip(batch, answers.segment(state, batch)):
            truth = pictures.truths[query]
            probability = np.asarray(restore(small[..., None], truth.shape))[..., 0]
            scores = score_mask(truth, probability, surface=False)
            rows.append(
                {
                    "query": query,
                    "lesion": bool(pictures.lesion[query]),
                    "presence": presence(small),
                    "fitted": fitted,
                    **{name: scores[name] for name in ("dice", "false_any", "false_area")},
                    **{
                        name: list(marks)
                        for name, marks in dataclasses.asdict(find_lesions(truth, probability)).items()
                    },
                    "counts": calibration_counts(truth, probability).tolist(),
                }
            )
        note(len(batch))
    return rows


def fit(answers, pictures, chosen):
    """The presence threshold that `FewShotSegmenter.calibrate` sets with these supports: each is answered
    with all others."""
    from panet_keras.inference.leave_one_out import HeldOut

    frames = chosen.frames
    alone = len(chosen.lesions) == 1
    asked = list(chosen.normals) if alone else frames
    if not asked:
        return answers.own_threshold
    probabilities = []
    for frame in asked:
        others = [other for other in frames if other != frame]
        state = answers.state(others, [pictures.masks[other] for other in others])
        probabilities.append(answers.segment(state, [frame])[0])
    probability = np.clip(np.array(probabilities, np.float64), 1e-7, 1 - 1e-7)
    logits = np.log(np.stack([1 - probability, probability], -1))
    masks = np.array([pictures.masks[frame] for frame in asked])
    return HeldOut(logits, masks, masks.any((1, 2))).threshold(answers.own_threshold)


def kept(file, run):
    """Rows of `run()`, from their file where they have been made before."""
    from panet_keras.files import write_whole

    if file.is_file():
        return json.loads(file.read_text("utf-8"))
    rows = run()
    write_whole(file, json.dumps(rows))
    return rows
