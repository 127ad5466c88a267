"""Annotations drawn as outlines: classes of their names, and masks of class indices."""

import pathlib

import numpy as np
from PIL import Image, ImageDraw

from panet_keras.data.readers.folder import label_of
from panet_keras.data.records import Record
from panet_keras.pictures import limits
from panet_keras.pictures.decode import encode_png

CLASSES = {"benign": 1, "malignant": 2}


def class_of(name):
    """Class index that an annotation's name stands for: 2 where it begins with malignant, else 1 (benign, or
    not graded)."""
    return next((index for start, index in CLASSES.items() if str(name).lower().startswith(start)), 1)


def drawn_size(height, width):
    """(height, width) that a file says its picture has.

    Raises:
        ValueError, TypeError: no positive numbers, or a picture beyond `pictures.limits.MAX_PIXELS`.
    """
    try:
        shape = int(height), int(width)
    except OverflowError:  # JSON of some programs has Infinity
        raise ValueError(f"a picture of {width} x {height} pixels; expected whole numbers") from None
    if min(shape) < 1 or shape[0] * shape[1] > limits.MAX_PIXELS:
        raise ValueError(
            f"a picture of {shape[1]} x {shape[0]} pixels; expected at least 1 x 1 and at most {limits.MAX_PIXELS:,} pixels. Correct width and "
            "height"
        )
    return shape


def check_points(points, shape, name):
    """Refuses coordinates that are no place near the picture; the fillers crash on some.

    Raises:
        ValueError: values that are not finite, or further off than ten times the picture's longer side.
    """
    wrong = points[~(np.abs(points) <= 10 * max(shape))]  # NaN is not <= either
    if wrong.size:
        raise ValueError(
            f"{name} has the coordinate {wrong.flat[0]}; expected pixels of a picture of {shape[1]} x {shape[0]}. Draw it again"
        )


def fill_polygon(shape, points):
    """bool [H, W] of a polygon, its outline included.

    Args:
        shape: (height, width). points: [P, 2] of x, y in pixels.
    """
    canvas = Image.new("1", shape[::-1])
    ImageDraw.Draw(canvas).polygon([(float(x), float(y)) for x, y in points], fill=1, outline=1)
    return np.array(canvas)


def record_of(image, name, patient, shape, shapes, root):
    """`Record` of an image with annotations.

    Args:
        image: path or bytes. name: of the record. patient: identifier.
        shape: (height, width) that the annotations were drawn on.
        shapes: list of (name of the class, bool [H, W]).
        root: folder whose sub-folders may name the label.

    Returns:
        `Record` with a mask of class indices; Malignant where any annotation is, Benign where one says so,
        Normal without any, else what the file's or folder's name says.
    """
    mask = np.zeros(shape, np.uint8)
    for kind, inside in shapes:
        mask[inside] = np.maximum(mask[inside], class_of(kind))
    graded = {str(kind).lower()[:6] for kind, _ in shapes}
    if not shapes:
        label = "Normal"
    elif "malign" in graded:
        label = "Malignant"
    elif "benign" in graded:
        label = "Benign"
    else:
        label = label_of(pathlib.Path(root) / name, pathlib.Path(root))
        label = "Unknown" if label == "Normal" else label
        mask[mask > 0] = 2 if label == "Malignant" else 1
    masks = (encode_png(mask),) if shapes else ()
    return Record(filename=name, patient=patient, label=label, image=image, masks=masks, mask_format="index")
