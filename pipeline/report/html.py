"""The report of a run: one HTML file that opens from disk, with everything inside it.

Here is what it tells; `templates/` has how it looks (Jinja, every text escaped), `figures.py` its diagrams.
"""

import json
import math
import os
import pathlib

import jinja2

from pipeline.config import to_yaml
from pipeline.lineage.graph import layout, titled
from pipeline.orchestration.cache import versions
from pipeline.report import figures
from pipeline.validation.statistics import as_table, histogram

TEMPLATES = pathlib.Path(__file__).parent / "templates"
COLUMNS = (
    ("dice", "Dice"),
    ("iou", "IoU"),
    ("hd95", "HD95, px"),
    ("nsd", "NSD, 2 px"),
    ("sensitivity", "Sensitivity"),
    ("precision", "Precision"),
)
OUTLINED = ("cross-patient", "same-patient")
"""Protocols with surface scores and a line in the diagram of reliability."""


def write_report(path, name, config, results, stop, metadata):
    """Writes the report beside its place and moves it into place.

    Args:
        path: the HTML file. name: of the run. config: `Config`. results: of `StageResult`. stop: reason why
            the run stopped,
        or None. metadata: `Metadata`.
    """
    done = {result.component: result for result in results}
    page = {
        "name": name,
        "data_path": config.data.title,
        "stop": stop,
        "stopped_after": results[-1].component,
        "stages": [
            (r.component, "from the cache" if r.state == "CACHED" else f"{r.seconds:.1f} s", r.summary)
            for r in results
        ],
        "packages": ", ".join(f"{package} {version}" for package, version in versions().items()),
        "configuration": to_yaml(config),
    }
    if "ExampleGen" in done:
        page["data"] = _data(done)
    if "Trainer" in done:
        page["training"] = _training(done["Trainer"].outputs["model"])
    if "Evaluator" in done:
        page |= _evaluation(done)
    if "Pusher" in done:
        pushed = done["Pusher"].outputs["pushed_model"]
        page |= _pushed(pushed)
        page["lineage"] = _lineage(pushed, metadata)
    # Not panet_keras.files: the package imports TensorFlow, which takes most of the time of a run from the
    # cache.
    part = path.with_name(f".{path.name}")
    part.write_text(render("report.html", **page), "utf-8")
    os.replace(part, path)


