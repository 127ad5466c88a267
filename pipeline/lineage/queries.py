"""Questions to the metadata store: where a model comes from, what an image or patient went into, which of two
runs is better."""

import json
import pathlib

import yaml

from pipeline.components.evaluator import shared
from pipeline.errors import PipelineError
from pipeline.lineage.metadata import OUTPUT, state_name
from pipeline.orchestration.artifacts import (
    AcceptanceBlessing,
    Examples,
    ExampleStatistics,
    Model,
    ModelEvaluation,
    PushedModel,
)
from pipeline.settings import flat

PROTOCOL = ("shots", "repeats", "seed", "protocols", "supports", "quick")
"""Settings of the Evaluator that decide how a model is scored, and not whether it is blessed."""


def backward(metadata, what):
    """From a pushed model, an artifact or a run back to the images.

    Args:
        metadata: `Metadata`.
        what: id of an artifact, its folder, a pushed version's folder, or the name of a run (then its last
            artifact).

    Returns:
        List of dictionaries, nearest first: artifact, type, path, digest, component, code, packages, seconds,
            inputs; an Examples
        entry has its patients and files by split, too.

    Raises:
        PipelineError: nothing of that name; says what there is.
    """
    entries = []
    for artifact, execution, inputs in metadata.ancestors(_find(metadata, what).id):
        entry = {
            "artifact": artifact.id,
            "type": artifact.type_name(),
            "path": str(artifact.path),
            "digest": artifact.digest,
        }
        if execution is not None:
            facts = metadata.facts(execution)
            entry |= {"component": execution.type, "inputs": inputs}
            entry |= {
                name: facts[name]
                for name in ("parameters", "code", "packages", "seconds", "summary")
                if name in facts
            }
        if artifact.properties:
            entry["properties"] = artifact.properties
        if isinstance(artifact, Examples) and artifact.findings.is_file():
            findings = json.loads(artifact.findings.read_text("utf-8"))
            entry |= {"patients": findings["patients"], "files": findings["files"]}
        entries.append(entry)
    return entries


def forward(metadata, name):
    """Every Examples artifact that holds an image or a patient, and all that was made from it.

    Args:
        metadata: `Metadata`. name: file name of an image, or identifier of a patient.

    Returns:
        List of dictionaries: examples, split (`"train"`: the models saw it), and descendants (artifact, type,
            path, pushed: folder that it was pushed to, if any; left: empty, or `"gone"` or `"replaced"`, where
            that folder is not there any more or holds a later push); of an acceptance on it: acceptance and
            path. What this does not answer follows: gone and path of Examples whose files are no longer there,
            with their descendants, and near, a list of names that end alike (`NAME/PATIENT`).

    Raises:
        PipelineError: no run had it; names the Examples that are gone.
    """
    found, near, gone = [], set(), []
    pushes = _newest_pushes(metadata)
    for examples in metadata.all_artifacts(Examples.type_name()):
        if not examples.findings.is_file():
            made = _made(metadata, examples, pushes)
            gone.append({"gone": examples.id, "path": str(examples.path), "descendants": made})
            continue
        findings = json.loads(examples.findings.read_text("utf-8"))
        split = next(
            (s for s in findings["files"] if name in findings["files"][s] or name in findings["patients"][s]),
            None,
        )
        if split is None:
            names = {
                known
                for group in (findings["files"], findings["patients"])
                for part in group.values()
                for known in part
            }
            near |= {known for known in names if known.endswith(f"/{name}")}
            continue
        made = _made(metadata, examples, pushes)
        found.append(
            {"examples": examples.id, "path": str(examples.path), "split": split, "descendants": made}
        )
    found += _accepted(metadata, name)
    if not found:
        meant = f"; did you mean {' or '.join(sorted(near)[:3])}?" if near else ""
        lost = f" Not searched: {'; '.join(map(_gone_text, gone))}." if gone else ""
        raise PipelineError(
            f"no run had an image or a patient {name!r}; expected a file name such as ALWI_000.png, or ALWI{meant or '.'}{lost}"
        )
    return found + gone + ([{"near": sorted(near), "descendants": []}] if near else [])


