"""The report of a run: one HTML file that opens from disk, with everything inside it."""

import base64
import html
import io
import json
import math
import os

from pipeline.config import to_yaml
from pipeline.lineage.graph import draw
from pipeline.lineage.metadata import properties
from pipeline.orchestration.cache import versions
from pipeline.validation.statistics import as_table, histogram

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1c2733; max-width: 1080px; margin: 2em auto; padding: 0 1em; }
h1 { font-size: 1.7em; margin-bottom: 0; } h2 { margin-top: 2em; border-bottom: 2px solid #d8e0e8; padding-bottom: .2em; }
table { border-collapse: collapse; margin: .8em 0; font-size: .92em; } td, th { padding: .25em .7em; text-align: left; vertical-align: top; }
th { border-bottom: 1px solid #9fb0c0; } tr:nth-child(even) td { background: #f3f6f9; } td.number { text-align: right; white-space: nowrap; }
img { max-width: 100%; } figure { margin: 1em 0; } figcaption { color: #566; font-size: .9em; } code, pre { background: #f3f6f9; font-size: .88em; }
pre { padding: .8em; overflow-x: auto; } .good { color: #0a7a3d; font-weight: 600; } .bad { color: #b3261e; font-weight: 600; } .wide { overflow-x: auto; }
.note { color: #566; } .interval { color: #566; font-size: .85em; white-space: nowrap; }
@media print {
  @page { size: A4 landscape; margin: 12mm; }
  body { margin: 0; max-width: none; font-size: 12px; } h2 { break-after: avoid; } figure, tr, svg { break-inside: avoid; }
  /* Paper does not scroll: what is wide must wrap, and what is folded must be read. */
  .wide { overflow: visible; } td, th { padding: .15em .4em; } td { overflow-wrap: anywhere; } pre { columns: 3; } .interval { white-space: normal; }
  details::details-content { content-visibility: visible; height: auto; }
}
"""
SCORES = (
    ("dice", "Dice"),
    ("iou", "IoU"),
    ("hd95", "HD95, px"),
    ("nsd", "NSD, 2 px"),
    ("sensitivity", "Sensitivity"),
    ("precision", "Precision"),
)


def write_report(path, name, config, results, stop, metadata):
    """Writes the report beside its place and moves it into place.

    Args:
        path: the HTML file. name: of the run. config: `Config`. results: of `StageResult`. stop: reason why the run stopped,
        or None. metadata: `Metadata`.
    """
    done = {result.component: result for result in results}
    sections = [_summary(name, config, results, stop, done), _stages(results)]
    if "ExampleGen" in done:
        sections.append(_data(done))
    if "Trainer" in done:
        sections.append(_training(done["Trainer"].outputs["model"]))
    if "Evaluator" in done:
        evaluation = done["Evaluator"].outputs["evaluation"]
        scores = json.loads(evaluation.evaluation.read_text("utf-8"))
        sections += [_scores(scores, done), _pictures(evaluation, scores)]
    if "Pusher" in done:
        sections.append(_lineage(done["Pusher"].outputs["pushed_model"], metadata))
    sections.append(_settings(config))
    page = f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'><title>PANet-BUS {_e(name)}</title><style>{STYLE}</style><body>{''.join(sections)}</body></html>"
    # Not panet_keras.files: the package imports TensorFlow, which takes most of the time of a run from the cache.
    part = path.with_name(f".{path.name}")
    part.write_text(page, "utf-8")
    os.replace(part, path)


def _e(value):
    return html.escape(str(value))


def _table(header, rows):
    head = "".join(f"<th>{_e(cell)}</th>" for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<div class=wide><table><tr>{head}</tr>{body}</table></div>"


def _image(data, caption):
    return f"<figure><img alt='{_e(caption)}' src='data:image/png;base64,{base64.b64encode(data).decode()}'><figcaption>{_e(caption)}</figcaption></figure>"


def _plot(draw, size=(8, 3)):
    """PNG of a matplotlib figure that `draw(figure)` fills."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    draw(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def _number(value, digits=3):
    return "undefined" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def _interval(score, digits=3):
    if math.isnan(score["mean"]):
        return "undefined"
    return f"{score['mean']:.{digits}f}<br><span class=interval>{score['low']:.{digits}f} to {score['high']:.{digits}f}</span>"


def _summary(name, config, results, stop, done):
    if stop:
        verdict = f"<p class=bad>Stopped after {_e(results[-1].component)}.</p><pre>{_e(stop)}</pre>"
    elif "Pusher" in done:
        pushed = json.loads(done["Pusher"].outputs["pushed_model"].pushed.read_text("utf-8"))
        verdict = (
            f"<p class=good>Version {pushed['version']} was pushed to {_e(pushed['destination'])}.</p>"
            if pushed["pushed"]
            else f"<p class=bad>Nothing was pushed: {_e(pushed['reason'])}.</p>"
        )
    else:
        verdict = ""
    return f"<h1>PANet-BUS</h1><p class=note>Run {_e(name)}, data {_e(config.data.path)}. Not a medical device: for research only.</p>{verdict}"


def _stages(results):
    rows = [(_e(r.component), "from the cache" if r.state == "CACHED" else f"{r.seconds:.1f} s", _e(r.summary)) for r in results]
    return "<h2>Stages</h2>" + _table(("Stage", "Time", "Result"), rows)


def _data(done):
    examples = done["ExampleGen"].outputs["examples"]
    findings = json.loads(examples.findings.read_text("utf-8"))
    parts = ["<h2>Data</h2>"]
    parts.append(
        _table(
            ("Split", "Images", "Patients", "Labels"),
            [
                (
                    _e(split),
                    count,
                    f"{len(findings['patients'][split])}: {_e(', '.join(findings['patients'][split]))}",
                    _e(", ".join(f"{label} {n}" for label, n in findings["labels"][split].items())),
                )
                for split, count in findings["counts"].items()
            ],
        )
    )
    warnings = findings["warnings"]
    parts.append(f"<p>{len(warnings)} warning(s) while reading.</p>")
    if warnings:
        parts.append(
            f"<details><summary>Show them</summary><ul>{''.join(f'<li>{_e(text)}</li>' for text in warnings)}</ul></details>"
        )
    if "ExampleValidator" in done:
        found = json.loads(done["ExampleValidator"].outputs["anomalies"].anomalies.read_text("utf-8"))
        if found:
            rows = [
                (
                    _e(f["split"]),
                    _e(f["feature"]),
                    _e(f["type"]),
                    "stops the run" if f["stops"] else "let pass",
                    _e(f["description"]),
                )
                for f in found
            ]
            css = "bad" if any(f["stops"] for f in found) else "note"
            parts.append(
                f"<p class={css}>{len(found)} anomalies.</p>" + _table(("Split", "Feature", "Type", "Effect", "What"), rows)
            )
        else:
            parts.append("<p class=good>No anomaly against the curated schema.</p>")
        parts.append(_associations(done["ExampleValidator"].outputs["anomalies"]))
    if "StatisticsGen" in done:
        statistics = done["StatisticsGen"].outputs["statistics"]
        for split in findings["counts"]:
            rows = [
                (_e(r["feature"]), f"{r['count']}", f"{r['missing']}", _e(r["values"])) for r in as_table(statistics.split(split))
            ]
            table = _table(("Feature", "Present", "Missing", "Values"), rows)
            parts.append(f"<details><summary>Statistics of {_e(split)}</summary>{table}</details>")
        parts.append(
            _image(
                _plot(lambda figure: _draw_areas(figure, statistics, list(findings["counts"]))),
                "Lesion area as a share of the frame",
            )
        )
    return "".join(parts)


def _associations(anomalies):
    """What burned-in marks tell of the label."""
    found = json.loads((anomalies.path / "associations.json").read_text("utf-8"))
    rows = []
    for flag, (table, phi, p) in found.items():
        (both, flag_only), (lesion_only, neither) = table
        rows.append(
            (_e(flag), f"{both} of {both + lesion_only}", f"{flag_only} of {flag_only + neither}", f"{phi:+.2f}", f"{p:.2g}")
        )
    header = ("Mark", "Lesion images with it", "Others with it", "phi", "p (Fisher)")
    return "<details><summary>Marks and labels</summary>" + _table(header, rows) + "</details>"


def _draw_areas(figure, statistics, splits):
    axes = figure.subplots(1, len(splits), squeeze=False)[0]
    for axis, split in zip(axes, splits):
        found = histogram(statistics.split(split), "lesion/area_fraction")
        if found:
            edges, counts = found
            axis.bar(
                edges[:-1], counts, [b - a for a, b in zip(edges, edges[1:])], align="edge", color="#4c7bb0", edgecolor="white"
            )
        axis.set(title=split, xlabel="share of the frame", ylabel="images")


def _training(model):
    history = json.loads(model.history.read_text("utf-8"))

    def draw(figure):
        left, right = figure.subplots(1, 2)
        steps = [row["step"] for row in history]
        for key, label in (("loss", "loss"), ("align_loss", "alignment loss"), ("contrast_loss", "contrast loss")):
            if key in history[0]:
                left.plot(steps, [row[key] for row in history], label=label)
        left.set(xlabel="step", ylim=(0, None))
        left.legend()
        right.plot(steps, [row["dice"] for row in history], color="#0a7a3d")
        right.set(xlabel="step", ylabel="Dice of training episodes", ylim=(0, 1))

    last = history[-1]
    text = f"<p>{last['step']} steps; at the end loss {last['loss']:.3f}, Dice of the (augmented) training episodes {last['dice']:.3f}.</p>"
    return "<h2>Training</h2>" + text + _image(_plot(draw), "Training curves, mean over each epoch")


def _scores(scores, done):
    table, parts = scores["table"], ["<h2>Scores</h2>"]
    settings = scores["settings"]
    parts.append(
        f"<p>On the exported SavedModel, on patients it has never seen, at the original image size. Each lesion image is scored with "
        f"{settings['repeats']} random support sets (seed {settings['seed']}) and averaged over them; below it the 95 % interval by "
        "bootstrap over patients. Images with an undefined Dice are left out and counted. HD95 of an empty prediction is the image's "
        "diagonal.</p>"
    )
    header = ("Protocol", *(label for _, label in SCORES), "Mean over patients", "Median Dice", "Missed", "Images (patients)")
    rows = []
    for key, row in table.items():
        outlined = key.startswith(("cross-patient", "same-patient"))
        cells = [
            "not scored" if score in ("hd95", "nsd") and not outlined else _interval(row[score], 1 if score == "hd95" else 3)
            for score, _ in SCORES
        ]
        rows.append(
            (
                _e(key),
                *cells,
                _number(row["over_patients"]),
                _number(row["median"]),
                f"{row['miss_rate']:.1%}",
                f"{row['n']} ({row['patients']})",
            )
        )
    parts.append(_table(header, rows))
    parts.append(
        "<p class=note>moved-support: the support mask is moved onto tissue beside the lesion; a model that looks at its support finds little "
        "then. other-label: supports of the other label. two-way: Benign and Malignant at once, scored on the query's own. superpixel: "
        "support and query are one frame, mirrored, and the truth is any region of it. A support without a marked pixel is refused.</p>"
    )
    parts.append(_image(_plot(lambda figure: _draw_shots(figure, table), (5, 3)), "Dice against the number of annotated images"))
    rows = [
        (_e(key), _interval(row["inside"]), _interval(row["outside"]), _number(row.get("ece", math.nan)))
        for key, row in table.items()
    ]
    parts.append("<h3>Probabilities</h3>" + _table(("Protocol", "Mean inside the truth", "Mean outside", "ECE"), rows))
    parts.append(
        _image(
            _plot(lambda figure: _draw_reliability(figure, scores["calibration"]), (5, 3.4)),
            "Reliability: of the pixels given a probability, how many are lesion",
        )
    )
    rows = [
        (
            _e(key),
            n["n"],
            f"{n['false_any']:.1%}",
            f"{n['false_any_at_threshold']:.1%} ({n['threshold']:.2f})",
            f"{n['false_area']:.2%}",
            _number(n["presence_auroc"]),
            _number(n["dice_all"]),
        )
        for key, row in table.items()
        if (n := row.get("normal")) and n["n"]
    ]
    if rows:
        header = (
            "Protocol",
            "Normal images",
            "With any false mask",
            "above a presence of",
            "Falsely marked area",
            "AUROC of presence",
            "Dice over all images",
        )
        parts.append("<h3>Frames without lesion</h3>" + _table(header, rows))
        thresholds = next(row["normal"] for row in table.values() if row.get("normal")).get("by_threshold", {})
        rows = [(threshold, f"{value['false_any']:.1%}", f"{value['cost']:.3f}") for threshold, value in thresholds.items()]
        if rows:  # scores from an older cache have none
            parts.append(_table(("Presence threshold", "Normal images with a false mask", "Dice that lesion images lose"), rows))
        parts.append(
            "<p class=note>Over all images a normal frame scores 1 if nothing is marked, else 0. One support set for each normal frame. The presence threshold is the one that "
            "costs the lesion images 0.01 Dice, chosen on these very images.</p>"
        )
    rows = [(_e(key), _number(value["dice"]), value["n"]) for key, value in scores["strata"].items()]
    parts.append(f"<h3>Strata, {_e(scores['headline'])}</h3>" + _table(("Stratum", "Dice", "Images"), rows))
    rows = [(_e(name), _number(value)) for name, value in sorted(table[scores["headline"]]["by_patient"].items())]
    parts.append(f"<details><summary>By patient</summary>{_table(('Patient', 'Dice'), rows)}</details>")
    for text in scores["skipped"]:
        parts.append(f"<p class=note>Not scored: {_e(text)}</p>")
    blessing = done["Evaluator"].outputs["blessing"]
    word, css = ("Blessed", "good") if blessing.blessed else ("Not blessed", "bad")
    parts.append(f"<p><span class={css}>{word}</span>: {_e('; '.join(blessing.reasons()))}.</p>")
    return "".join(parts)


def _draw_shots(figure, table):
    axis = figure.subplots()
    found = {int(key.split()[-2]): row["dice"] for key, row in table.items() if key.startswith("cross-patient")}
    shots = sorted(found)
    # Without a support the model refuses to answer: nothing is marked, and Dice is 0 by definition.
    axis.plot([0, *shots], [0.0, *(found[k]["mean"] for k in shots)], marker="o", color="#4c7bb0")
    axis.fill_between(shots, [found[k]["low"] for k in shots], [found[k]["high"] for k in shots], color="#4c7bb0", alpha=0.2)
    axis.set(xlabel="shots (0: refused)", ylabel="Dice, 95 % interval", ylim=(0, 1), xticks=[0, *shots])


def _draw_reliability(figure, calibration):
    axis = figure.subplots()
    axis.plot([0, 1], [0, 1], color="#9fb0c0", linestyle=":")
    for key, (pixels, hits, total) in calibration.items():
        if not key.startswith(("cross", "same")):
            continue
        points = [(t / p, h / p) for p, h, t in zip(pixels, hits, total) if p]
        axis.plot(*zip(*points), marker="o", markersize=3, label=key)
    axis.set(xlabel="mean probability", ylabel="share of lesion", xlim=(0, 1), ylim=(0, 1))
    axis.legend(fontsize=8)


def _pictures(evaluation, scores):
    parts = ["<h2>Gallery</h2><p>Image, truth, mask, probability.</p>"]
    for name in ("best", "median", "worst"):
        parts.append(_image((evaluation.gallery / f"{name}.png").read_bytes(), f"{name} of the test images"))
    parts.append(
        "<h2>Grad-CAM of the foreground prototype</h2><p>Query with its true outline, then where the lesion's prototype finds its evidence on "
        "it; the same for the support image.</p>"
    )
    for name in ("best", "median", "worst"):
        parts.append(_image((evaluation.grad_cam / f"{name}.png").read_bytes(), f"{name} of the test images"))
    return "".join(parts)


def _lineage(pushed, metadata):
    rows, ancestors = [], metadata.ancestors(pushed.id)
    for artifact, execution, inputs in ancestors:
        facts = properties(execution) if execution else {}
        rows.append(
            (
                artifact.id,
                _e(artifact.type_name()),
                _e(f"{execution.type} {execution.id}" if execution else ""),
                _e(", ".join(f"{name} {id}" for name, id in inputs.items())),
                _e((artifact.digest or "")[:12]),
                _e(facts.get("summary", "")),
                _e(artifact.path),
            )
        )
    return f"<h2>Lineage of the pushed model</h2><figure>{draw(ancestors)}</figure>" + _table(
        ("Artifact", "Type", "Made by", "From artifacts", "SHA-256", "Note", "Path"), rows
    )


def _settings(config):
    packages = ", ".join(f"{name} {version}" for name, version in versions().items())
    return (
        f"<h2>Settings</h2><p>{_e(packages)}</p><details><summary>Configuration</summary><pre>{_e(to_yaml(config))}</pre></details>"
    )
