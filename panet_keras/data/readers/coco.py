"""COCO instances, as CVAT, Roboflow, Label Studio and the COCO annotator export them."""

import json
import os
import pathlib

import numpy as np

from panet_keras.data.readers.named import find_file
from panet_keras.data.readers.names import visible_files
from panet_keras.data.readers.outlines import check_points, drawn_size, record_of
from panet_keras.errors import DataError


def load_coco(path, patient=None):
    """Reads COCO instances (Lin et al., ECCV 2014; format: cocodataset.org, "Data format").

    Polygons and both kinds of run lengths count. A category whose name begins with `malignant` or `benign`
    gives the label, any other name Unknown; an image without annotations is Normal. Pictures are looked for
    beside the file, in `images/` beside it, and by their bare name.

    Args:
        path: the JSON file, or a folder with one or several (as `train/_annotations.coco.json`).
        patient: function from a picture's path to the patient's identifier. Without one it is the image's
            field `patient` or `patient_id`, else every image counts as a patient of its own.

    Returns:
        List of `Record`, in the file's order.

    Raises:
        DataError: no COCO file, missing pictures, annotations without an outline or an image, or a name used
            twice; lists all.
        ImportError: pycocotools is missing.
    """
    path = pathlib.Path(path)
    root = path if path.is_dir() else path.parent
    files = (
        [file for file in visible_files(path) if file.suffix.lower() == ".json"] if path.is_dir() else [path]
    )
    records, problems, seen, read = [], [], set(), 0
    for file in files:
        data = _read(file)
        if data is None:
            continue
        read += 1
        for record, problem in _records(file, data, root, patient):
            if problem:
                problems.append(f"{file.name}: {problem}")
                continue
            if record.filename in seen:
                problems.append(f"{file.name}: {record.filename} comes twice. Delete one.")
            seen.add(record.filename)
            records.append(record)
    if not read:
        found = ", ".join(file.name for file in files[:5]) or "no .json file"
        problems.append(
            f"no COCO file; found {found}; expected JSON with `images`, `annotations` and `categories`."
        )
    if read and not records and not problems:
        problems.append("no images in the COCO file(s); expected at least one.")
    if problems:
        raise DataError(path, problems)
    return records


def _read(file):
    """The contents of a COCO file, or None for another."""
    try:
        data = json.loads(file.read_text("utf-8-sig"))
    except OSError as error:
        raise DataError(file, [f"{error.strerror}; expected a COCO file (.json)."]) from None
    except ValueError:
        return None
    if not isinstance(data, dict) or not {"images", "annotations"} <= set(data):
        return None
    try:
        check_entries(data)
    except ValueError as error:
        raise DataError(file, [str(error)]) from None
    return data


def check_entries(data):
    """Refuses a COCO file whose parts are not of COCO's shape.

    Raises:
        ValueError: images, annotations or categories that are no list of objects; says which.
    """
    for field in ("images", "annotations", "categories"):
        entries = data.get(field, [])
        wrong = (
            [one for one in entries if not isinstance(one, dict)] if isinstance(entries, list) else [entries]
        )
        if wrong:
            raise ValueError(
                f"field {field}: found {repr(wrong[0])[:50]}; expected a list of objects {{...}}. Export the file again as COCO instances."
            )


