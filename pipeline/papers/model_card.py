"""Machine-readable model card of a pushed model.

The scheme is that of Google's Model Card Toolkit, version 0.0.2
(https://github.com/tensorflow/model-card-toolkit, schema/v0.0.2/model_card.schema.json; "Model Cards for
Model Reporting", Mitchell et al., 2019). It names no patient and no picture.
"""

import datetime
import json
import math

NAME = "model_card.json"
SCHEMA_VERSION = "0.0.2"
METRICS = {
    "dice": "Dice",
    "iou": "IoU",
    "sensitivity": "sensitivity of pixels",
    "precision": "precision of pixels",
}
"""Of evaluation.json's table, with mean, low and high."""


def model_card(name, version, model, blessings, evaluation=None, examples=None, today=None):
    """The card as JSON text.

    Args:
        name, version: of the pushed model. model: `Model`. blessings: list of (component, `ModelBlessing`).
        evaluation: `ModelEvaluation`, or None. examples: `Examples` that it was trained and scored on, or
            None. today: date of the push.
    """
    scores = json.loads(evaluation.evaluation.read_text("utf-8")) if evaluation else {}
    steps, encoder = model.properties.get("steps"), model.properties.get("encoder")
    architecture = "PANet: prototype alignment network, similarities to an annotated support"
    if encoder:
        architecture += f"; encoder {encoder}, {steps} training steps"
    return json.dumps(
        {
            "schema_version": SCHEMA_VERSION,
            "model_details": {
                "name": name,
                "overview": "Few-shot segmentation of lesions in breast ultrasound: marks what is like the lesions of annotated frames.",
                "documentation": "\n".join(
                    f"{component}: {reason}"
                    for component, blessing in blessings
                    for reason in blessing.reasons()
                ),
                "version": {"name": str(version), "date": (today or datetime.date.today()).isoformat()},
                "licenses": [
                    {"custom_text": "The weights are derived from the data sets below and carry their terms."}
                ],
            },
            "model_parameters": {
                "model_architecture": architecture,
                "data": _data(examples),
                "input_format": "support_images float32 [B, N, K, H, W, 3] in [0, 1]; support_masks uint8 [B, N, K, H, W, 1]: 1 lesion, 0 background, "
                "255 ignore; query_images float32 [B, Q, H, W, 3] in [0, 1]; or query_bytes [B, Q], PNG or JPEG.",
                "output_format": "probabilities float32 [B, Q, H, W, N+1]; masks [B, Q, H, W]: 0 background, 1..N.",
            },
            "quantitative_analysis": {"performance_metrics": _metrics(scores)},
            "considerations": {
                "users": [{"description": "Researchers, and radiologists who check what is marked."}],
                "use_cases": [
                    {"description": "Research, and help with annotation that a radiologist checks."}
                ],
                "limitations": [{"description": text} for text in _limitations(scores)],
            },
        },
        indent=1,
        ensure_ascii=False,
        allow_nan=False,
    )


def _data(examples):
    if examples is None:
        return []
    findings = json.loads(examples.findings.read_text("utf-8"))
    return [
        {
            "name": split,
            "description": f"{count} images of {len(findings['patients'][split])} patients; "
            + ", ".join(f"{number} {label}" for label, number in sorted(findings["labels"][split].items())),
            "sensitive": {
                "sensitive_data": ["medical images", "patients' identifiers in the data set's own terms"]
            },
        }
        for split, count in findings["counts"].items()
    ]


def _metrics(scores):
    """A number for each metric, protocol and stratum; what is undefined is left out, for JSON has no NaN."""
    found = []
    for protocol, row in scores.get("table", {}).items():
        for key, text in METRICS.items():
            low, high = row[key]["low"], row[key]["high"]
            found.append((text, row[key]["mean"], protocol, {"lower_bound": low, "upper_bound": high}))
        found.append(("lesions missed whole, share", row["miss_rate"], protocol, None))
        normal = row.get("normal") or {}
        if "false_any" in normal:  # data without normal frames have none
            found.append(
                ("frames without lesion that are marked, share", normal["false_any"], protocol, None)
            )
    for stratum, row in scores.get("strata", {}).items():
        found.append(("Dice", row["dice"], stratum, None))
    return [
        {"type": text, "value": value, "slice": part}
        | ({"confidence_interval": interval} if interval else {})
        for text, value, part, interval in found
        if math.isfinite(value) and all(map(math.isfinite, (interval or {}).values()))
    ]


def _limitations(scores):
    texts = ["Not a medical device: it must not inform a diagnosis."]
    if not scores:
        return [*texts, "No evaluation came with this model."]
    row = scores["table"][scores["headline"]]
    texts.append(
        f"Scored on {row['n']} images of {row['patients']} patients; other scanners, hospitals and organs were not seen."
    )
    return [*texts, *scores.get("notes", ()), *scores.get("skipped", ())]
