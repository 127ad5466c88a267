"""Masks as PNG at the picture's own size, with their provenance in text chunks.

FOLDER/
  PICTURE_mask.png      255 = lesion; with several labels their numbers, see the chunk `labels`
  PICTURE_f7_mask.png   of frame 7, counted from 0
"""

import io
import json

import numpy as np
from PIL import Image, PngImagePlugin

from panet_keras.files import write_whole
from panet_keras.writers.plan import plan

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


def encode(mask, provenance):
    """PNG bytes of uint8 [H, W], with a text chunk `panet:KEY` for each value of a dictionary; the same bytes
    for the same content.

    Texts stand as they are (UTF-8, chunk iTXt), all else as JSON.
    """
    chunks = PngImagePlugin.PngInfo()
    for key, value in provenance.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        chunks.add_itxt(f"panet:{key}", text)
    stream = io.BytesIO()
    Image.fromarray(mask).save(stream, "PNG", compress_level=3, pnginfo=chunks)
    return stream.getvalue()


def read_provenance(path):
    """Dictionary of what `encode` wrote into a PNG; empty for a PNG without."""
    with Image.open(path) as image:
        image.load()
        found = {key[6:]: str(text) for key, text in image.text.items() if key.startswith("panet:")}
    return {key: _value(text) for key, text in found.items()}


def _value(text):
    try:
        return json.loads(text)
    except ValueError:
        return text