def _records(file, data, root, patient):
    """(`Record`, None) or (None, problem) of each image."""
    names = {category.get("id"): category.get("name", "") for category in data.get("categories", [])}
    of_image = {}
    for annotation in data["annotations"]:
        of_image.setdefault(annotation.get("image_id"), []).append(annotation)
    ids = [repr(entry.get("id")) for entry in data["images"]]
    for number in sorted(
        {number for number in ids if ids.count(number) > 1} if len(set(ids)) < len(ids) else ()
    ):
        yield (
            None,
            f"{ids.count(number)} images have the id {number}; expected one, for annotations name it. Give each its own.",
        )
    for entry in data["images"]:
        name = str(entry.get("file_name", "")).replace("\\", "/")
        place = picture_of(file, entry)
        mine = of_image.pop(entry.get("id"), [])
        if place is None:
            yield (
                None,
                f"image {name!r} is no file beside it or in images/. Correct `file_name`, or bring the picture.",
            )
            continue
        try:
            shape = drawn_size(entry["height"], entry["width"])
            shapes = [(names.get(one.get("category_id"), ""), region(one, shape)) for one in mine]
        except (KeyError, ValueError, TypeError, IndexError) as error:
            yield (
                None,
                f"image {name!r}: {error}; expected height, width and annotations with `segmentation`.",
            )
            continue
        unique = pathlib.Path(os.path.relpath(place, root)).as_posix()
        who = patient(place) if patient else str(entry.get("patient") or entry.get("patient_id") or unique)
        yield record_of(os.fspath(place), unique, who, shape, shapes, root), None
    for image, annotations in of_image.items():
        yield (
            None,
            f"{len(annotations)} annotation(s) of image_id {image!r}, which is none of `images`. Remove them.",
        )


def picture_of(file, entry):
    """The picture of an entry of `images`, or None."""
    name = str(entry.get("file_name", "")).replace("\\", "/")
    bare = pathlib.PurePosixPath(name).name
    places = [(file.parent, name), (file.parent / "images", name), (file.parent.parent / "images", name)]
    places += [(file.parent, bare), (file.parent / "images", bare)]
    return next((found for place in places if (found := find_file(*place))), None)


def region(annotation, shape):
    """bool [H, W] of an annotation.

    Raises:
        ValueError: no outline, one that is none of COCO's (pycocotools would crash, or make up pixels), or one
            that covers no pixel of the image.
        ImportError: pycocotools is missing.
    """
    outline, number = annotation.get("segmentation"), annotation.get("id")
    if not outline:
        raise ValueError(f"annotation {number} has no outline (a box is no mask)")
    if isinstance(outline, dict):
        inside = _from_runs(outline, shape, number)
    else:
        inside = _from_polygons(outline, shape, number)
    if not inside.any():
        raise ValueError(
            f"annotation {number} covers no pixel of its image, {shape[1]} x {shape[0]}; draw it again"
        )
    return inside


def _from_polygons(outline, shape, number):
    try:
        from pycocotools import mask as coco
    except ImportError as error:
        raise ImportError("load_coco needs pycocotools: pip install pycocotools") from error
    for polygon in outline if isinstance(outline, list) else [outline]:
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
            raise ValueError(
                f"annotation {number} has a polygon {repr(polygon)[:50]}; expected [x1, y1, x2, y2, x3, y3 ...]"
            )
        check_points(np.array(polygon, np.float64), shape, f"annotation {number}")
    return coco.decode(coco.merge(coco.frPyObjects(outline, *shape))).astype(bool)


def _from_runs(outline, shape, number):
    """Of run lengths: columns from the left, background first, as numbers or in COCO's text form."""
    size, counts = tuple(outline["size"]), outline["counts"]
    if size != shape:
        raise ValueError(f"annotation {number} is {size}, its image {shape}")
    counts = _counts(counts.encode()) if isinstance(counts, str) else [int(count) for count in counts]
    if min(counts, default=-1) < 0 or sum(counts) != shape[0] * shape[1]:
        raise ValueError(
            f"annotation {number} has run lengths of {sum(counts)} pixels in all; expected {shape[0] * shape[1]}, height x width"
        )
    return np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(shape, order="F")


def _counts(text):
    """Run lengths of COCO's text form (rleFrString of its API): five bits a character, the least first; from the
    fourth on the difference from the last but one."""
    counts, value, bits = [], 0, 0
    for char in text:
        char -= 48
        value |= (char & 31) << bits
        bits += 5
        if not char & 32:
            value -= (1 << bits) if char & 16 else 0
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = bits = 0
    return counts
