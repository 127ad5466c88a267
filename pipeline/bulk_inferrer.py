"""Masks for any number of pictures, in this process, on a Beam runner or on Spark; the same files either way.

OUT/
  PICTURE_mask.png        255 = lesion, with its provenance in text chunks; the folders of the pictures are kept
  PICTURE_overlay.png     the picture with the mask drawn on it
  PICTURE_mask.dcm ...    with --format: the masks in another tool's format, written when all is done
  predictions.csv         file, presence, area (share of the frame), why some could not be read, and the answer's id; written when all is done
  answers.jsonl           a line for each answer, without names, by which `python -m pipeline lineage ID` resolves the id
  .progress/
    request.json          what was asked, so that an interrupted run goes on and another request does not mix in
    PICTURE.png.json      the picture's row of the table, written before its files: a kill between them is mended
    table.json            place of the table that --csv named, which a run that goes on writes again
    rows.jsonl            all rows, once all are there
    adapted/              with --adapt: the model that was fine-tuned once, as a preset that every process opens
"""

import dataclasses
import datetime
import functools
import hashlib
import json
import os
import pathlib
import shutil

from panet_keras.commands.arguments import Support
from panet_keras.commands.formats import FILES, check_format, write_format
from panet_keras.commands.outputs import ENDINGS, plan_outputs
from panet_keras.commands.queries import Query, find_queries
from panet_keras.files import open_whole, write_whole
from panet_keras.presets import read
from pipeline.errors import PipelineError
from pipeline.orchestration.cache import digest_path
from pipeline.row_file import RowFile
from serving import tracing

PROGRESS = ".progress"
ADAPTED = "adapted"
TABLE = "table.json"
DIGITS = 32
"""Of the digests in `answers.jsonl`, as in the server's audit log."""


@dataclasses.dataclass(frozen=True)
class Request:
    """What decides the masks.

    Attributes:
        model: `.keras` file, or a preset's name or folder.
        support: `panet_keras.commands.arguments.Support`.
        size: (height, width) of the model; None: a preset's own, else 256 x 256.
        presence_threshold: from 0 to 1; None: as `panet_keras.commands.model.open_model` sets it.
        adapt: whether a copy of the model is fine-tuned on the support first, once for all processes.
    """

    model: str
    support: Support
    size: tuple | None = None
    presence_threshold: float | None = None
    adapt: bool = False

    def fingerprint(self):
        """Dictionary that is equal for requests that give the same masks: files count by content."""
        digest = hashlib.sha256()
        for images in (self.support.images, *self.support.masks, self.support.normals):
            for path in images:
                digest.update(digest_path(path).encode())
            digest.update(b"\0")
        return {
            "model": digest_path(self.model) if os.path.exists(self.model) else self.model,
            "support": digest.hexdigest(),
            "shots": len(self.support.images),
            "normals": len(self.support.normals),
            "size": self.size and list(self.size),
            "presence_threshold": self.presence_threshold,
            "adapt": self.adapt,
        }


