"""Masks as PNG at the picture's own size, with their provenance in text chunks.

FOLDER/
  PICTURE_mask.png      255 = lesion; with several labels their numbers, see the chunk `labels`
  PICTURE_f7_mask.png   of frame 7, counted from 0
"""

import numpy as np

from panet_keras.files import write_whole
from panet_keras.pictures.provenance import encode, read_provenance
from panet_keras.writers.plan import plan

__all__ = ["encode", "read_provenance", "write"]

ENDINGS = ("_mask.png",)


def write(annotations, folder, overwrite=False):
    """Writes a PNG for each picture that is annotated or confirmed to be without lesion.

    Args:
        annotations: list of `Annotation`. folder: where to.
        overwrite: whether older masks may be replaced.

    Returns:
        List of `pathlib.Path`.

    Raises:
        PANetError: as `plan`. OSError: a file that cannot be written.
    """
    written, _ = plan(annotations, folder, ENDINGS, overwrite)
    for annotation, [path] in written:
        mask, text = annotation.read_mask(), dict(annotation.provenance)
        text["state"] = annotation.state
        if len(annotation.labels) == 1:
            mask = mask * np.uint8(255)
        text["labels"] = list(annotation.labels)
        write_whole(path, encode(mask, text))
    return [path for _, [path] in written]
