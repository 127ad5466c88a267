"""The page of an acceptance, and its worst pictures."""

import numpy as np
from PIL import Image

from pipeline.acceptance.limits import FITTED, PRESET, TITLES
from pipeline.orchestration.cache import versions
from pipeline.report import figures
from pipeline.report.html import render

PERCENT = ("missed", "marked_normals", "lesions_found")
COLUMNS = (*TITLES,)


def write_worst(folder, chosen, answers, pictures, drawn, shots):
    """Draws pictures with truth, mask and probability.

    Args:
        folder: to make. chosen: of `pipeline.acceptance.summary.worst`. answers, pictures, drawn: as they
            were scored. shots: the judged number of supports.

    Returns:
        List of (file's path from the report, caption).
    """
    from panet_keras.inference.segmenter import restore
    from panet_keras.pictures.decode import decode_image
    from panet_keras.pictures.overlay import draw_mask, side_by_side

    folder.mkdir()
    told = []
    for number, (query, figure) in enumerate(chosen, 1):
        one = next(one for one in drawn if one.shots == shots and query in one.queries)
        state = answers.state(one.frames, [pictures.masks[index] for index in one.frames])
        small, truth = answers.segment(state, [query])[0], pictures.truths[query]
        probability = np.asarray(restore(small[..., None], truth.shape))[..., 0]
        record = pictures.records[query]
        picture = decode_image(record.image, name=record.filename)
        grey = np.repeat((probability * 255).astype(np.uint8)[..., None], 3, -1)
        row = [picture, draw_mask(picture, truth), draw_mask(picture, probability > 0.5), grey]
        Image.fromarray(side_by_side(row, 220)).save(folder / f"{number:02d}.png")
        told.append((f"worst/{number:02d}.png", f"{record.filename} ({record.label}): {figure}"))
    return told


def write_report(path, result, worst):
    """Writes the page.

    Args:
        path: HTML file. result: of `pipeline.acceptance.accept`. worst: of `write_worst`.
    """
    table, judged = result["table"], result["limits"]
    curve = {
        f"{shots}": {"protocol": "cross-patient", "shots": shots, "dice": row[judged["threshold"]]["dice"]}
        for shots, row in table.items()
    }
    counts = {f"{shots} supports": row[FITTED]["counts"] for shots, row in table.items() if row[FITTED]["n"]}
    known = {name: {"protocol": "own"} for name in counts}
    page = {
        "result": result,
        "header": [
            "Annotated pictures",
            "Presence threshold",
            *TITLES.values(),
            "Lesion pictures (patients)",
        ],
        "rows": [
            [
                shots,
                _threshold(kind, row[kind]),
                *(_cell(name, row[kind][name]) for name in COLUMNS),
                _n(row[kind]),
            ]
            for shots, row in table.items()
            for kind in (PRESET, FITTED)
        ],
        "groups": [
            [name, *(_cell(column, row[column]) for column in COLUMNS), _n(row)]
            for name, row in result["groups"].items()
        ],
        "drift": [
            [
                one["text"],
                f"{one['measure']} {one['value']:.2f}",
                f"{one['threshold']:g}",
                "moved" if one["moved"] else "",
            ]
            for one in result["drift"]
        ],
        "normals": max((row[FITTED]["normals"] for row in table.values()), default=0),
        "froc": [
            [shots, *(f"{share:.1%}" for share in row[judged["threshold"]]["froc"].values())]
            for shots, row in table.items()
        ],
        "worst": worst,
        "figures": {
            "shots": figures.shots(curve),
            "reliability": figures.reliability(counts, known, ("own",)),
        },
        "packages": ", ".join(f"{package} {version}" for package, version in versions().items()),
    }
    path.write_text(render("acceptance.html", **page), "utf-8")


def _threshold(kind, row):
    return f"{'the model’s own' if kind == PRESET else 'fitted'}, {row['threshold']:.2f}"


def _n(row):
    return f"{row['n']} ({row['patients']})"


def _cell(name, score):
    mean, low, high = (score[key] for key in ("mean", "low", "high"))
    if mean != mean:
        return "cannot be told"
    if name in PERCENT:
        return f"{mean:.1%} ({low:.1%} to {high:.1%})"
    return f"{mean:.3f} ({low:.3f} to {high:.3f})"
