"""A folder that `python -m pipeline run` and `load_csv` take as it is.

FOLDER/
  dataset.csv           image, mask, patient, label (and state, mask_id, author): `data.layout: csv`
  images/PICTURE.png    the picture; of frames and of DICOM, whose tags name the patient, its pixels as PNG
  masks/PICTURE_mask.png
"""

import csv
import io
import warnings

import numpy as np

from panet_keras.errors import DataWarning
from panet_keras.files import write_whole
from panet_keras.writers import png
from panet_keras.writers.pictures import copy_picture, picture_names
from panet_keras.writers.plan import WRITTEN, plan, stems

FILE = "dataset.csv"
COLUMNS = ("image", "mask", "patient", "label", "state", "mask_id", "author")


def write(annotations, folder, overwrite=False):
    """Writes the pictures that are annotated or confirmed to be without lesion, their masks and a table.

    The label is Normal where that was confirmed; Malignant or Benign where a label of a lesion begins so (of
    both, Malignant); else Unknown. A mask is white where any lesion is. A picture without a patient counts as
    a patient of its own, and all frames of a file as one.

    Args:
        annotations: list of `Annotation`. folder: where to.
        overwrite: whether older files may be replaced.

    Returns:
        List of `pathlib.Path`, the table first.

    Raises:
        PANetError: as `plan`. ImageError: a picture that cannot be decoded.
        OSError: a file that cannot be read or written.

    Warns:
        DataWarning: annotated pictures on which nothing is marked; they are left out, for nobody confirmed
            that there is no lesion.
    """
    names = stems(annotations)
    images = [f"images/{name}" for name in picture_names(annotations, names)]
    masks = [f"masks/{stem}_mask.png" for stem in names]
    chosen = [row for row in zip(annotations, images, masks) if row[0].state in WRITTEN]
    marked = [mask for annotation, _, mask in chosen if annotation.state == "annotated"]
    _, paths = plan(annotations, folder, (), overwrite, [FILE, *(image for _, image, _ in chosen), *marked])
    place = dict(zip([FILE, *(image for _, image, _ in chosen), *marked], paths))
    rows, written, blank = [], [], []
    for annotation, image, mask in chosen:
        lesion = annotation.read_mask()
        if annotation.state == "annotated":
            if not lesion.any():
                blank.append(annotation.title)
                continue
            inside = (lesion > 0) * np.uint8(255)
            write_whole(place[mask], png.encode(inside, {**annotation.provenance, "state": "annotated"}))
            written.append(place[mask])
        copy_picture(annotation, place[image])
        written.append(place[image])
        rows.append(_row(annotation, image, mask, lesion))
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    write_whole(place[FILE], text.getvalue())
    if blank:
        warnings.warn(
            f"{folder}: {len(blank)} annotated picture(s) on which nothing is marked were left out: "
            f"{', '.join(blank[:20])}. Say that they have no lesion, or mark it.",
            DataWarning,
            stacklevel=2,
        )
    return [place[FILE], *written]


def _row(annotation, image, mask, lesion):
    # The package of readers starts TensorFlow.
    from panet_keras.data.readers.outlines import class_of

    classes = {annotation.labels[number - 1] for number in np.unique(lesion[lesion > 0])}
    graded = {name.lower()[:6] for name in classes}
    if annotation.state == "normal":
        label = "Normal"
    elif any(class_of(name) == 2 for name in classes):
        label = "Malignant"
    else:
        label = "Benign" if "benign" in graded else "Unknown"
    return {
        "image": image,
        "mask": "" if annotation.state == "normal" else mask,
        "patient": annotation.patient or annotation.name,
        "label": label,
        "state": annotation.state,
        "mask_id": annotation.provenance.get("id", ""),
        "author": annotation.provenance.get("author") or "",
    }
