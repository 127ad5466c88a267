"""What does the recipe of pipeline/configs/bus_uclm.yaml reach on the quick split of the protocol?

    python -m pipeline run --config pipeline/configs/bus_uclm.yaml --set data.path=BUS-UCLM --set run.root=RUNS
    python -m benchmarks.bus_uclm_quick RUNS

Takes the scores of the newest complete run, keeps numbers only (no patient's image, no file name), and prints
the table of docs/results.
"""

import json
import pathlib
import sys

from benchmarks import record
from panet_keras.evaluation import paired_difference, per_image, summarise_normal
from pipeline.lineage.metadata import OUTPUT, Metadata, properties


def main(root):
    metadata = Metadata(pathlib.Path(root) / "metadata.db")
    run = next(run for run in reversed(metadata.runs()) if properties(run).get("state") == "complete")
    outputs, seconds = {}, {}
    for execution in metadata.executions(run):
        outputs |= {
            (execution.type, name): artifact
            for name, artifact in metadata.artifacts_of(execution.id, OUTPUT).items()
        }
        seconds[execution.type] = properties(execution).get("seconds")
    scores = json.loads(outputs["Evaluator", "evaluation"].evaluation.read_text("utf-8"))
    history = json.loads(outputs["Trainer", "model"].history.read_text("utf-8"))
    rows = json.loads(outputs["Evaluator", "evaluation"].rows.read_text("utf-8"))
    for name, row in scores["table"].items():
        row.pop("by_patient")
        if f"{name}, normal" in rows:
            row["normal"] = summarise_normal(rows[f"{name}, normal"], rows[name])
    patient = dict(
        zip(
            per_image(rows[scores["headline"]], "dice")[0],
            (i["patient"] for i in scores["per_image"].values()),
        )
    )
    result = {
        "code": properties(run)["code"],
        "settings": scores["settings"],
        "steps": history[-1]["step"],
        "stage_seconds": seconds,
        "table": scores["table"],
        "strata": scores["strata"],
        "paired": {
            f"{name} minus {scores['headline']}": _paired(rows[name], rows[scores["headline"]], patient)
            for name in (
                "cross-patient, 5 shots",
                "cross-patient, 10 shots",
                "same-patient, 1 shot",
                "other-label, 1 shot",
            )
            if name in rows
        },
        "curve": [{name: row[name] for name in ("step", "loss", "align_loss", "dice")} for row in history],
    }
    record.write("bus_uclm_quick", "What does the BUS-UCLM recipe reach on the quick split?", result)
    print(markdown(scores["table"]))
    for name, row in result["paired"].items():
        print(f"{name}: {row['mean']:+.3f} ({row['low']:+.4f} to {row['high']:+.4f})")


def _paired(first, second, patient):
    """Paired difference of the Dice of two rows over the images both have."""
    own, other = (dict(zip(*per_image(rows, "dice"))) for rows in (first, second))
    shared = sorted(set(own) & set(other))
    return paired_difference(
        [own[q] for q in shared], [other[q] for q in shared], [patient[q] for q in shared]
    )


def markdown(table):
    """The table of docs/results."""
    lines = [
        "| protocol | Dice (95 % interval) | over patients | median | missed | HD95, px | inside / outside | images, episodes |"
    ]
    lines.append("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, row in table.items():
        dice, far = row["dice"], row["hd95"]["mean"]
        cells = [
            name,
            f"{dice['mean']:.3f} ({dice['low']:.3f} to {dice['high']:.3f})",
            f"{row['over_patients']:.3f}",
            f"{row['median']:.3f}",
            f"{row['miss_rate']:.0%}",
            "" if far != far else f"{far:.0f}",
            f"{row['inside']['mean']:.2f} / {row['outside']['mean']:.3f}",
            f"{row['n']}, {row['episodes']}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main(*sys.argv[1:])
