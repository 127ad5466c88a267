"""CVAT for images 1.1 (docs.cvat.ai, "XML annotation format").

FOLDER/
  annotations.xml       to upload into a task with the same pictures: Actions, Upload annotations
"""

import re
import xml.etree.ElementTree as ET

import numpy as np

from panet_keras.errors import PANetError
from panet_keras.files import write_whole
from panet_keras.writers.outlines import lesions, polygons
from panet_keras.writers.pictures import picture_names
from panet_keras.writers.plan import WRITTEN, plan, stems

FILE = "annotations.xml"
EMPTY = "confirmed_empty"
"""Tag of a picture that a person confirmed to be without lesion; the task needs a label of this name."""
CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]")
"""Characters of names that XML 1.0 cannot hold, not even escaped."""
OUTLINES = ("rle", "polygons")


def write(annotations, folder, overwrite=False, outlines="rle"):
    """Writes one file for all pictures that are annotated or confirmed to be without lesion.

    Each connected region is a shape of its own. The names of pictures are those of `coco.write`. The labels
    in it can be copied into a new task; a tag `confirmed_empty` marks pictures without lesion.

    Args:
        annotations: list of `Annotation`. folder: where to.
        overwrite: whether an older file may be replaced.
        outlines: `"rle"`, CVAT's masks, or `"polygons"` along the edges of pixels, several and of one group
            for a lesion with holes.

    Returns:
        List of one `pathlib.Path`.

    Raises:
        PANetError: as `plan`, or another kind of outlines. OSError: the file cannot be written.
    """
    if outlines not in OUTLINES:
        raise PANetError(f"outlines={outlines!r}; expected one of {', '.join(OUTLINES)}.")
    _, [path] = plan(annotations, folder, (), overwrite, [FILE])
    names = picture_names(annotations, stems(annotations))
    chosen = [pair for pair in zip(annotations, names) if pair[0].state in WRITTEN]
    root = ET.Element("annotations")
    ET.SubElement(root, "version").text = "1.1"
    _add_labels(root, [annotation for annotation, _ in chosen], "mask" if outlines == "rle" else "polygon")
    for number, (annotation, name) in enumerate(chosen):
        height, width = annotation.image_size
        image = ET.SubElement(root, "image", id=str(number), name=name, width=str(width), height=str(height))
        if annotation.state == "normal":
            ET.SubElement(image, "tag", label=EMPTY, source="manual")
        by_model = annotation.provenance.get("model") and not annotation.provenance.get("changed_pixels")
        for group, (label, place, inside) in enumerate(lesions(annotation.read_mask()), 1):
            common = {
                "label": annotation.labels[label - 1],
                "source": "auto" if by_model else "manual",
                "occluded": "0",
                "z_order": "0",
            }
            if outlines == "rle":
                ET.SubElement(image, "mask", common | _runs(place, inside))
                continue
            pieces = polygons(inside, place)
            for corners in pieces:
                points = ";".join(f"{x},{y}" for x, y in corners.tolist())
                together = {"group_id": str(group)} if len(pieces) > 1 else {}
                ET.SubElement(image, "polygon", common | {"points": points} | together)
    ET.indent(root)
    write_whole(path, CONTROL.sub(b"?", ET.tostring(root, "utf-8", xml_declaration=True)))
    return [path]


def _add_labels(root, annotations, kind):
    task = ET.SubElement(ET.SubElement(root, "meta"), "task")
    ET.SubElement(task, "size").text = str(len(annotations))
    ET.SubElement(task, "mode").text = "annotation"
    labels = ET.SubElement(task, "labels")
    names = dict.fromkeys(label for annotation in annotations for label in annotation.labels)
    kinds = dict.fromkeys(names, kind)
    if any(annotation.state == "normal" for annotation in annotations):
        kinds[EMPTY] = "tag"
    for name, shape in kinds.items():
        label = ET.SubElement(labels, "label")
        ET.SubElement(label, "name").text = name
        ET.SubElement(label, "type").text = shape
        ET.SubElement(label, "attributes")


def _runs(place, inside):
    """Attributes of a mask: lengths of runs row by row within its box, the first of background."""
    rows, columns = place
    flat = np.concatenate([[False], inside.ravel()])
    ends = np.append(np.flatnonzero(flat[1:] != flat[:-1]), inside.size)
    runs = np.diff(ends, prepend=0)
    return {
        "rle": ", ".join(map(str, runs.tolist())),
        "left": str(columns.start),
        "top": str(rows.start),
        "width": str(inside.shape[1]),
        "height": str(inside.shape[0]),
    }
