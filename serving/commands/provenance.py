"""PNG files that say where they come from, in text chunks (PNG, third edition, 11.3.3): the code of
panet_keras/pictures/provenance.py."""

import io
import json

from PIL import Image, PngImagePlugin


def encode(mask, provenance):
    """PNG bytes of uint8 [H, W], with a text chunk `panet:KEY` for each value of a dictionary; the same bytes
    for the same content.

    Texts stand as they are (UTF-8, chunk iTXt); all else, and a text that looks like it (such as `12e4`), as
    JSON.
    """
    chunks = PngImagePlugin.PngInfo()
    for key, value in provenance.items():
        plain = isinstance(value, str) and _value(value) is value
        text = value if plain else json.dumps(value, ensure_ascii=False)
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
