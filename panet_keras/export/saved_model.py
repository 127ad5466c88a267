"""SavedModel export with named signatures for TF Serving."""

import contextlib
import hashlib
import json
import os
import pathlib

import keras
import numpy as np
import tensorflow as tf

from panet_keras.errors import PANetError
from panet_keras.export.answer import answer
from panet_keras.export.checks import checked_images, checked_query, checked_support, require
from panet_keras.export.graph_decoder import decode_batch
from panet_keras.files import build_beside
from panet_keras.pictures.decode import encode_png

SIGNATURES = ("serving_default", "encode_support", "segment", "segment_encoded")
FACTS = "assets.extra/panet.json"
"""What the answer depends on besides the weights, for people and programs that look at the folder."""


def export_saved_model(
    model, directory, image_size=(256, 256), weights_dtype="float32", presence_threshold=0.0
):
    """Writes a SavedModel that TF Serving, or `tf.saved_model.load`, runs without this library.

    Signatures (B episodes, N ways, K shots, Q queries; every size may differ between calls):

    * `serving_default`: support_images float32 [B, N, K, H, W, 3] in [0, 1], support_masks uint8 [B, N, K, H,
      W, 1] (1 = foreground, 0 = background, 255 = ignore), query_images float32 [B, Q, H, W, 3] ->
      probabilities float32 [B, Q, H, W, N+1], masks uint8 [B, Q, H, W], presence float32 [B, Q, N]
      (`panet_keras.Segmentation.presence`);
    * `encode_support`: support_images, support_masks -> the support state, float32 tensors and
      `model_version`, string [B];
    * `segment`: the support state, query_images -> probabilities, masks, presence;
    * `segment_encoded`: the support state, query_bytes string [B, Q] (PNG or JPEG of any size) ->
      probabilities and masks at `image_size` (their static shape says it), presence, and presence_threshold
      float32 [B].

    A way whose presence is below `presence_threshold` gets no pixel of `masks`; its probabilities stay. So
    every client has the segmenter's answer without knowing anything but this folder.
    `assets.extra/tf_serving_warmup_requests` holds a request for each signature, at `image_size` and one
    shot, which a server replays before it answers anyone; `assets.extra/panet.json` says in words what
    travels with the weights: image_size [height, width], temperature, presence_threshold, warm_up_requests,
    weights_dtype, model_version.

    Every tensor starts with B, so that TF Serving can batch. What cannot be answered is refused in the graph
    with INVALID_ARGUMENT (`panet_keras.export.checks`): no support, a support mask without foreground or of
    other values than 0, 1 and 255, images outside [0, 1], a state that is not finite, of another model or of
    another number of episodes.

    Args:
        model: `PANet`.
        directory: folder to write, written beside its place and moved into it whole; must not exist.
        image_size: (height, width) to which `segment_encoded` brings pictures.
        weights_dtype: `"float32"`, or `"float16"`: weights are stored in half the bytes and computed with in
            float32, as ever. Such a model is another version: it refuses support states of the float32
            export.
        presence_threshold: from 0 to 1, as in `FewShotSegmenter`; 0 marks whatever is more probable than not.

    Returns:
        `pathlib.Path` of the folder.

    Raises:
        FileExistsError: the folder exists.
        PANetError: another `weights_dtype`, or a threshold outside [0, 1].
    """
    if weights_dtype not in ("float32", "float16"):
        raise PANetError(f'weights_dtype={weights_dtype!r}; expected "float32" or "float16".')
    if not 0 <= presence_threshold <= 1:
        raise PANetError(f"presence_threshold={presence_threshold!r}; expected a probability from 0 to 1.")
    directory = pathlib.Path(directory)
    if directory.exists():
        raise FileExistsError(
            f"{directory} exists; expected a new folder for the SavedModel. Name another or remove it."
        )
    with build_beside(directory) as building:
        version = fingerprint(model, weights_dtype)
        archive = _archive(model, tuple(image_size), version, weights_dtype, presence_threshold)
        archive.write_out(os.fspath(building), verbose=False)
        count = write_warmup(model, building, image_size, version)
        facts = {
            "image_size": [int(side) for side in image_size],
            "temperature": float(model.temperature),
            "presence_threshold": float(presence_threshold),
            "warm_up_requests": count,
            "weights_dtype": weights_dtype,
            "model_version": version,
        }
        (building / FACTS).write_text(json.dumps(facts, indent=1) + "\n", "utf-8")
    return directory


