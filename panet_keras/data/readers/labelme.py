"""LabelMe: a JSON file with outlines beside each picture."""

import base64
import json
import math
import os
import pathlib

import numpy as np

from panet_keras.data.readers.folder import label_of
from panet_keras.data.readers.named import find_file
from panet_keras.data.readers.names import SUFFIXES, visible_files
from panet_keras.data.readers.outlines import check_points, drawn_size, fill_polygon, record_of
from panet_keras.data.records import Record
from panet_keras.errors import DataError, ImageError
from panet_keras.pictures.decode import decode_image

AREAS = ("polygon", "rectangle", "circle", "mask")
FEWEST = {"polygon": 3, "mask": 1}
"""Points of each kind of area, where it is not 2."""


def load_labelme(directory, patient=None):
    """Reads `x.json` of LabelMe (github.com/wkentaro/labelme) with the picture that it names, or that it
    holds.

    Polygons, rectangles, circles and masks count; points and lines have no area and are refused. A label that
    begins with `malignant` or `benign` gives the label, any other name Unknown; a file without shapes is
    Normal, and so is a picture without a file under `normal/`.

    Args:
        directory: the folder, searched with its sub-folders.
        patient: function from the JSON file's path to the patient's identifier. Without one it is the file's
            flag or field `patient`, else every image counts as a patient of its own.

    Returns:
        List of `Record`, sorted by name.

    Raises:
        DataError: no LabelMe file, missing pictures, shapes without an area, pictures without a file; lists
            all.
    """
    directory = pathlib.Path(directory)
    everything = visible_files(directory)
    records, problems, used = [], [], set()
    for file in everything:
        if file.suffix.lower() != ".json":
            continue
        try:
            data = json.loads(file.read_text("utf-8-sig"))
        except ValueError as error:
            problems.append(f"{file.relative_to(directory)}: no JSON ({error}). Save it again in LabelMe.")
            continue
        if not isinstance(data, dict) or "shapes" not in data:
            continue
        try:
            records.append(_record(file, data, directory, patient, used))
        except (ImageError, ValueError, KeyError, TypeError) as error:
            problems.append(f"{file.relative_to(directory)}: {error}")
    if not records and not problems:
        problems.append("no LabelMe file; expected x.json with `shapes` beside x.png.")
    for path in everything:
        if path.suffix.lower() in SUFFIXES and path.resolve() not in used:
            name = path.relative_to(directory).as_posix()
            if label_of(path, directory) == "Normal":
                records.append(Record(name, patient(path) if patient else name, "Normal", os.fspath(path)))
            else:
                problems.append(
                    f"{name}: no {path.stem}.json names it; annotate it, or put it under normal/."
                )
    if problems:
        raise DataError(directory, problems)
    return sorted(records, key=lambda record: record.filename)


def _record(file, data, directory, patient, used):
    named = str(data.get("imagePath") or "").replace("\\", "/")
    choices = [find_file(file.parent, named) or file.parent / named] if named else []
    choices += [
        file.with_suffix(ending) for suffix in sorted(SUFFIXES) for ending in (suffix, suffix.upper())
    ]
    place = next((choice for choice in choices if choice.is_file()), None)
    if place is not None:
        if place.resolve() in used:
            raise ValueError(
                f"its picture {place.name} has another .json file, too. Bring their shapes into one."
            )
        used.add(place.resolve())
        image = os.fspath(place)
    elif data.get("imageData"):
        image = base64.b64decode(data["imageData"])
    else:
        raise ValueError(
            f"its picture {named!r} is no file, and it holds none. Bring the picture, or save with its data."
        )
    told = data.get("imageHeight"), data.get("imageWidth")
    shape = drawn_size(*told) if all(told) else decode_image(image, named or file.name).shape[:2]
    name = file.relative_to(directory).with_suffix(place.suffix if place else ".png").as_posix()
    odd = [one for one in data["shapes"] if not isinstance(one, dict)]
    if odd:
        raise ValueError(
            f"field shapes: found {repr(odd[0])[:50]}; expected objects {{...}}. Save the file again in LabelMe."
        )
    shapes = [(one.get("label", ""), region(one, shape)) for one in data["shapes"]]
    flags = data.get("flags") if isinstance(data.get("flags"), dict) else {}
    who = patient(file) if patient else str(data.get("patient") or flags.get("patient") or name)
    return record_of(image, name, who, shape, shapes, directory)


def region(shape, size):
    """bool [H, W] of a LabelMe shape.

    Raises:
        ValueError: a shape without an area, or one that covers no pixel of the picture.
        KeyError, TypeError, ImageError: points or a mask that are missing or no such thing.
    """
    inside = _region(shape, size)
    if not inside.any():
        raise ValueError(
            f"shape {shape.get('label')!r} covers no pixel of its picture, {size[1]} x {size[0]}. Draw it again."
        )
    return inside


def _region(shape, size):
    kind, points = (
        shape.get("shape_type") or "polygon",
        np.asarray(shape["points"], np.float64).reshape(-1, 2),
    )
    if kind not in AREAS or len(points) < FEWEST.get(kind, 2):
        raise ValueError(
            f"shape {shape.get('label')!r} is a {kind} of {len(points)} point(s), without an area; expected one of {AREAS}."
        )
    check_points(points, size, f"shape {shape.get('label')!r}")
    if kind == "circle":
        (x, y), radius = points[0], math.dist(*points[:2])
        rows, columns = np.indices(size)
        return np.hypot(columns - x, rows - y) <= radius
    if kind == "mask":
        inside = np.zeros(size, bool)
        patch = decode_image(base64.b64decode(shape["mask"]), f"mask of {shape.get('label')!r}").any(-1)
        x, y = np.rint(points.min(0)).astype(int)
        # What lies beyond the left and the upper edge would come in again at the other side.
        patch, x, y = patch[max(-y, 0) :, max(-x, 0) :], max(x, 0), max(y, 0)
        height, width = inside[y : y + patch.shape[0], x : x + patch.shape[1]].shape
        inside[y : y + height, x : x + width] = patch[:height, :width]
        return inside
    if kind == "rectangle":
        (left, top), (right, bottom) = points.min(0), points.max(0)
        points = np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
    return fill_polygon(size, points)
