"""From pictures and a model to a report, a verdict and a blessing with lineage.

OUTPUT/
  report.html                 one page; its pictures lie beside it and nowhere else
  worst/01.png ... 10.png     picture, truth, mask and probability
  scores.json                 every figure of the page, and a row for each scored picture
  blessing/                   `pipeline.orchestration.artifacts.AcceptanceBlessing`
  metadata.db                 lineage, where the model's own run.root is not known

.OUTPUT.work/                 finished support sets of an interrupted acceptance, beside OUTPUT
"""

import dataclasses
import datetime
import hashlib
import json
import logging
import os
import pathlib
import shutil
import warnings

import numpy as np

from pipeline.acceptance import limits as rules
from pipeline.acceptance import plan, summary
from pipeline.acceptance.models import content_digest, find_model, open_model
from pipeline.errors import MetadataError, PipelineError
from pipeline.terminal import Progress
from serving import tracing

LOG = logging.getLogger(__name__)
RUN = "AcceptanceRun"


@dataclasses.dataclass(frozen=True)
class Request:
    """What is accepted, and how.

    Attributes:
        model: as `pipeline.acceptance.models.find_model`. data: folder or file of annotated pictures.
        layout: of them, or None to see for itself. support_dir: folder of one fixed support set, in place of
            drawn ones. limits: YAML file, or None. output: new folder.
        root: `run.root` whose metadata know the model; None: the one the model lies in.
        shots: numbers of annotated pictures. repeats: how often the patients are dealt. seed: of that.
        most: pictures that are scored at most; 0 for all.
    """

    model: str
    data: str
    output: str
    layout: str | None = None
    support_dir: str | None = None
    limits: str | None = None
    root: str | None = None
    shots: tuple = (1, 5, 10, 20)
    repeats: int = 2
    seed: int = 0
    most: int = 400


@tracing.traced("pipeline accept")
def accept(request):
    """Runs an acceptance; one that was interrupted goes on after its last support set.

    Args:
        request: `Request`.

    Returns:
        (whether the model was accepted, reasons, `pathlib.Path` of the output).

    Raises:
        PipelineError: a model, data, limits or output that cannot be used.
    """
    limits = rules.read_limits(request.limits)
    output = pathlib.Path(request.output).expanduser().resolve()
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise PipelineError(f"--output {output}: is there already; name a new folder for this acceptance.")
    data = pathlib.Path(request.data).expanduser().resolve()
    if output.is_relative_to(data):
        raise PipelineError(
            f"--output {output}: in the data ({data}), where the next acceptance would read its pictures. Name a folder outside."
        )
    support = _support(request)
    shots = (len(support.images),) if support else request.shots
    if support:
        limits = dataclasses.replace(limits, supports=shots[0])
    rules.check_supports(limits, shots)
    place = find_model(request.model)
    known = Lineage(place, request.root)
    with tracing.span("open model"):
        answers = open_model(place)
    tracing.note(model_version=answers.version, **{"input.model": known.artifact and known.artifact.id})
    with tracing.span("read pictures"):
        pictures, left_out, layout = _read(request, answers.size, known)
        tracing.note(images=len(pictures.records))
    if support:
        pictures.add_support(support)
        drawn, skipped = (
            [plan.fixed(pictures.patients, pictures.digests, len(support.images), len(support.normals))],
            [],
        )
    else:
        asked = _asked(pictures, request.most)
        drawn, skipped = plan.draw(
            pictures.patients, pictures.lesion, pictures.digests, shots, request.repeats, request.seed, asked
        )
    if not any(one.queries for one in drawn):
        raise PipelineError(f"--data {request.data}: nothing can be scored: {'; '.join(skipped) or left_out}")
    work = _work_folder(output, place, pictures, request, limits)
    with tracing.span("score"):
        rows = _score(answers, pictures, drawn, work)
    with tracing.span("judge"):
        result = _result(request, limits, place, answers, pictures, rows, skipped, left_out, layout, known)
    with tracing.span("write"):
        blessing = _write(output, result, answers, pictures, drawn, rows, known)
    tracing.note(accepted=result["accepted"], **{"output.blessing": blessing.id})
    shutil.rmtree(work, ignore_errors=True)
    return result["accepted"], result["reasons"], output


class Lineage:
    """What the metadata store knows of a model.

    Attributes:
        root: `run.root`, or None. artifact: of the model, or None. statistics: file of the training
            statistics, or None. without: why there are none, in words. untold: why nobody can tell which
            pictures the model was trained on, in words; empty where it can be told.
    """

    def __init__(self, place, root=None):
        from pipeline.lineage import queries
        from pipeline.lineage.metadata import Metadata

        self.root = pathlib.Path(root).expanduser().resolve() if root else queries.root_of(place)
        if root and not (self.root / "metadata.db").is_file():
            raise PipelineError(f"--root {root}: no metadata.db in it; expected the run.root of a run.")
        self.metadata = Metadata(self.root / "metadata.db") if self.root else None
        self.artifact = queries.model_artifact(self.metadata, place) if self.metadata else None
        self.examples = self.statistics = None
        if self.artifact:
            self.examples, found = queries.training_artifacts(self.metadata, self.artifact)
            self.statistics = found and found.split("train")
        if (place / "preset.json").is_file():
            self.without = f"the preset {place.name} carries no statistics of its training pictures"
            self.untold = f"the preset {place.name} carries no list of them"
        elif self.artifact is None:
            self.without = self.untold = "no run.root is known that made this model; name it with --root"
        else:
            self.without = "the run that made this model has no training statistics any more"
            there = self.examples is not None and self.examples.path.is_dir()
            self.untold = "" if there else "the Examples that it was trained on are gone"

    def trained_on(self):
        """Digests of the pictures that the model was trained on; empty where that is not known."""
        if self.untold:
            return set()
        from pipeline.validation.image_checks import read_rows

        return {row.digest for row in read_rows(self.examples.split("train"), "train")}


