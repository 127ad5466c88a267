"""Questions to the metadata store: where a model comes from, what an image or patient went into, which of two runs is better."""

import json
import pathlib

from pipeline.errors import PipelineError
from pipeline.lineage.metadata import OUTPUT, properties
from pipeline.orchestration.artifacts import Examples, ModelEvaluation


def backward(metadata, what):
    """From a pushed model, an artifact or a run back to the images.

    Args:
        metadata: `Metadata`.
        what: id of an artifact, its folder, a pushed version's folder, or the name of a run (then its last artifact).

    Returns:
        List of dictionaries, nearest first: artifact, type, path, digest, component, code, packages, seconds, inputs; an Examples
        entry has its patients and files by split, too.

    Raises:
        PipelineError: nothing of that name; says what there is.
    """
    entries = []
    for artifact, execution, inputs in metadata.ancestors(_find(metadata, what).id):
        entry = {"artifact": artifact.id, "type": artifact.type_name(), "path": str(artifact.path), "digest": artifact.digest}
        if execution is not None:
            facts = properties(execution)
            entry |= {"component": execution.type, "inputs": inputs}
            entry |= {name: facts[name] for name in ("parameters", "code", "packages", "seconds", "summary") if name in facts}
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
        List of dictionaries: examples, split (`"train"`: the models saw it), and descendants (artifact, type, path, pushed: folder
        that is served, if any).

    Raises:
        PipelineError: no run had it.
    """
    found = []
    for examples in metadata.all_artifacts(Examples.type_name()):
        if not examples.findings.is_file():
            continue
        findings = json.loads(examples.findings.read_text("utf-8"))
        split = next((s for s in findings["files"] if name in findings["files"][s] or name in findings["patients"][s]), None)
        if split is None:
            continue
        made = []
        for artifact in metadata.descendants(examples.id):
            pushed = artifact.properties.get("pushed") and _version_folder(artifact)
            made.append(
                {"artifact": artifact.id, "type": artifact.type_name(), "path": str(artifact.path), "pushed": pushed or None}
            )
        found.append({"examples": examples.id, "path": str(examples.path), "split": split, "descendants": made})
    if not found:
        raise PipelineError(f"no run had an image or a patient {name!r}; expected a file name such as ALWI_000.png, or ALWI.")
    return found


def compare(metadata, first, second):
    """Scores of two runs side by side.

    Args:
        metadata: `Metadata`. first, second: names of runs.

    Returns:
        Dictionary: rows (protocol to the two mean Dice), difference (first minus second over the images both scored, with its
        95 % interval over patients), or None where they share none.

    Raises:
        PipelineError: an unknown run, or one without an evaluation.
    """
    from panet_keras.evaluation import paired_difference

    results = [json.loads(_evaluation(metadata, name).evaluation.read_text("utf-8")) for name in (first, second)]
    tables = [result["table"] for result in results]
    rows = {key: [table.get(key, {}).get("dice", {}).get("mean") for table in tables] for key in {**tables[0], **tables[1]}}
    images = [result["per_image"] for result in results]
    shared = sorted(set(images[0]) & set(images[1]))
    difference = None
    if shared:
        dice = [[scores[name]["dice"] for name in shared] for scores in images]
        difference = paired_difference(*dice, [images[0][name]["patient"] for name in shared])
    return {"runs": [first, second], "rows": rows, "difference": difference}


def _run(metadata, name):
    known = {run.name: run for run in metadata.runs()}
    if name not in known:
        raise PipelineError(f"run {name!r} is unknown; expected one of {sorted(known)}.")
    return known[name]


def _outputs(metadata, run):
    return [a for execution in metadata.executions(run) for a in metadata.artifacts_of(execution.id, OUTPUT).values()]


def _evaluation(metadata, name):
    found = [a for a in _outputs(metadata, _run(metadata, name)) if isinstance(a, ModelEvaluation)]
    if not found:
        raise PipelineError(f"run {name!r} has no evaluation; expected a run that got past the Evaluator.")
    return found[-1]


def _find(metadata, what):
    artifacts = metadata.all_artifacts()
    if str(what).isdigit():
        found = [a for a in artifacts if a.id == int(what)]
    else:
        folder = pathlib.Path(what).resolve()
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
    facts = artifact.properties
    if "destination" not in facts or "version" not in facts:
        return None
    return str((pathlib.Path(facts["destination"]) / str(facts["version"])).resolve())


def backward_text(entries):
    """For people."""
    lines = []
    for entry in entries:
        lines.append(f"{entry['type']} {entry['artifact']}: {entry['path']}")
        lines.append(f"  content {str(entry['digest'])[:16]}, made by {entry.get('component', 'hand')} {entry.get('inputs', {})}")
        lines += [f"  {name}: {entry[name]}" for name in ("parameters", "code", "packages", "summary") if name in entry]
        for split, names in entry.get("patients", {}).items():
            lines.append(f"  {split}: {len(entry['files'][split])} images of {len(names)} patients: {', '.join(names)}")
    return "\n".join(lines)


def forward_text(found):
    """For people."""
    lines = []
    for entry in found:
        saw = "the models below were trained on it" if entry["split"] == "train" else "the models below were only scored on it"
        lines.append(f"Examples {entry['examples']}, split {entry['split']}: {saw}")
        for item in entry["descendants"]:
            pushed = f"  PUSHED to {item['pushed']}" if item["pushed"] else ""
            lines.append(f"  {item['type']} {item['artifact']}: {item['path']}{pushed}")
    return "\n".join(lines)


def compare_text(result):
    """For people."""

    def shown(value):
        return "   -  " if value is None else f"{value:6.3f}"

    lines = [f"Dice; first {result['runs'][0]}, second {result['runs'][1]}"]
    lines += [f"  {key:28s} {shown(first)} {shown(second)}" for key, (first, second) in result["rows"].items()]
    difference = result["difference"]
    if difference is None:
        return "\n".join([*lines, "the runs scored no image in common: no paired difference"])
    interval = f"{difference['mean']:+.3f} ({difference['low']:+.3f} to {difference['high']:+.3f})"
    return "\n".join([*lines, f"first minus second on {difference['n']} shared images: {interval}, 95 % interval over patients"])