@tracing.traced("pipeline infer")
def infer(request, query, out, engine, recursive=True, overwrite=False, table=None, format="png"):
    """Segments pictures and folders of them.

    Args:
        request: `Request`.
        query: list of files and folders.
        out: folder to write. Pictures whose files are there already, by the same request, are not segmented
            again.
        engine: fields of `pipeline.config.Beam`.
        recursive: whether sub-folders are searched.
        overwrite: whether everything is segmented anew, in place of what `out` holds.
        table: CSV file; `predictions.csv` in `out` without it.
        format: one of `panet_keras.commands.formats.FILES`.

    Returns:
        (`RowFile` of the rows, sorted by `file`; dictionary of reason to the names that were skipped).

    Raises:
        PipelineError: `out` belongs to another request, or to none.
        PANetError: no picture, a model or support that cannot be used, outputs of one name or in place of an
            input.
    """
    out = pathlib.Path(out)
    queries, skipped = find_queries(query, recursive, out)
    goes_on = _goes_on(out, request) and not overwrite
    if not overwrite and not goes_on and out.is_dir() and any(out.iterdir()):
        raise PipelineError(
            f"{out} has files of something else in it; expected a new folder, or one of an interrupted `infer`. Give --overwrite to use it."
        )
    check_format(format, queries)
    inputs = request.support.files + ([request.model] if os.path.exists(request.model) else [])
    keep = functools.partial(_ours, out) if goes_on else None
    # Its own tables may be written again by a run that goes on.
    endings, together = FILES[format]
    own = [] if goes_on else [out / name for name in together]
    tables = [table, *own] if table else [] if goes_on else [out / "predictions.csv", *own]
    if goes_on and _same_table(out, table):
        tables = own
    plan_outputs(queries, out, (*ENDINGS, *endings), inputs, overwrite, tables, keep)
    # A model or support that cannot be used is said once, before anything is written; what takes minutes is
    # done once.
    adapted = out / PROGRESS / ADAPTED
    tuned_before = request.adapt and goes_on and (adapted / "preset.json").is_file()
    with tracing.span("open model"):
        segmenter = None if tuned_before else _decide(request)
        if overwrite:
            shutil.rmtree(out / PROGRESS, ignore_errors=True)
        (out / PROGRESS).mkdir(parents=True, exist_ok=True)
        write_whole(out / PROGRESS / "request.json", json.dumps(request.fingerprint(), indent=1))
        if segmenter and request.adapt:
            segmenter.save(adapted)
        work = _decided(request, segmenter, adapted)
        if segmenter and not request.adapt:
            _OPEN[work] = segmenter
    source = _source(request, adapted)
    tracing.note(
        images=len(queries),
        supports=len(source["supports"]),
        model_digest=source["model_digest"],
        state=source["state"],
    )
    queries.sort(key=lambda item: item.name)
    with tracing.span("segment"):
        told = _map(
            functools.partial(_segment, work, str(out)),
            [(str(item.path), item.name) for item in queries],
            engine,
            out,
        )
        rows = RowFile(out / PROGRESS / "rows.jsonl", told)
        tracing.note(images=len(rows), unreadable=sum(bool(row["error"]) for row in rows))
    from panet_keras.commands.table import write_table

    with tracing.span("write"):
        write_format(format, queries, rows, out)
        if table:
            write_whole(out / PROGRESS / TABLE, json.dumps(os.path.realpath(table)))
        write_table(table or out / "predictions.csv", map(_told, rows))
        write_answers(out / "answers.jsonl", rows, source)
    return rows, skipped


def _same_table(out, table):
    """Whether an earlier run of `out` has written this table."""
    file = out / PROGRESS / TABLE
    return bool(table) and file.is_file() and json.loads(file.read_text("utf-8")) == os.path.realpath(table)


def _told(row):
    """A row as the table has it."""
    return {name: value for name, value in row.items() if name != "picture"}


def _source(request, adapted):
    """What the lines of all answers of a request have in common; `adapted`: steps of the fine-tuning on the
    supports, whose result, and not the model that was named, answered."""
    from panet_keras.data.records import digests
    from panet_keras.pictures.decode import read_image

    pictures = [read_image(path, path) for path in (*request.support.images, *request.support.normals)]
    asked = request.fingerprint()
    return {
        "model": request.model,
        "model_digest": asked["model"],
        "signature": "infer",
        "state": asked["support"][:DIGITS],
        "supports": [str(digest)[:DIGITS] for digest in digests(pictures)],
    } | ({"adapted": read(adapted)[0]["about"]["adaptation_steps"]} if request.adapt else {})