def _made(metadata, examples, pushes):
    """What was made from Examples."""
    made = []
    for artifact in metadata.descendants(examples.id):
        pushed, left = _version_folder(artifact), ""
        if pushed and not pathlib.Path(pushed).is_dir():
            left = "gone"
        elif pushed and pushes[pushed] != artifact.id:
            left = "replaced"
        made.append(
            {
                "artifact": artifact.id,
                "type": artifact.type_name(),
                "path": str(artifact.path),
                "pushed": pushed,
                "left": left,
            }
        )
    return made


def _newest_pushes(metadata):
    """Dictionary of a version's folder to the id of the artifact that was pushed there last: who deletes a version gets
    its number again."""
    pushed = metadata.all_artifacts(PushedModel.type_name())
    return {_version_folder(artifact): artifact.id for artifact in pushed}


def _accepted(metadata, name):
    """Acceptances whose pictures had a file or patient of this name, or whose fixed support such a file."""
    found = []
    for blessing in metadata.all_artifacts(AcceptanceBlessing.type_name()):
        if not blessing.acceptance.is_file():
            continue
        told = json.loads(blessing.acceptance.read_text("utf-8"))
        patients, supports = told["patients"], told.get("supports", {}).values()
        if any(name in names for names in (patients, *patients.values(), supports)):
            found.append({"acceptance": blessing.id, "path": str(blessing.path), "descendants": []})
    return found


def root_of(path):
    """The `run.root` that a path lies in: the nearest folder above it with a metadata.db, or None."""
    path = pathlib.Path(path).expanduser().resolve()
    return next((folder for folder in path.parents if (folder / "metadata.db").is_file()), None)


def model_artifact(metadata, folder):
    """The `PushedModel` or `Model` artifact whose SavedModel (or Keras file) a path is, the newest; None
    where the store knows none."""
    folder = pathlib.Path(folder).expanduser().resolve()
    found = [
        artifact
        for artifact in metadata.all_artifacts()
        if _version_folder(artifact) == str(folder)
        or (isinstance(artifact, Model) and folder in _places(artifact))
    ]
    return found[-1] if found else None


def _places(model):
    return {path.resolve() for path in (model.path, model.serving, model.keras)}


def training_artifacts(metadata, model):
    """(Examples that a model was trained on, their statistics); None for what is not there."""
    examples = next(
        (artifact for artifact, _, _ in metadata.ancestors(model.id) if isinstance(artifact, Examples)), None
    )
    if examples is None:
        return None, None
    statistics = [a for a in metadata.descendants(examples.id) if isinstance(a, ExampleStatistics)]
    whole = [artifact for artifact in statistics if artifact.split("train").is_file()]
    return examples, (whole[-1] if whole else None)


def compare(metadata, first, second):
    """Scores of two runs side by side.

    Args:
        metadata: `Metadata`. first, second: names of runs.

    Returns:
        Dictionary: rows (protocol to the two mean Dice); difference (first minus second over the images both
            scored, with its
        95 % interval over patients), or None where they share none; protocol (settings of the scoring that
        differ, name to the two values; empty: scored alike); images (number of images scored by first, second
        and both); changed (number of those that have the name in common alone, and not picture and mask);
        settings (all others that differ); same_data (whether both read the same Examples); code (the two
        commits).

    Raises:
        PipelineError: an unknown run, or one without an evaluation.
    """
    from panet_keras.evaluation import paired_difference

    names = (first, second)
    results = [_scores(metadata, name) for name in names]
    tables = [result["table"] for result in results]
    rows = {
        key: [table.get(key, {}).get("dice", {}).get("mean") for table in tables]
        for key in {**tables[0], **tables[1]}
    }
    images = [result["per_image"] for result in results]
    files, changed = shared(*images)
    difference = None
    if files:
        dice = [[scores[name]["dice"] for name in files] for scores in images]
        difference = paired_difference(*dice, [images[0][name]["patient"] for name in files])
    settings = [_settings(metadata, name) for name in names]
    # The scores tell how they were made; a run's configuration is a file that may be gone.
    scoring = [{f"evaluator.{name}": result["settings"].get(name) for name in PROTOCOL} for result in results]
    code = [metadata.facts(_run(metadata, name)).get("code", "?") for name in names]
    return {
        "runs": list(names),
        "rows": rows,
        "difference": difference,
        "protocol": _differing(*scoring),
        "images": [*map(len, images), len(files)],
        "changed": changed,
        "settings": {
            key: pair
            for key, pair in _differing(*settings).items()
            if key not in scoring[0] and not key.startswith("run.")
        },
        "same_data": len({_last(metadata, name, Examples).digest for name in names}) == 1,
        "code": code,
    }


