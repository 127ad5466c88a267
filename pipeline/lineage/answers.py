"""From the id of an answer to the model, the supports and their patients, and back from a patient to the
answers.

Audit logs know digests and no names: names come from the Examples and acceptances of the metadata store, which
have a digest for each picture.
"""

import gzip
import json
import pathlib
import re
import uuid
import zlib

from pipeline.errors import PipelineError
from pipeline.lineage import queries
from pipeline.orchestration.artifacts import AcceptanceBlessing, Examples, Model, PushedModel

DIGITS = 32
"""Of a digest in an audit log."""
ROTATED = re.compile(r"[.-](\d+)(-\d+)*(\.gz)?", re.ASCII)
"""What stands behind a log's name once it is full: the server's own `.1`, logrotate's `.2.gz` and `-20261126`."""
DATE = 10_000_000
"""Numbers from here on are dates, the earliest the oldest; those below count files, the highest the oldest."""


def is_id(text):
    """Whether a text is the id of an answer."""
    try:
        return str(uuid.UUID(text)) == text.lower()
    except ValueError:
        return False


def read_logs(files):
    """Lines of audit logs, dictionaries, oldest file first; a line that was cut off is left out.

    Args:
        files: paths, of `.gz`, too; the full ones beside each (`ROTATED`) are read, too, and no file twice.

    Raises:
        PipelineError: no such file, none given, one without a line of an audit log, or a damaged `.gz`.
    """
    if not files:
        raise PipelineError(
            "the id of an answer is resolved by an audit log: give --audit_log FILE, that of `python -m serving --audit_log` or "
            "answers.jsonl of `infer`."
        )
    seen = set()
    for file in files:
        path = pathlib.Path(file).expanduser()
        if not path.is_file():
            raise PipelineError(
                f"--audit_log {file}: no such file; expected JSON lines of a server or of `infer`."
            )
        lines = answers = 0
        for one in (*_full(path), path):
            if one.resolve() in seen:
                continue
            seen.add(one.resolve())
            for line in _lines(one):
                lines += 1
                try:
                    found = json.loads(line)
                except ValueError:
                    continue
                if isinstance(found, dict) and "id" in found:
                    answers += 1
                    yield found
        if lines and not answers:
            raise PipelineError(
                f"--audit_log {file}: no line of an audit log in it; expected JSON lines of `python -m serving --audit_log`, or "
                "answers.jsonl of `infer`."
            )


def _full(path):
    """The full files beside a log, the oldest first."""
    found = []
    for one in path.parent.iterdir():
        match = ROTATED.fullmatch(one.name.removeprefix(path.name))
        if match and one.name.startswith(path.name) and one.is_file():
            number = int(match[1])
            found.append((number >= DATE, number if number >= DATE else -number, one))
    return [one for *_, one in sorted(found)]


def _lines(path):
    """Lines of a file, packed or not."""
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8", errors="replace") as stream:
            yield from stream
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise PipelineError(
            f"--audit_log {path}: cannot be unpacked ({error}); expected a whole gzip file. Copy it again, or take it away."
        ) from None


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
        List of lines of the logs, without those of `encode_support`, which is no mask; and the number of
        answers of which nobody can tell, because no line says what their supports were.
    """
    own = {
        digest
        for digest, places in pictures(metadata).items()
        if any(name in (place["file"], place["patient"]) for place in places)
    }
    # Read twice, for logs are larger than memory.
    states, told = set(), set()
    for one in read_logs(files):
        if one.get("supports"):
            told.add(one.get("state"))
            if own & set(one["supports"]):
                states.add(one.get("state"))
    found, untold = [], 0
    for one in read_logs(files):
        if not one.get("pictures"):
            continue
        if own & set(one.get("supports") or ()) or one.get("state") in states:
            found.append(one)
        elif not one.get("supports") and one.get("state") not in told:
            untold += 1
    return found, untold


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
            for digest, file in told.get("supports", {}).items():
                note(digest, file, None, f"AcceptanceBlessing {blessing.id}: {told['support_dir']}")
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
    # Other settings of the same weights are another version.
    same = [artifact for artifact in pushed if artifact.properties.get("version") == line.get("version")]
    return (same or pushed or found or [None])[-1]


def resolved_text(found):
    """For people."""
    line = found["answer"]
    version = f", version {line['version']}" if "version" in line else ""
    tuned = f", fine-tuned on the supports ({line['adapted']} steps)" if line.get("adapted") else ""
    lines = [
        f"answer {line['id']}, {line['time']}: model {line['model']}{version}, {line['signature']}{tuned}"
    ]
    for digest, presence, marked in zip(
        line.get("pictures", ()), line.get("presence", ()), line.get("marked", ())
    ):
        lines.append(f"  picture {digest}: presence {presence}, {marked:.2%} of the frame marked")
    if line.get("support_set"):
        lines.append(f"  support set {line['support_set']}")
    if found["supports"] is None:
        lines.append("  supports: nobody told their digests; the log has the state's alone")
    for support in found["supports"] or ():
        patient = f"patient {support['patient']}" if support["patient"] else "no patient told"
        where = f"{support['file']}, {patient}, {support['data']}"
        lines.append(
            f"  support {support['digest']}: {where if support['file'] else 'in no Examples and no acceptance'}"
        )
    if not found["model"]:
        lines.append("  the metadata store does not know this model: a preset, or of another run.root")
        return "\n".join(lines)
    return "\n".join([*lines, queries.backward_text(found["model"])])


def masks_text(masks, untold=0):
    """For people; arguments as `of_patient` gives them."""
    head = f"{len(masks)} answers had a picture of it among their supports" + (":" if masks else "")
    lines = [head, *(f"  {one['id']}  {one['time']}" for one in masks)]
    if untold:
        lines.append(f"NOT known: of {untold} more answers nobody told the supports' digests")
    return "\n".join(lines)
