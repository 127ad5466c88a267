"""COCO instances (Lin et al., ECCV 2014; format: cocodataset.org, "Data format").

FOLDER/
  annotations.json      one annotation for each connected region of each label, `iscrowd` 0
  images/               with `pictures=True`: the pictures themselves
"""

import json

import numpy as np

from panet_keras.errors import PANetError
from panet_keras.files import write_whole
from panet_keras.writers.outlines import lesions, polygons
from panet_keras.writers.pictures import copy_picture, picture_names
from panet_keras.writers.plan import WRITTEN, plan, stems

FILE = "annotations.json"
OUTLINES = ("rle", "polygons")


def write(annotations, folder, overwrite=False, outlines="rle", pictures=False):
    """Writes one file for all pictures that are annotated or confirmed to be without lesion.

    The latter have no annotation, and `"attributes": {"confirmed_empty": true}`. Names of pictures are their
    own, of frames and DICOM `STEM.png` (what `pictures` writes). The fields `patient` and `provenance` of an
    image are ours; other readers leave them alone.

    Args:
        annotations: list of `Annotation`. folder: where to.
        overwrite: whether an older file may be replaced.
        outlines: `"rle"`, compressed run lengths, or `"polygons"` along the edges of pixels, several for a
            lesion with holes (`outlines.polygons`). pycocotools gives every pixel back of both.
        pictures: whether the pictures are written beside it, so that the folder can be moved.

    Returns:
        List of `pathlib.Path`.

    Raises:
        PANetError: as `plan`, or another kind of outlines. ImportError: pycocotools is missing.
        OSError: a file that cannot be written.
    """
    if outlines not in OUTLINES:
        raise PANetError(f"outlines={outlines!r}; expected one of {', '.join(OUTLINES)}.")
    names = picture_names(annotations, stems(annotations))
    chosen = [pair for pair in zip(annotations, names) if pair[0].state in WRITTEN]
    copies = [f"images/{name}" for _, name in chosen] if pictures else []
    _, [path, *places] = plan(annotations, folder, (), overwrite, [FILE, *copies])
    labels = list(dict.fromkeys(label for annotation, _ in chosen for label in annotation.labels))
    images, instances = [], []
    for number, (annotation, name) in enumerate(chosen, 1):
        height, width = annotation.image_size
        image = {"id": number, "file_name": name, "height": height, "width": width}
        if annotation.state == "normal":
            image["attributes"] = {"confirmed_empty": True}
        if annotation.patient is not None:
            image["patient"] = annotation.patient
        if annotation.provenance:
            image["provenance"] = dict(annotation.provenance)
        images.append(image)
        for label, place, inside in lesions(annotation.read_mask()):
            rows, columns = place
            instances.append(
                {
                    "id": len(instances) + 1,
                    "image_id": number,
                    "category_id": labels.index(annotation.labels[label - 1]) + 1,
                    "iscrowd": 0,
                    "area": int(inside.sum()),
                    "bbox": [columns.start, rows.start, inside.shape[1], inside.shape[0]],
                    "segmentation": _segmentation(inside, place, annotation.image_size, outlines),
                }
            )
    for (annotation, _), place in zip(chosen, places):
        copy_picture(annotation, place)
    content = {
        "info": {"description": "Masks of ultrasound pictures, written by PANet-BUS", "version": "1.0"},
        "licenses": [],
        "categories": [{"id": number, "name": name} for number, name in enumerate(labels, 1)],
        "images": images,
        "annotations": instances,
    }
    write_whole(path, json.dumps(content, ensure_ascii=False))
    return [path, *places]


def _segmentation(inside, place, size, outlines):
    if outlines == "polygons":
        return [corners.reshape(-1).tolist() for corners in polygons(inside, place)]
    try:
        from pycocotools import mask as coco
    except ImportError as error:
        raise ImportError("the format coco needs pycocotools: pip install pycocotools") from error
    height, width = size
    columns, rows = np.nonzero(inside.T)
    # Places of the lesion's pixels, column by column as COCO counts.
    places = (columns + place[1].start) * height + rows + place[0].start
    first = np.append(True, np.diff(places) > 1)
    starts, ends = places[first], places[np.append(first[1:], True)] + 1
    counts = np.diff(np.stack([starts, ends], -1).ravel(), prepend=0, append=height * width)
    runs = coco.frPyObjects({"size": list(size), "counts": counts.tolist()}, height, width)
    return {"size": list(size), "counts": runs["counts"].decode("ascii")}
