"""Masks for a folder of any number of pictures, in this process or on a Beam runner; the same files either way.

OUT/
  PICTURE_mask.png        255 = lesion; the folders of the pictures are kept
  PICTURE_mask.json       file, presence, area (share of the frame)
  predictions.csv         the same of all pictures, and why some could not be read; written when all is done
  request.json            what was asked, so that an interrupted run goes on and another request does not mix in
"""

import csv
import functools
import hashlib
import io
import json
import os
import pathlib
import tempfile

import numpy as np

from panet_keras.files import write_whole
from pipeline.errors import PipelineError
from pipeline.orchestration.cache import digest_path

FIELDS = ("file", "presence", "area", "error")


def infer(model, support, query, out, engine):
    """Segments all pictures of a folder and of the folders in it.

    Args:
        model: `.keras` file, or a preset's name or folder.
        support: list of (image, mask) paths, one way.
        query: folder.
        out: folder to write. Pictures whose mask is there already are not segmented again.
        engine: fields of `pipeline.config.Beam`.

    Returns:
        (number of pictures, number of pictures that could not be read).

    Raises:
        PipelineError: no picture in the folder, or `out` belongs to another request.
        PANetError: a model or support that cannot be used.
    """
    from panet_keras.data.readers.folder import SUFFIXES
    from pipeline.orchestration.beam import map_told

    query, out = pathlib.Path(query), pathlib.Path(out)
    names = sorted(str(path.relative_to(query)) for path in query.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not names:
        raise PipelineError(f"{query}: no picture in it ({', '.join(sorted(SUFFIXES))}); expected a folder of query images.")
    support = tuple((str(image), str(mask)) for image, mask in support)
    # A model or support that cannot be used is said once, before anything is written.
    _segmenter(str(model), support)
    _claim(out, model, support)
    segment = functools.partial(_segment, str(model), support, str(query), str(out))
    with tempfile.TemporaryDirectory(dir=out, prefix=".told-") as scratch:
        rows = map_told(segment, names, engine, scratch, "pictures")
    rows.sort(key=lambda row: row["file"])
    table = io.StringIO()
    writer = csv.DictWriter(table, FIELDS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_whole(out / "predictions.csv", table.getvalue())
    return len(rows), sum(bool(row["error"]) for row in rows)


def _claim(out, model, support):
    """Notes the request in `out`, or finds that an earlier one was the same."""
    digest = hashlib.sha256()
    for path in (path for pair in support for path in pair):
        digest.update(digest_path(path).encode())
    known = digest_path(model) if os.path.exists(model) else str(model)
    request = {"model": known, "support": digest.hexdigest(), "shots": len(support)}
    file = out / "request.json"
    out.mkdir(parents=True, exist_ok=True)
    if not file.exists() and any(out.iterdir()):
        raise PipelineError(f"{out} has files of something else in it; expected a new folder, or one of an interrupted `infer`.")
    if file.exists() and json.loads(file.read_text("utf-8")) != request:
        raise PipelineError(f"{out} holds the masks of another model or support ({file}); name another folder.")
    write_whole(file, json.dumps(request, indent=1))


@functools.cache
def _segmenter(model, support):
    """One for each process, however often a runner makes the worker anew."""
    from panet_keras.inference.segmenter import open_segmenter

    return open_segmenter(model).set_support(*map(list, zip(*support)))


def _segment(model, support, query, out, name):
    """Segments one picture; JSON text of its row."""
    from panet_keras.errors import ImageError
    from panet_keras.pictures.decode import encode_png

    # The suffix stays in the name: a.png and a.jpg are two pictures.
    target = pathlib.Path(out, f"{name}_mask.png")
    if target.with_suffix(".json").is_file():
        return target.with_suffix(".json").read_text("utf-8")
    segmenter = _segmenter(model, support)
    try:
        answer = segmenter.predict(os.path.join(query, name))
    except ImageError as error:
        return json.dumps({"file": name, "presence": "", "area": "", "error": str(error)})
    target.parent.mkdir(parents=True, exist_ok=True)
    row = json.dumps(
        {"file": name, "presence": round(answer.presence, 6), "area": round(float(answer.mask.mean()), 8), "error": ""}
    )
    write_whole(target, encode_png(answer.mask.astype(np.uint8) * 255))
    write_whole(target.with_suffix(".json"), row)
    return row
