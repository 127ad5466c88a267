"""COCO instances, as CVAT, Roboflow, Label Studio and the COCO annotator export them."""

import json
import os
import pathlib

import numpy as np

from panet_keras.data.readers.named import find_file
from panet_keras.data.readers.names import visible_files
from panet_keras.data.readers.outlines import record_of
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
    return data if isinstance(data, dict) and {"images", "annotations"} <= set(data) else None


def _records(file, data, root, patient):
    """(`Record`, None) or (None, problem) of each image."""
    names = {category["id"]: category.get("name", "") for category in data.get("categories", [])}
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
            shape = int(entry["height"]), int(entry["width"])
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
    """bool [H, W] of an annotation."""
    try:
        from pycocotools import mask as coco
    except ImportError as error:
        raise ImportError("load_coco needs pycocotools: pip install pycocotools") from error
    outline = annotation.get("segmentation")
    if not outline:
        raise ValueError(f"annotation {annotation.get('id')} has no outline (a box is no mask)")
    if isinstance(outline, dict):
        runs = coco.frPyObjects(outline, *shape) if isinstance(outline["counts"], list) else outline
    else:
        runs = coco.merge(coco.frPyObjects(outline, *shape))
    inside = np.asarray(coco.decode(runs)).astype(bool)
    if inside.shape != shape:
        raise ValueError(f"annotation {annotation.get('id')} is {inside.shape}, its image {shape}")
    return inside
