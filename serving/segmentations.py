"""A client's answer as files that say where it comes from: PNG with text chunks, and DICOM SEG."""

import hashlib
import importlib.metadata
import io
import json

import numpy as np

from .commands.provenance import encode
from .rules.dicom_seg import segmentation


def about(client, answer, support):
    """Provenance of an answer, under the keys of `panet_keras.commands.provenance`.

    Args:
        client: `Client` that gave the answer last. answer: `Segmentation`.
        support: dictionary of `supports`, names of the annotated pictures or of the server's set, and
            `support_digest`, where the pictures were sent.

    Returns:
        Dictionary of `id`, by which `python -m pipeline lineage` knows the answer (from a server that gives
        none: a digest of the answer), `model` (the name that was asked for), `model_version` (the number that
        answered), `presence_threshold`, what `support` says, and `presence`.
    """
    told = {
        "model": client.model_name,
        "model_version": str(client.answered or "unknown"),
        "presence_threshold": round(answer.presence_threshold, 6),
        **support,
        "presence": round(answer.presence, 6),
    }
    digest = hashlib.sha256(json.dumps(told).encode() + answer.probability.tobytes())
    return {"id": answer.answer_id or digest.hexdigest()[:32], **told}


def png_bytes(client, answer, support):
    """File bytes of a mask as PNG, 255 = lesion, with a text chunk for each value of `about`."""
    return encode(answer.mask.astype(np.uint8) * np.uint8(255), about(client, answer, support))


def seg_bytes(client, source, answer, name, support, frame=None, number=1):
    """File bytes of a SEG with one segment, Lesion.

    Args:
        client, answer, support: as for `about`. source: as for `rules.dicom_seg.segmentation`.
        name: what to call the source in an error.
        frame: number from 0 in a file of several frames; else None. number: of the object in its series.

    Raises:
        ValueError: a source that lacks what a reference needs; names it. ImportError: highdicom is missing.
    """
    mask, told = answer.mask.astype(np.uint8), about(client, answer, support)
    stream = io.BytesIO()
    made = segmentation(source, mask, name, frame=frame, about=told, number=number, version=_version())
    made.save_as(stream)
    return stream.getvalue()


def _version():
    try:
        return importlib.metadata.version("panet-bus-client")
    except importlib.metadata.PackageNotFoundError:  # a checkout that is not installed
        return "checkout"
