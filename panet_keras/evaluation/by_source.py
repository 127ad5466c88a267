"""Scores of each hospital apart."""

import numpy as np

from panet_keras.evaluation.lesions import lesion_figures
from panet_keras.evaluation.summary import bootstrap, defined_mean, miss_rate, per_image


def by_source(rows, normal_rows, records, seed=0):
    """Scores of the images of each source, with its own interval: a mean over hospitals hides the one where a
    model fails.

    Args:
        rows, normal_rows: from `run_protocol`, of images with and without a lesion. records: test records.
            seed: of the bootstrap.

    Returns:
        Dictionary of source to: images, patients, dice (mean, low, high), miss_rate, marks
            (`lesion_figures`), normals (their number),
        and false_any, the share of the normal frames with any falsely marked pixel (None without normal
        frames). A source of which no lesion image was scored has images 0, and not_scored, its number of images.
        Empty where all images are of one source.
    """
    sources = np.array([record.source for record in records])
    patients = np.array([record.patient for record in records])
    result = {}
    for source in sorted(set(sources.tolist())) if len(set(sources.tolist())) > 1 else ():
        own, own_normal = (
            [row for row in group if sources[row["query"]] == source] for group in (rows, normal_rows)
        )
        if not own:
            result[source or "not told"] = {"images": 0, "not_scored": int((sources == source).sum())}
            continue
        queries, dice = per_image(own, "dice")
        low, high = bootstrap(dice, patients[queries], seed)
        _, marked = per_image(own_normal, "false_any")
        result[source or "not told"] = {
            "images": len(queries),
            "patients": len(set(patients[queries].tolist())),
            "dice": {"mean": defined_mean(dice), "low": low, "high": high},
            "miss_rate": miss_rate(dice),
            "marks": lesion_figures(own, own_normal),
            "normals": len(marked),
            "false_any": float(marked.mean()) if len(marked) else None,
        }
    return result
