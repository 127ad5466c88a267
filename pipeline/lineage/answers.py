"""From the id of an answer to the model, the supports and their patients, and back from a patient to the
answers.

Audit logs know digests and no names: names come from the Examples and acceptances of the metadata store, which
have a digest for each picture.
"""

import glob
import json
import pathlib
import uuid

from pipeline.errors import PipelineError
from pipeline.lineage import queries
from pipeline.orchestration.artifacts import AcceptanceBlessing, Examples, Model, PushedModel

DIGITS = 32
"""Of a digest in an audit log."""


def is_id(text):
    """Whether a text is the id of an answer."""
    try:
        return str(uuid.UUID(text)) == text.lower()
    except ValueError:
        return False


def read_logs(files):
    """Lines of audit logs, dictionaries, oldest file first; a line that was cut off is left out.

    Args:
        files: paths; FILE.1, FILE.2 ... beside each are read, too.

    Raises:
        PipelineError: no such file, or none given.
    """
    if not files:
        raise PipelineError(
            "the id of an answer is resolved by an audit log: give --audit_log FILE, that of `python -m serving --audit_log` or "
            "answers.jsonl of `infer`."
        )
    for file in files:
        path = pathlib.Path(file).expanduser()
        if not path.is_file():
            raise PipelineError(
                f"--audit_log {file}: no such file; expected JSON lines of a server or of `infer`."
            )
        full = [pathlib.Path(name) for name in glob.glob(f"{glob.escape(str(path))}.*")]
        full = sorted(
            (one for one in full if one.suffix[1:].isdecimal()), key=lambda one: -int(one.suffix[1:])
        )
        for one in (*full, path):
            with open(one, encoding="utf-8", errors="replace") as lines:
                for line in lines:
                    try:
                        found = json.loads(line)
                    except ValueError:
                        continue
                    if isinstance(found, dict) and "id" in found:
                        yield found


def resolve(metadata, files, answer):
    """What an answer was made of.

    Args:
        metadata: `Metadata`. files: audit logs. answer: id.

    Returns:
        Dictionary: answer (its line of the log), supports (dictionaries of digest, file, patient and data;
        the last three None where no Examples and no acceptance has the picture; None where nobody told the
        digests), model (`queries.backward` of the model that answered, nearest first; empty where the store
        does not know it).

    Raises:
        PipelineError: no log has the id.
    """
    line, told = None, {}
    for one in read_logs(files):
        if one["id"] == answer.lower():
            line = one
        if one.get("state") and one.get("supports"):
            told[one["state"]] = one["supports"]
    if line is None:
        raise PipelineError(f"{answer}: no answer in {', '.join(map(str, files))} has this id.")
    digests = line.get("supports") or told.get(line.get("state"))
    names = pictures(metadata) if digests else {}
    unknown = {"file": None, "patient": None, "data": None}
    supports = digests and [{"digest": one, **names.get(one, [unknown])[0]} for one in digests]
    model = _model(metadata, line)
    return {
        "answer": line,
        "supports": supports,
        "model": queries.backward(metadata, str(model.id)) if model else [],
    }


def of_patient(metadata, files, name):
    """Answers whose supports held a patient's picture (or one picture).

    Args:
        metadata: `Metadata`. files: audit logs. name: patient, or an image's file name.

    Returns:
        List of lines of the logs, without those of `encode_support`, which is no mask.
    """
    own = {
        digest
        for digest, places in pictures(metadata).items()
        if any(name in (place["file"], place["patient"]) for place in places)
    }
    states, lines = set(), []
    for one in read_logs(files):
        lines.append(one)
        if own & set(one.get("supports") or ()):
            states.add(one.get("state"))
    return [
        one
        for one in lines
        if one.get("pictures") and (own & set(one.get("supports") or ()) or one.get("state") in states)
    ]


def pictures(metadata):
    """Dictionary of a picture's digest to a list of where it is: file, patient, and data, the Examples or the
    acceptance that has it."""
    found = {}

    def note(digest, file, patient, data):
        found.setdefault(digest[:DIGITS], []).append({"file": file, "patient": patient, "data": data})

    for blessing in metadata.all_artifacts(AcceptanceBlessing.type_name()):
        if blessing.acceptance.is_file():
            told = json.loads(blessing.acceptance.read_text("utf-8"))
            for patient, files in told["patients"].items():
                for file, digest in files.items():
                    note(digest, file, patient, f"AcceptanceBlessing {blessing.id}: {told['data']}")
    for examples in metadata.all_artifacts(Examples.type_name()):
        for split in Examples.SPLITS:
            if examples.split(split).is_dir():
                from pipeline.validation.image_checks import read_rows

                for row in read_rows(examples.split(split), split):
                    note(row.digest, row.filename, row.patient, f"Examples {examples.id}: {examples.path}")
    return found


def _model(metadata, line):
    """The newest artifact of the model that answered, the pushed one before the trained one; None where the
    store does not know it."""
    from pipeline.orchestration.cache import digest_path
    from serving.models.model_manager import read_fingerprint

    found = []
    for artifact in metadata.all_artifacts():
        if isinstance(artifact, PushedModel) and artifact.version_folder:
            place, file = artifact.version_folder, None
        elif isinstance(artifact, Model):
            place, file = artifact.serving, artifact.keras
        else:
            continue
        version = line.get("model_version")
        same = version and read_fingerprint(place) == version
        if same or (
            line.get("model_digest") and file and file.is_file() and digest_path(file) == line["model_digest"]
        ):
            found.append(artifact)
    pushed = [artifact for artifact in found if isinstance(artifact, PushedModel)]
    return (pushed or found or [None])[-1]


def resolved_text(found):
    """For people."""
    line = found["answer"]
    version = f", version {line['version']}" if "version" in line else ""
    lines = [f"answer {line['id']}, {line['time']}: model {line['model']}{version}, {line['signature']}"]
    for digest, presence, marked in zip(
        line.get("pictures", ()), line.get("presence", ()), line.get("marked", ())
    ):
        lines.append(f"  picture {digest}: presence {presence}, {marked:.2%} of the frame marked")
    if line.get("support_set"):
        lines.append(f"  support set {line['support_set']}")
    if found["supports"] is None:
        lines.append("  supports: nobody told their digests; the log has the state's alone")
    for support in found["supports"] or ():
        where = f"{support['file']}, patient {support['patient']}, {support['data']}"
        lines.append(
            f"  support {support['digest']}: {where if support['file'] else 'in no Examples and no acceptance'}"
        )
    if not found["model"]:
        lines.append("  the metadata store does not know this model: a preset, or of another run.root")
        return "\n".join(lines)
    return "\n".join([*lines, queries.backward_text(found["model"])])


def masks_text(masks):
    """For people."""
    head = f"{len(masks)} answers had a picture of it among their supports" + (":" if masks else "")
    return "\n".join([head, *(f"  {one['id']}  {one['time']}" for one in masks)])