def write_warmup(model, directory, image_size, version):
    """Writes one Predict request for each signature where TensorFlow Serving looks for them, and returns
    their number."""
    from tensorflow_serving.apis import prediction_log_pb2

    height, width = image_size
    image = np.zeros((height, width, 3), np.uint8)
    image[height // 4 : height // 2, width // 4 : width // 2] = 128
    mask = (image[..., :1] > 0).astype(np.uint8)
    picture = (image / np.float32(255)).astype(np.float32)
    support = {"support_images": picture[None, None, None], "support_masks": mask[None, None, None]}
    state = {name: np.asarray(tensor) for name, tensor in model.encode_support(**support).items()}
    state["model_version"] = np.array([version], object)
    query = {"query_images": picture[None, None]}
    requests = {
        "serving_default": {**support, **query},
        "encode_support": support,
        "segment": {**state, **query},
        "segment_encoded": {**state, "query_bytes": np.array([[encode_png(image)]], object)},
    }
    file = directory / "assets.extra" / "tf_serving_warmup_requests"
    file.parent.mkdir()
    with tf.io.TFRecordWriter(os.fspath(file)) as writer:
        for name, inputs in requests.items():
            log = prediction_log_pb2.PredictionLog()
            request = log.predict_log.request
            request.model_spec.signature_name = name
            for alias, value in inputs.items():
                request.inputs[alias].CopyFrom(tf.make_tensor_proto(value))
            writer.write(log.SerializeToString())
    return len(requests)


def fingerprint(model, weights_dtype="float32"):
    """Hexadecimal digest of the model's weights as they are exported, which names its version in a support
    state."""
    digest = hashlib.sha256()
    for variable in model.weights:
        digest.update(variable.numpy().astype(weights_dtype).tobytes())
    return digest.hexdigest()[:16]


def _weights_as(model, dtype):
    """Context in which the model computes with weights that are stored as `dtype`."""
    if dtype == "float32":
        return contextlib.nullcontext
    # Keras reads a variable through the scope, so layers see the cast and the graph holds the short variable
    # alone.
    stored = [
        (weight, tf.Variable(tf.cast(weight.value, dtype), trainable=False)) for weight in model.weights
    ]
    return lambda: keras.StatelessScope([(weight, tf.cast(half, tf.float32)) for weight, half in stored])


def _archive(model, image_size, version, weights_dtype, presence_threshold):
    weights = _weights_as(model, weights_dtype)
    support = (
        tf.TensorSpec([None] * 5 + [3], tf.float32, name="support_images"),
        tf.TensorSpec([None] * 5 + [1], tf.uint8, name="support_masks"),
    )
    queries = tf.TensorSpec([None] * 4 + [3], tf.float32, name="query_images")
    encoded = tf.TensorSpec([None, None], tf.string, name="query_bytes")

    def encode_support(support_images, support_masks):
        support_images, support_masks = checked_support(support_images, support_masks)
        with weights():
            state = model.encode_support(support_images, support_masks)
        return {**state, "model_version": tf.fill(tf.shape(support_images)[:1], version)}

    def checked(name, query, state):
        """The query, and the state without its version."""
        state = dict(state)
        found = state.pop("model_version")
        with require(
            tf.reduce_all(tf.equal(found, version)),
            "model_version: the support state is of model",
            found,
            "; this is model",
            version,
            ". Call encode_support again.",
        ):
            return checked_query(name, query, state), state

    def segmented(state, query_images):
        with weights():
            return answer(model.segment(state, query_images), presence_threshold)

    def serving_default(support_images, support_masks, query_images):
        state = encode_support(support_images, support_masks)
        del state["model_version"]
        query_images = checked_query("query_images", query_images, state, "support_images")
        return segmented(state, checked_images("query_images", query_images))

    state_specs = _state_specs(model, support, encode_support)
    names = [spec.name for spec in state_specs]

    def segment(*args):
        query_images, state = checked("query_images", args[-1], zip(names, args))
        return segmented(state, checked_images("query_images", query_images))

    def segment_encoded(*args):
        query_bytes, state = checked("query_bytes", args[-1], zip(names, args))
        outputs = segmented(state, decode_batch(query_bytes, image_size))
        for name, channels in (("probabilities", [None]), ("masks", [])):
            outputs[name] = tf.ensure_shape(outputs[name], [None, None, *image_size, *channels])
        return {
            **outputs,
            "presence_threshold": tf.fill(tf.shape(query_bytes)[:1], np.float32(presence_threshold)),
        }

    # The model is not `track`ed: the endpoints bring the weights they use, and Keras 3.13 would store each a
    # second time.
    archive = keras.export.ExportArchive()
    archive.add_endpoint("serving_default", serving_default, input_signature=[*support, queries])
    archive.add_endpoint("encode_support", encode_support, input_signature=list(support))
    archive.add_endpoint(
        "segment", _named(segment, [*names, "query_images"]), input_signature=[*state_specs, queries]
    )
    archive.add_endpoint(
        "segment_encoded",
        _named(segment_encoded, [*names, "query_bytes"]),
        input_signature=[*state_specs, encoded],
    )
    return archive


def _state_specs(model, support, encode_support):
    """Specs of the support state, read off the traced function: only the axes that never change are fixed."""
    traced = tf.function(encode_support, autograph=False).get_concrete_function(*support)
    outputs = traced.structured_outputs
    return [
        tf.TensorSpec(
            [None] * (tensor.shape.rank - 1) + tensor.shape[-1:] if tensor.dtype != tf.string else [None],
            tensor.dtype,
            name=name,
        )
        for name, tensor in sorted(outputs.items())
    ]


def _named(function, names):
    """Gives a variadic function named parameters, which become the signature's input names."""
    arguments = ", ".join(names)
    scope = {"function": function}
    exec(f"def named({arguments}):\n    return function({arguments})", scope)  # names are our own state keys
    return scope["named"]