def write_answers(path, rows, source):
    """Writes the lines that `pipeline.lineage.answers` reads, in the form of the server's audit log."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    with open_whole(path) as stream:
        for row in rows:
            if row.get("answer"):
                line = {
                    "id": row["answer"],
                    "time": now,
                    **source,
                    "pictures": [row["picture"]],
                    "presence": [row["presence"]],
                    "marked": [row["area"]],
                }
                stream.write(f"{json.dumps(line, ensure_ascii=False)}\n")


def _decided(request, segmenter, adapted):
    """The request that every process opens: nothing is left to decide in it."""
    if request.adapt:
        threshold = read(adapted)[0]["presence_threshold"]
        return dataclasses.replace(request, model=str(adapted), presence_threshold=threshold, adapt=False)
    if request.presence_threshold is None and segmenter.calibrated:
        return dataclasses.replace(request, presence_threshold=segmenter.presence_threshold)
    return request


def _goes_on(out, request):
    """Whether `out` holds an earlier run of the same request."""
    file = out / PROGRESS / "request.json"
    return file.is_file() and json.loads(file.read_text("utf-8")) == request.fingerprint()


def _record(out, name):
    return out / PROGRESS / f"{name}.json"


def _done(out, query):
    """Whether an earlier run has segmented this very picture, and not another one of its name."""
    return all(target.is_file() for target in _targets(out, query)) and _recorded(out, query)


def _ours(out, query):
    """Whether what is there of a picture's files is of an earlier run, whole or cut off before the mask, its last."""
    mask, overlay = _targets(out, query)
    return (overlay.is_file() or not mask.exists()) and _recorded(out, query)


def _recorded(out, query):
    """Whether an earlier run has begun to write this very picture's files."""
    record = _record(out, query.name)
    return record.is_file() and json.loads(record.read_text("utf-8")).get("picture") == _picture(query.path)


def _targets(out, query):
    """Paths of mask and overlay."""
    return [out / f"{query.stem}{ending}" for ending in ENDINGS]


def _picture(path):
    """Digest of a picture's file, as answers have it."""
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()[:DIGITS]


def _map(function, items, engine, out):
    """Yields the rows of all items in their order, from this process or the runner that `engine` names."""
    if not engine["runner"]:
        from panet_keras.commands.progress import progress

        yield from (json.loads(function(item)) for item in progress(items, "pictures"))
        return
    from pipeline.orchestration.beam import map_told

    yield from map_told(function, items, engine, out, "pictures")


def _decide(request):
    """The segmenter of a request; what was decided for it is said here, once, and in no worker."""
    from panet_keras.commands.model import open_model

    return open_model(request.model, request.size, request.support, request.presence_threshold, request.adapt)


_OPEN = {}
"""Segmenters of requests in which nothing is left to decide: one for each process, however often a runner makes the
worker anew."""


def _segmenter(request):
    from panet_keras.commands.model import set_support
    from panet_keras.inference.segmenter import open_segmenter

    if request not in _OPEN:
        segmenter = set_support(open_segmenter(request.model, request.size), request.support)
        if request.presence_threshold is not None:
            segmenter.presence_threshold = request.presence_threshold
        _OPEN[request] = segmenter
    return _OPEN[request]


@functools.cache
def _provenance(request):
    from panet_keras.commands.provenance import of_run

    return of_run(_segmenter(request), request.model, request.support)


def _segment(request, out, item):
    """Segments one picture, given as (path, name); JSON text of its row, with the answer's id."""
    from panet_keras.commands.answer import write_answer

    query, out = Query(pathlib.Path(item[0]), item[1]), pathlib.Path(out)
    record = _record(out, query.name)
    if _done(out, query):
        return record.read_text("utf-8")

    def note(row):
        row["picture"] = _picture(query.path)
        record.parent.mkdir(parents=True, exist_ok=True)
        write_whole(record, json.dumps(row))

    targets = _targets(out, query)
    row = write_answer(_segmenter(request), query, targets, _provenance(request), note)
    if row["error"]:
        # With --overwrite an older mask may lie there, of a picture that could be read.
        for target in targets:
            target.unlink(missing_ok=True)
    return json.dumps(row)
