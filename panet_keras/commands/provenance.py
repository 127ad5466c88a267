"""Where a mask comes from: what `segment` and `infer` write into it."""

import hashlib
import json
import os
import pathlib
import uuid

from panet_keras import presets


def of_run(segmenter, model, support):
    """What all masks of a run have in common.

    Args:
        segmenter: `FewShotSegmenter` with its support, ready to predict.
        model: what was asked for: a `.keras` file, a preset's name or folder, or None.
        support: `Support`.

    Returns:
        Dictionary of `model` (its name), `model_version` (SHA-256 of its weights, shortened),
        `size` (height and width of the model), `presence_threshold`, `supports` (names of the annotated
        pictures), `support_digest` (SHA-256 of the contents of all files of the support, shortened).
    """
    weights, files = hashlib.sha256(), hashlib.sha256()
    for weight in segmenter.model.weights:
        weights.update(weight.numpy().tobytes())
    for path in support.files:
        files.update(hashlib.sha256(pathlib.Path(path).read_bytes()).digest())
    return {
        "model": os.path.basename(os.path.normpath(model or presets.DEFAULT)),
        "model_version": f"sha256:{weights.hexdigest()[:16]}",
        "size": list(segmenter.size),
        "presence_threshold": round(float(segmenter.presence_threshold or 0.0), 6),
        "supports": [os.path.basename(path) for path in support.images],
        "support_digest": f"sha256:{files.hexdigest()[:16]}",
    }


def of_mask(run, picture, presence):
    """What is known of one mask: the run's dictionary, `presence`, and `id`.

    The id is made of the run and the picture's pixels, so that the same question has the same one: a UUID of
    version 5 (RFC 9562), as `python -m pipeline lineage` takes it.

    Args:
        run: of `of_run`. picture: uint8 [H, W, 3]. presence: in [0, 1].
    """
    asked = json.dumps([run, list(picture.shape)], sort_keys=True).encode() + picture.tobytes()
    digest = hashlib.sha256(asked).hexdigest()
    return {
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"panet-bus:{digest}")),
        **run,
        "presence": round(float(presence), 6),
    }