def _support(request):
    if not request.support_dir:
        return None
    from panet_keras.commands.arguments import Support, read_support_folder

    pairs, normals = read_support_folder(request.support_dir)
    return Support(tuple(image for image, _ in pairs), tuple(masks for _, masks in pairs), tuple(normals))


def _read(request, size, known):
    """`Pictures` without those of patients that the model was trained on; how many were left out, in words;
    the layout."""
    from panet_keras.errors import DataWarning
    from pipeline.acceptance.pictures import Pictures, layout_of
    from pipeline.components import sources

    layout = request.layout or layout_of(request.data)
    if not request.layout:
        LOG.info("layout: %s (--layout names another)", layout)
    note = Progress(LOG, "pictures")

    def decoded(records, what):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", DataWarning)
            pictures = Pictures(records, size, lambda done, total: note(done, total, what))
        repairs = [str(one.message) for one in caught if issubclass(one.category, DataWarning)]
        if repairs and what == "read":
            LOG.warning("%d pictures were repaired, such as %s", len(repairs), repairs[0])
        return pictures

    [records] = sources.read(str(pathlib.Path(request.data).expanduser()), layout)
    pictures = decoded(records, "read")
    seen = np.isin(pictures.digests, list(known.trained_on()))
    if known.untold:
        LOG.warning("not told: which of the pictures the model was trained on; %s", known.untold)
    if not seen.any():
        return pictures, "", layout
    taught = set(pictures.patients[seen].tolist())
    kept = [record for record in pictures.records if record.patient not in taught]
    text = f"{len(records) - len(kept)} pictures of {len(taught)} patients that the model was trained on"
    if not kept:
        raise PipelineError(
            f"--data {request.data}: {text}, and no other; expected pictures it has not seen."
        )
    LOG.info("left out: %s", text)
    return decoded(kept, "read again"), text, layout


def _asked(pictures, most):
    from panet_keras.evaluation import some_queries

    return some_queries(pictures.lesion, most) if most and most < len(pictures.lesion) else None


def _work_folder(output, place, pictures, request, limits):
    """Folder of finished support sets; emptied where it is of another request."""
    work = output.with_name(f".{output.name}.work")
    asked = {
        "model": content_digest(place),
        "pictures": _data_digest(pictures),
        **{name: getattr(request, name) for name in ("shots", "repeats", "seed", "most")},
        "support": _support_digests(pictures),
    }
    text = json.dumps(asked, indent=1)
    file = work / "request.json"
    if file.is_file() and file.read_text("utf-8") != text:
        shutil.rmtree(work)
    work.mkdir(parents=True, exist_ok=True)
    file.write_text(text, "utf-8")
    return work


def _support_digests(pictures):
    """Of the frames of a fixed support set, and of their masks, which somebody may have corrected."""
    first = len(pictures.records)
    return [
        [str(digest), hashlib.sha256(mask.tobytes()).hexdigest()]
        for digest, mask in zip(pictures.digests[first:], pictures.masks[first:])
    ]


def _data_digest(pictures):
    digest = hashlib.sha256()
    for record, picture, truth in zip(pictures.records, pictures.digests, pictures.truths):
        digest.update(f"{record.filename}\0{record.patient}\0{record.label}\0{picture}".encode())
        digest.update(truth.tobytes())
    return digest.hexdigest()


def _score(answers, pictures, drawn, work):
    """Rows by number of supports."""
    from pipeline.acceptance.scoring import kept, score

    left = [one for one in drawn if not (work / f"{one.name}.json").is_file()]
    note = Progress(LOG, "answers")
    if left:
        told = Progress(LOG, "pictures")
        answers.prepare(pictures.frames, lambda done, count: told(done, count, "features"))
    elif drawn:
        answers.prepare(pictures.frames, lambda *_: None)
    total, done = sum(len(one.queries) for one in left), 0

    def count(number):
        nonlocal done
        done += number
        note(done, total, "scored")

    count(0)
    rows = {}
    for one in drawn:
        asked = {"supports": len(one.frames), "images": len(one.queries), "kept": one not in left}
        with tracing.span("support set", **asked):
            made = kept(work / f"{one.name}.json", lambda one=one: score(answers, pictures, one, count))
        rows.setdefault(one.shots, []).extend(made)
    return rows