def summary(metadata, run):
    """What a run came to.

    Args:
        metadata: `Metadata`. run: context of `Metadata.runs`.

    Returns:
        Dictionary: run, state, data, code, dice (mean, low, high; None without an evaluation), pushed (folder
            of the version, or None),
        error (empty if there was none).
    """
    facts, outputs = metadata.facts(run), _outputs(metadata, run)
    scored = [a.properties for a in outputs if isinstance(a, ModelEvaluation)]
    pushed = [a.version_folder for a in outputs if isinstance(a, PushedModel)]
    return {
        "run": run.name,
        "state": metadata.state(run),
        "data": facts.get("data", ""),
        "code": facts.get("code", "?"),
        "dice": [scored[-1].get(name) for name in ("dice", "dice_low", "dice_high")] if scored else None,
        "pushed": str(pushed[-1]) if pushed and pushed[-1] else None,
        "error": facts.get("error", ""),
    }


def _differing(first, second):
    return {
        key: [first.get(key), second.get(key)]
        for key in {**first, **second}
        if first.get(key) != second.get(key)
    }


def _settings(metadata, name):
    """A run's configuration by dotted key; empty where its file is gone."""
    file = metadata.root / "runs" / name / "config.yaml"
    return flat(yaml.safe_load(file.read_text("utf-8"))) if file.is_file() else {}


def _run(metadata, name):
    known = {run.name: run for run in metadata.runs()}
    if name not in known:
        raise PipelineError(f"run {name!r} is unknown; expected one of {sorted(known)}.")
    return known[name]


def _outputs(metadata, run):
    return [
        a
        for execution in metadata.executions(run)
        for a in metadata.artifacts_of(execution.id, OUTPUT).values()
    ]


def _last(metadata, name, kind):
    found = [a for a in _outputs(metadata, _run(metadata, name)) if isinstance(a, kind)]
    return found[-1] if found else None


def _scores(metadata, name):
    evaluation = _last(metadata, name, ModelEvaluation)
    if evaluation is None:
        raise PipelineError(f"run {name!r} has no evaluation; expected a run that got past the Evaluator.")
    try:
        return json.loads(evaluation.evaluation.read_text("utf-8"))
    except FileNotFoundError:
        raise PipelineError(
            f"{evaluation.evaluation}: gone; it held the scores of run {name!r}. Run the same configuration again."
        ) from None


def _find(metadata, what):
    artifacts = metadata.all_artifacts()
    if str(what).isdecimal() and str(int(what)) == what:  # 0017 is a patient
        found = [a for a in artifacts if a.id == int(what)]
    else:
        folder = pathlib.Path(what).expanduser().resolve()
        found = [a for a in artifacts if a.path.resolve() == folder or _version_folder(a) == str(folder)]
    if not found and what in {run.name for run in metadata.runs()}:
        found = _outputs(metadata, _run(metadata, what))
    if not found:
        runs = [run.name for run in metadata.runs()]
        raise PipelineError(
            f"{what}: neither an artifact's id nor folder, nor a pushed version, nor a run; the runs are {runs}. "
            "`python -m pipeline runs` lists all artifacts."
        )
    return found[-1]


def _version_folder(artifact):
    folder = artifact.version_folder if isinstance(artifact, PushedModel) else None
    return folder and str(folder.resolve())


def backward_text(entries):
    """For people."""
    lines = []
    for entry in entries:
        lines.append(f"{entry['type']} {entry['artifact']}: {entry['path']}")
        lines.append(
            f"  content {str(entry['digest'])[:16]}, made by {entry.get('component', 'hand')} {entry.get('inputs', {})}"
        )
        lines += [
            f"  {name}: {entry[name]}"
            for name in ("parameters", "code", "packages", "summary")
            if name in entry
        ]
        for split, names in entry.get("patients", {}).items():
            lines.append(
                f"  {split}: {len(entry['files'][split])} images of {len(names)} patients: {', '.join(names)}"
            )
    return "\n".join(lines)