def render(template, **values):
    """Text of a template of the report; what is not given is undefined there, and false."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"number": _number, "percent": lambda value: f"{value:.1%}"}
    return environment.get_template(template).render(**values)


def _number(value, digits=3):
    missing = value is None or isinstance(value, jinja2.Undefined) or math.isnan(value)
    return "undefined" if missing else f"{value:.{digits}f}"


def _read(path):
    return json.loads(path.read_text("utf-8"))


def _findings(done):
    return _read(done["ExampleGen"].outputs["examples"].findings)


def _data(done):
    findings = _findings(done)
    told = {
        "splits": [],
        "warnings": findings["warnings"],
        "anomalies": [],
        "validated": False,
        "statistics": {},
    }
    for split, count in findings["counts"].items():
        patients, labels = findings["patients"][split], findings["labels"][split]
        shown = ", ".join(f"{label} {number}" for label, number in labels.items())
        told["splits"].append((split, count, f"{len(patients)}: {', '.join(patients)}", shown))
    told["sources"] = [
        (
            source or "not told",
            *(
                f"{n['lesions']} + {n['normals']} ({n['patients']})"
                for n in (sides[split] for split in findings["counts"])
            ),
        )
        for source, sides in findings.get("sources", {}).items()
    ]
    if "ExampleValidator" in done:
        validator = done["ExampleValidator"]
        anomalies = validator.outputs["anomalies"]
        found = _read(anomalies.anomalies)
        told |= {
            "validated": True,
            "anomaly_summary": validator.summary,
            "stopping": any(item["stops"] for item in found),
            "anomalies": [
                (
                    i["split"],
                    i["feature"],
                    i["type"],
                    "stops the run" if i["stops"] else "let pass",
                    i["description"],
                )
                for i in found
            ],
            "associations": [
                _association(flag, *facts)
                for flag, facts in _read(anomalies.path / "associations.json").items()
            ],
        }
    if "StatisticsGen" in done:
        statistics = done["StatisticsGen"].outputs["statistics"]
        splits = list(findings["counts"])
        for split in splits:
            rows = as_table(statistics.split(split))
            told["statistics"][split] = [
                (row["feature"], row["count"], row["missing"], row["values"]) for row in rows
            ]
        told["areas"] = figures.areas(
            {split: histogram(statistics.split(split), "lesion/area_fraction") for split in splits}
        )
    return told


def _association(flag, table, phi, p):
    """What a burned-in mark tells of the label."""
    (both, flag_only), (lesion_only, neither) = table
    return (
        flag,
        f"{both} of {both + lesion_only}",
        f"{flag_only} of {flag_only + neither}",
        f"{phi:+.2f}",
        f"{p:.2g}",
    )


def _training(model):
    history = _read(model.history)
    epochs = "the one epoch" if len(history) == 1 else f"each of {len(history)} epochs"
    caption = f"Training curves, mean over {epochs}"
    return {
        name: history[-1][key] for name, key in (("steps", "step"), ("loss", "loss"), ("dice", "dice"))
    } | {
        "curves": figures.curves(history),
        "caption": caption,
    }


def _evaluation(done):
    outputs = done["Evaluator"].outputs
    evaluation, scores = outputs["evaluation"], _read(outputs["evaluation"].evaluation)
    table, labels = scores["table"], _findings(done)["labels"]
    frames = {key: row["normal"] for key, row in table.items() if row.get("normal", {}).get("n")}
    first = next(iter(frames.values()), {"by_threshold": {}})
    return {
        "scores": scores,
        "blessing": outputs["blessing"],
        "columns": COLUMNS,
        "outlined": OUTLINED,
        "repeats": 1
        if scores["settings"]["quick"] or scores["settings"]["supports"]
        else scores["settings"]["repeats"],
        "lesions": {
            split: sum(n for label, n in found.items() if label != "Normal")
            for split, found in labels.items()
        },
        "normal": {split: found.get("Normal", 0) for split, found in labels.items()},
        "frames": [_frame(key, row) for key, row in frames.items()],
        "marks": [(key, *_marks(row["marks"])) for key, row in table.items() if row.get("marks")],
        "hospitals": [_hospital(name, row) for name, row in scores.get("sources", {}).items()],
        "thresholds": [
            (t, f"{row['false_any']:.1%}", _number(row["cost"])) for t, row in first["by_threshold"].items()
        ],
        "by_patient": [
            (name, _number(dice)) for name, dice in sorted(table[scores["headline"]]["by_patient"].items())
        ],
        "by_image": [
            (
                file,
                row["patient"],
                _number(row["dice"]),
                " | ".join(", ".join(names) for names in row["supports"]),
            )
            for file, row in sorted(scores["per_image"].items())
        ],
        "figures": {
            "shots": figures.shots(table),
            "reliability": figures.reliability(scores["calibration"], table, OUTLINED),
        },
        "gallery": [
            {
                "caption": f"{name}: {item['file']}, Dice {_number(item['dice'])}; supports {', '.join(item['supports'])}",
                "mask": figures.embedded((evaluation.gallery / f"{name}.png").read_bytes()),
                "grad_cam": figures.embedded((evaluation.grad_cam / f"{name}.png").read_bytes()),
            }
            for name, item in scores["gallery"].items()
        ],
    }


def _frame(key, row):
    return (
        key,
        row["n"],
        f"{row['false_any']:.1%}",
        f"{row['false_any_at_threshold']:.1%} ({row['threshold']:.2f})",
        f"{row['false_area']:.2%}",
        _number(row["presence_auroc"]),
        _number(row["dice_all"]),
    )


def _marks(figures):
    """Of `lesion_figures`."""
    shares = (f"{share:.1%}" for share in figures["froc"].values())
    return figures["lesions"], f"{figures['found']:.1%}", _number(figures["false_marks"], 2), *shares


def _hospital(name, row):
    """Of `panet_keras.evaluation.by_source`."""
    if not row["images"]:
        return (name, f"none of {row['not_scored']}: no lesion could be scored", *[""] * 5)
    dice, marks = row["dice"], row["marks"]
    return (
        name,
        f"{row['images']} ({row['patients']})",
        f"{_number(dice['mean'])} ({_number(dice['low'])} to {_number(dice['high'])})",
        f"{row['miss_rate']:.1%}",
        f"{marks['found']:.1%} of {marks['lesions']}" if marks else "",
        _number(marks["false_marks"], 2) if marks else "",
        f"{row['false_any']:.1%} of {row['normals']}" if row["normals"] else "no such frame",
    )


def _pushed(artifact):
    if artifact.version_folder is None:
        return {"refused": _read(artifact.pushed)["reason"]}
    return {
        "pushed": {"version": artifact.version_folder.name, "destination": artifact.version_folder.parent}
    }


def _lineage(pushed, metadata):
    ancestors = metadata.ancestors(pushed.id)
    rows = []
    for artifact, execution, inputs in ancestors:
        facts = metadata.facts(execution) if execution else {}
        rows.append(
            (
                artifact.id,
                titled(artifact)[0],
                f"{execution.type} {execution.id}" if execution else "",
                ", ".join(f"{name} {id}" for name, id in inputs.items()),
                (artifact.digest or "")[:12],
                facts.get("summary", ""),
                artifact.path,
            )
        )
    title = (
        "Lineage of the pushed model"
        if pushed.version_folder
        else "Lineage of the model, which was not pushed"
    )
    return {"title": title, "rows": rows, **layout(ancestors)}
