"""Encoded pictures of a request that cannot be decoded: said in the words of the picture rules, not in
TensorFlow's."""

import numpy as np
import tensorflow as tf

from serving.errors import RpcError
from serving.rules import rgb

ALIAS = "query_bytes"
"""Input with the files, string [B, Q] (`panet_keras.export_saved_model`, signature `segment_encoded`)."""


def check_pictures(inputs):
    """Refuses files that are cut off or damaged by their checksums and markers, before the graph sees them.

    Args:
        inputs: dictionary of alias to tensor.

    Raises:
        RpcError: INVALID_ARGUMENT; names the input, the place of the picture in it, and the mend.
    """
    for name, content in _pictures(inputs):
        try:
            rgb.check_whole(content, name)
        except rgb.Refused as error:
            raise RpcError.invalid(str(error)) from None


def refusal(error, inputs):
    """What to say of a decoder's error; only a request that failed pays for the second look.

    Args:
        error: what the signature raised. inputs: dictionary of alias to tensor.

    Returns:
        `RpcError` that names the picture, or None where no picture is to blame: an error of another kind, or
        a message of our own graph's, which says all.
    """
    message = getattr(error, "message", "") if isinstance(error, tf.errors.InvalidArgumentError) else ""
    if isinstance(error, UnicodeDecodeError):  # bytes of a picture in TensorFlow's message
        message = "DecodePng"
    if "assertion failed" in message or not any(word in message for word in ("Png", "PNG", "Jpeg", "JPEG")):
        return None
    names = []
    for name, content in _pictures(inputs):
        names.append(name)
        try:
            [page] = rgb.open_pages(content, name)
            rgb.to_rgb(page, name)
        except rgb.Refused as refused:
            return RpcError.invalid(str(refused))
    if not names:
        return None
    return RpcError.invalid(
        f"{', '.join(names[:5])}: TensorFlow cannot decode it, or one of them, as PNG or JPEG; expected whole files. Open and save "
        "them anew, as PNG."
    )


def _pictures(inputs):
    """(name, bytes) of each picture, such as `query_bytes[0, 2]`."""
    tensor = inputs.get(ALIAS)
    if tensor is not None and tensor.dtype == tf.string:
        for place, content in np.ndenumerate(tensor.numpy()):
            yield f"{ALIAS}[{', '.join(map(str, place))}]", content