def forward_text(found):
    """For people."""
    lines = []
    for entry in found:
        if "acceptance" in entry:
            lines.append(
                f"AcceptanceBlessing {entry['acceptance']}: a model was judged on it, {entry['path']}"
            )
            continue
        if "gone" in entry:
            lines.append(f"NOT searched: {_gone_text(entry)}")
            continue
        if "near" in entry:
            lines.append(f"names that end alike, of whom this does not speak: {', '.join(entry['near'])}")
            continue
        saw = (
            "the models below were trained on it"
            if entry["split"] == "train"
            else "the models below were only scored on it"
        )
        lines.append(f"Examples {entry['examples']}, split {entry['split']}: {saw}")
        for item in entry["descendants"]:
            pushed = f"  PUSHED to {_pushed_text(item)}" if item["pushed"] else ""
            lines.append(f"  {item['type']} {item['artifact']}: {item['path']}{pushed}")
    return "\n".join(lines)


LEFT = {"": "", "gone": ", which is gone", "replaced": ", where another model lies now"}


def _pushed_text(item):
    return item["pushed"] + LEFT[item["left"]]


def _gone_text(entry):
    pushed = [_pushed_text(item) for item in entry["descendants"] if item["pushed"]]
    made = f", of which came what was pushed to {'; '.join(pushed)}" if pushed else ""
    return f"Examples {entry['gone']}, whose files are gone ({entry['path']}){made}"


def compare_text(result):
    """For people."""

    def shown(value):
        return "   -  " if value is None else f"{value:6.3f}"

    def pairs(differing):
        return [
            f"  {key:28s} {_brief(first)} | {_brief(second)}" for key, (first, second) in differing.items()
        ]

    first, second, both = result["images"]
    lines = [f"Dice; first {result['runs'][0]}, second {result['runs'][1]}"]
    lines += [f"  {key:28s} {shown(one)} {shown(other)}" for key, (one, other) in result["rows"].items()]
    difference = result["difference"]
    if difference is None:
        lines.append("the runs scored no image in common: no paired difference")
    else:
        interval = f"{difference['mean']:+.3f} ({difference['low']:+.3f} to {difference['high']:+.3f})"
        lines.append(
            f"first minus second on {difference['n']} shared images: {interval}, 95 % interval over patients"
        )
    if result["changed"]:
        lines.append(
            f"{result['changed']} images of one name are other pictures or have other masks: not paired"
        )
    if result["protocol"]:
        lines += [
            "NOT scored by the same protocol (first | second), so that the difference is not the models' alone:"
        ]
        lines += pairs(result["protocol"])
    elif first == second == both:
        lines.append(f"scored by the same protocol, on the same {both} images")
    else:
        lines.append(f"scored by the same protocol, on {first} and {second} images, {both} of them shared")
    lines.append("same data" if result["same_data"] else "NOT the same data: other images, masks or split")
    lines += (
        ["settings that differ (first | second):", *pairs(result["settings"])]
        if result["settings"]
        else ["no other setting differs"]
    )
    if len(set(result["code"])) > 1:
        lines.append(f"code differs: {' | '.join(code[:12] for code in result['code'])}")
    return "\n".join(lines)


def _brief(value):
    return "not set" if value is None else json.dumps(value, ensure_ascii=False)


def run_line(entry):
    """A run of `summary` in one line, for people."""
    parts = [f"{entry['run']}: {entry['state']}"]
    if entry["dice"]:
        mean, low, high = entry["dice"]
        parts.append(f"Dice {mean:.3f} ({low:.3f} to {high:.3f})")
    if entry["pushed"]:
        parts.append(f"pushed to {entry['pushed']}")
    elif entry["state"] == "complete":
        parts.append("not pushed")
    if entry["error"]:
        parts.append(entry["error"].partition("\n")[0][:120])
    return ", ".join([*parts, f"data {entry['data']}"])


def run_details(metadata, run):
    """Lines on a run's stages and artifacts, for people."""
    lines = [f"  code {metadata.facts(run).get('code', '?')[:12]}"]
    for execution in metadata.executions(run):
        facts = metadata.facts(execution)
        lines.append(
            f"  {execution.type:17s} {state_name(execution):9s} {facts.get('summary') or facts.get('error', '')}"
        )
        for output, artifact in metadata.artifacts_of(execution.id, OUTPUT).items():
            lines.append(f"    {output} ({artifact.type_name()} {artifact.id}): {artifact.path}")
    return lines
