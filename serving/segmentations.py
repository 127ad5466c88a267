"""A client's answer as a DICOM SEG that refers to its source: `rules.dicom_seg` with what the server said."""

import hashlib
import importlib.metadata
import io
import json

import numpy as np

from .rules.dicom_seg import segmentation


def seg_bytes(client, source, answer, name, supports=(), frame=None, number=1):
    """File bytes of a SEG with one segment, Lesion.

    Args:
        client: `Client` that gave the answer last. source: path or the bytes of the DICOM image.
        answer: `Segmentation`. name: what to call the source in an error.
        supports: names of the annotated pictures, or of the server's set.
        frame: number from 0 in a file of several frames; else None. number: of the object in its series.

    Raises:
        ValueError: a source that lacks what a reference needs; names it. ImportError: highdicom is missing.
    """
    about = {
        "model": client.model_name,
        "model_version": str(client.answered or "unknown"),
        "supports": list(supports),
        "presence": round(answer.presence, 6),
    }
    asked = hashlib.sha256(json.dumps([about, name, frame]).encode())
    asked.update(answer.probability.tobytes())
    about["id"] = asked.hexdigest()[:32]
    mask = answer.mask.astype(np.uint8)
    stream = io.BytesIO()
    made = segmentation(source, mask, name, frame=frame, about=about, number=number, version=_version())
    made.save_as(stream)
    return stream.getvalue()


def _version():
    try:
        return importlib.metadata.version("panet-bus-client")
    except importlib.metadata.PackageNotFoundError:  # a checkout that is not installed
        return "checkout"
