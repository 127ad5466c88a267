"""The model under acceptance: what is served, or a preset, behind one way to ask it."""

import functools
import hashlib
import json
import os
import pathlib

import numpy as np

from pipeline.errors import PipelineError

BATCH = 8
"""Queries that are answered at once."""


def find_model(path):
    """The folder or file that a person meant.

    Args:
        path: a SavedModel's folder, a folder of version folders (the highest is taken), a `Model` artifact, a
            preset's folder or name, or a `.keras` file.

    Returns:
        `pathlib.Path`.

    Raises:
        PipelineError: none of these.
    """
    from panet_keras import presets

    if str(path) in presets.names():
        return presets.FOLDER / str(path)
    place = pathlib.Path(path).expanduser()
    if (place / "Format-Serving").is_dir():
        return place / "Format-Serving"
    if place.is_file() or (place / "saved_model.pb").is_file() or (place / "preset.json").is_file():
        return place
    versions = [
        child
        for child in (place.iterdir() if place.is_dir() else ())
        if child.name.isdecimal() and (child / "saved_model.pb").is_file()
    ]
    if versions:
        return max(versions, key=lambda child: int(child.name))
    raise PipelineError(
        f"--model {path}: no model; expected a pushed version (RUN_ROOT/serving/panet/1), a SavedModel's or preset's folder, a "
        f".keras file, or one of the presets {presets.names()}."
    )


def content_digest(path):
    """SHA-256 of what decides a model's answers: graph, weights and settings; what is put beside them (a
    signature, a card) does not change it. The same for a SavedModel and its pushed copy.

    Args:
        path: as `find_model` gives it.
    """
    path = pathlib.Path(path)
    if path.is_file():
        files = [path]
    else:
        names = ("saved_model.pb", "preset.json", "weights.npz", "assets.extra/panet.json")
        files = [path / name for name in names if (path / name).is_file()]
        files += sorted(file for file in (path / "variables").glob("*") if file.is_file())
    digest = hashlib.sha256()
    for file in files:
        name = "" if file == path else file.relative_to(path).as_posix()
        digest.update(name.encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def open_model(path):
    """`SavedModelAnswers` or `KerasAnswers` of a model that `find_model` found."""
    path = pathlib.Path(path)
    return SavedModelAnswers(path) if (path / "saved_model.pb").is_file() else KerasAnswers(path)


class KerasAnswers:
    """A preset or a `.keras` file. Features of every frame are computed once, whatever it supports later.

    Attributes:
        size: (height, width). threshold: the model's presence threshold. own_threshold: what one that is fitted begins
            from. version: digest of its weights, as a SavedModel of it would have.
    """

    def __init__(self, path):
        from panet_keras.export.saved_model import fingerprint
        from panet_keras.inference import open_segmenter

        segmenter = open_segmenter(str(path))
        self.model, self.size = segmenter.model, segmenter.size
        self.threshold, self.own_threshold = segmenter.presence_threshold, segmenter.own_threshold
        self.version = fingerprint(self.model)

    def prepare(self, frames, note):
        """Computes the features of frames (list of uint8 [H, W, 3]); `note(done, total)` after each batch."""
        import tensorflow as tf

        features = tf.function(functools.partial(self.model.features), reduce_retracing=True)
        parts = []
        for start in range(0, len(frames), BATCH):
            parts.append(features(tf.constant(_floats(frames[start : start + BATCH]))))
            note(min(start + BATCH, len(frames)), len(frames))
        self._features = [tf.concat(scale, 0) for scale in zip(*parts)]
        self._encode = tf.function(self.model.decoder.encode_support, reduce_retracing=True)
        self._segment = tf.function(self._probabilities, reduce_retracing=True)

    def state(self, indices, masks):
        """Support state of frames with their masks (list of bool [H, W], empty for normal frames)."""
        import tensorflow as tf

        features = [tf.gather(scale, list(indices))[None, None] for scale in self._features]
        return self._encode(features, tf.constant(np.array(masks, np.uint8)[None, None, ..., None]))

    def segment(self, state, indices):
        """Probability of a lesion, float32 [Q, H, W], of frames."""
        import tensorflow as tf

        features = [tf.gather(scale, list(indices))[None] for scale in self._features]
        return self._segment(features, state, tf.constant(self.size)).numpy()

    def _probabilities(self, features, state, size):
        import tensorflow as tf

        logits = self.model.decoder.segment(features, state, size) / self.model.temperature
        return tf.nn.softmax(logits)[0, ..., 1]


class SavedModelAnswers:
    """A SavedModel as it is served, asked through its signatures; attributes and methods as `KerasAnswers`."""

    def __init__(self, path):
        import tensorflow as tf

        facts = path / "assets.extra" / "panet.json"
        if not facts.is_file():
            raise PipelineError(
                f"{path}: assets.extra/panet.json is missing, which says the model's size and threshold; export the model again."
            )
        told = json.loads(facts.read_text("utf-8"))
        self.size, self.threshold = tuple(told["image_size"]), told["presence_threshold"]
        self.own_threshold = self.threshold
        self.version = told["model_version"]
        self._loaded = tf.saved_model.load(os.fspath(path))
        self._signatures = self._loaded.signatures

    def prepare(self, frames, note):
        self._frames = frames

    def state(self, indices, masks):
        import tensorflow as tf

        images = tf.constant(_floats([self._frames[index] for index in indices])[None, None])
        masks = tf.constant(np.array(masks, np.uint8)[None, None, ..., None])
        return self._signatures["encode_support"](support_images=images, support_masks=masks)

    def segment(self, state, indices):
        import tensorflow as tf

        images = tf.constant(_floats([self._frames[index] for index in indices])[None])
        return self._signatures["segment"](**state, query_images=images)["probabilities"][0, ..., 1].numpy()


def _floats(frames):
    return np.stack(frames).astype(np.float32) / np.float32(255)
