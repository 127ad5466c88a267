"""LabelMe (github.com/wkentaro/labelme): a JSON file for each picture, with shapes of the type mask.

FOLDER/
  PICTURE.json          names its picture by a path relative to itself; holds the pixels of a frame or of DICOM
"""

import base64
import json
import os
import pathlib

import numpy as np

from panet_keras.files import write_whole
from panet_keras.pictures.decode import decode_image, encode_png
from panet_keras.writers.outlines import lesions
from panet_keras.writers.pictures import is_decoded
from panet_keras.writers.plan import plan

ENDINGS = (".json",)
VERSION = "5.5.0"
"""Of LabelMe, whose format this is; shapes of the type mask came with 5.2."""


def write(annotations, folder, overwrite=False):
    """Writes a file for each picture that is annotated or confirmed to be without lesion.

    Each connected region is a shape of its own, of the type `mask`: exact, holes and single pixels included,
    where LabelMe's polygons would lose both. A picture that was confirmed to be without lesion has no shape
    and the flag `confirmed_empty`. LabelMe finds the file by itself where it lies beside its picture and no
    other picture has the same name before the ending; else open the file itself.

    Args:
        annotations: list of `Annotation`. folder: where to, such as the folder of the pictures.
        overwrite: whether older files may be replaced.

    Returns:
        List of `pathlib.Path`.

    Raises:
        PANetError: as `plan`. OSError: a file that cannot be written.
    """
    written, _ = plan(annotations, folder, ENDINGS, overwrite)
    for annotation, [path] in written:
        text = json.dumps(_content(annotation, path), ensure_ascii=False, indent=1)
        # Bytes of a file's name that are no UTF-8, as JSON and Python's paths have them.
        write_whole(path, text.encode("utf-8", "backslashreplace"))
    return [path for _, [path] in written]


def _content(annotation, path):
    if is_decoded(annotation):
        place = path.with_suffix(".png").name
        picture = decode_image(annotation.source, annotation.title, page=annotation.frame)
        data = base64.b64encode(encode_png(picture)).decode("ascii")
    else:
        place, data = os.path.relpath(annotation.source.resolve(), path.parent.resolve()), None
    content = {
        "version": VERSION,
        "flags": {"confirmed_empty": True} if annotation.state == "normal" else {},
        "shapes": [_shape(annotation, *lesion) for lesion in lesions(annotation.read_mask())],
        "imagePath": pathlib.PurePath(place).as_posix(),
        "imageData": data,
        "imageHeight": annotation.image_size[0],
        "imageWidth": annotation.image_size[1],
    }
    if annotation.patient is not None:
        content["patient"] = annotation.patient
    if annotation.provenance:
        content["provenance"] = dict(annotation.provenance)
    return content


def _shape(annotation, label, place, inside):
    rows, columns = place
    return {
        "label": annotation.labels[label - 1],
        # The first and the last pixel of the box, both within it.
        "points": [[columns.start, rows.start], [columns.stop - 1, rows.stop - 1]],
        "group_id": None,
        "description": "",
        "shape_type": "mask",
        "flags": {},
        "mask": base64.b64encode(encode_png(inside * np.uint8(255))).decode("ascii"),
    }