def _result(request, limits, place, answers, pictures, rows, skipped, left_out, layout, known):
    """Everything that the page and the blessing tell."""
    kinds = (rules.PRESET, rules.FITTED)
    table = {
        shots: {kind: summary.figures(own, pictures.patients, kind, answers.threshold) for kind in kinds}
        for shots, own in rows.items()
    }
    judged = rows.get(limits.supports, [])
    groups = summary.groups(judged, pictures, limits.threshold, answers.threshold)
    drift = _drift(pictures, known)
    largest = max((one.value for one in drift), default=None)
    figures = table[limits.supports][limits.threshold] if judged else None
    told = rules.judge(limits, figures, groups, largest)
    accepted = all(one.kept for one in told)
    return {
        "accepted": accepted,
        "reasons": rules.reasons(told),
        "model": str(place),
        "model_digest": content_digest(place),
        "model_version": answers.version,
        "threshold": answers.threshold,
        "data": str(pathlib.Path(request.data).expanduser().resolve()),
        "layout": layout,
        "data_digest": _data_digest(pictures),
        "pictures": len(pictures.records),
        "lesions": int(pictures.lesion[: len(pictures.records)].sum()),
        "patients": _by_patient(pictures),
        "supports": pictures.supports,
        "limits": dataclasses.asdict(limits),
        "judgements": [dataclasses.asdict(one) for one in told],
        "table": table,
        "groups": groups,
        "drift": [{**dataclasses.asdict(one), "moved": one.moved} for one in drift],
        "no_drift": "" if known.statistics else known.without,
        "skipped": skipped,
        "left_out": left_out,
        "untold": known.untold,
        "support_dir": request.support_dir,
        "settings": {name: getattr(request, name) for name in ("shots", "repeats", "seed", "most")},
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _drift(pictures, known):
    from pipeline.validation import drift

    if not known.statistics:
        return []
    training, _ = drift.features_of(known.statistics)
    kinds = {name: drift.Texts if name == "label" else drift.Numbers for name in pictures.facts}
    own = {name: kinds[name].of(values) for name, values in pictures.facts.items()}
    # Frames without lesion have an area of 0 on both sides.
    return drift.compare(training, own)


def _by_patient(pictures):
    """Dictionary of patient to dictionary of file name to digest, for `pipeline lineage`."""
    result = {}
    for record, digest in zip(pictures.records, pictures.digests):
        result.setdefault(record.patient, {})[record.filename] = str(digest)
    return result


def _write(output, result, answers, pictures, drawn, rows, known):
    from panet_keras.files import build_beside
    from pipeline.acceptance.report import write_report, write_worst
    from pipeline.orchestration.artifacts import AcceptanceBlessing

    limits = result["limits"]
    chosen = summary.worst(rows.get(limits["supports"], []), pictures, limits["threshold"], answers.threshold)
    with build_beside(output) as building:
        worst = write_worst(building / "worst", chosen, answers, pictures, drawn, limits["supports"])
        kept = {"result": result, "rows": {str(shots): own for shots, own in rows.items()}}
        (building / "scores.json").write_text(json.dumps(kept, ensure_ascii=False), "utf-8")
        blessing = AcceptanceBlessing(building / "blessing")
        blessing.path.mkdir()
        blessing.write(result["accepted"], result["reasons"])
        facts = {name: value for name, value in result.items() if name not in ("reasons", "groups", "table")}
        facts["figures"] = result["table"].get(limits["supports"], {})
        blessing.acceptance.write_text(json.dumps(facts, indent=1, ensure_ascii=False), "utf-8")
        write_report(building / "report.html", result, worst)
    blessing.path = output / "blessing"
    _record(blessing, result, known, output)
    return blessing


def _record(blessing, result, known, output):
    """Blessing and model become artifacts of the model's metadata store, or of one in the output where there is none or
    it may not be written, as that of a root that is mounted read-only."""
    from pipeline.lineage.metadata import Metadata
    from pipeline.orchestration.cache import digest_path

    blessing.digest = digest_path(blessing.path)
    blessing.properties |= {"data": result["data"], "data_digest": result["data_digest"]}
    if known.metadata:
        try:
            return _put(known.metadata, known.artifact, blessing, result)
        except MetadataError as error:
            LOG.warning("the lineage goes into %s: %s", output / "metadata.db", error)
    _put(Metadata(output / "metadata.db"), None, blessing, result)


def _put(metadata, model, blessing, result):
    from pipeline.orchestration.artifacts import Model
    from pipeline.orchestration.cache import versions
    from pipeline.orchestration.local_runner import _code_version

    model = model or Model(result["model"], digest=result["model_digest"])
    name = f"accept-{result['time']}-{os.getpid()}"
    run = metadata.start_run(name, RUN, data=result["data"])
    metadata.put_execution(
        "Acceptance",
        run,
        {"model": model},
        {"blessing": blessing},
        "COMPLETE",
        summary="accepted" if result["accepted"] else "NOT accepted",
        parameters=json.dumps({"limits": result["limits"], **result["settings"]}),
        code=_code_version(),
        packages=json.dumps(versions()),
    )
    metadata.end_run(run, "complete")
