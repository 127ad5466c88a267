"""SavedModel export with named signatures for TF Serving."""

import contextlib
import hashlib
import os
import pathlib
import shutil
import tempfile

import keras
import numpy as np
import tensorflow as tf

from panet_keras.errors import PANetError
from panet_keras.export.graph_decoder import decode_batch
from panet_keras.pictures.decode import encode_png

SIGNATURES = ("serving_default", "encode_support", "segment", "segment_encoded")


def export_saved_model(model, directory, image_size=(256, 256), weights_dtype="float32"):
    """Writes a SavedModel that TF Serving, or `tf.saved_model.load`, runs without this library.

    Signatures (B episodes, N ways, K shots, Q queries; every size may differ between calls):

    * `serving_default`: support_images float32 [B, N, K, H, W, 3] in [0, 1], support_masks uint8 [B, N, K, H, W, 1]
      (1 = foreground, 0 = background, 255 = ignore), query_images float32 [B, Q, H, W, 3] -> probabilities float32
      [B, Q, H, W, N+1], masks uint8 [B, Q, H, W];
    * `encode_support`: support_images, support_masks -> the support state, float32 tensors and `model_version`, string [B];
    * `segment`: the support state, query_images -> probabilities, masks;
    * `segment_encoded`: the support state, query_bytes string [B, Q] (PNG or JPEG of any size) -> probabilities and masks
      at `image_size`.

    `assets.extra/tf_serving_warmup_requests` holds a request for each signature, at `image_size` and one shot, which a server
    replays before it answers anyone.

    Every tensor starts with B, so that TF Serving can batch. A support mask without foreground, images outside [0, 1] and
    a state of another model are refused in the graph with INVALID_ARGUMENT.

    Args:
        model: `PANet`.
        directory: folder to write, written beside its place and moved into it whole; must not exist.
        image_size: (height, width) to which `segment_encoded` brings pictures.
        weights_dtype: `"float32"`, or `"float16"`: weights are stored in half the bytes and computed with in float32, as ever. Such a
            model is another version: it refuses support states of the float32 export.

    Returns:
        `pathlib.Path` of the folder.

    Raises:
        FileExistsError: the folder exists.
        PANetError: another `weights_dtype`.
    """
    if weights_dtype not in ("float32", "float16"):
        raise PANetError(f'weights_dtype={weights_dtype!r}; expected "float32" or "float16".')
    directory = pathlib.Path(directory)
    if directory.exists():
        raise FileExistsError(f"{directory} exists; expected a new folder for the SavedModel. Name another or remove it.")
    directory.parent.mkdir(parents=True, exist_ok=True)
    building = pathlib.Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
    try:
        version = fingerprint(model, weights_dtype)
        _archive(model, image_size, version, weights_dtype).write_out(os.fspath(building / "model"), verbose=False)
        write_warmup(model, building / "model", image_size, version)
        os.replace(building / "model", directory)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return directory


def write_warmup(model, directory, image_size, version):
    """Writes one Predict request for each signature where TensorFlow Serving looks for them."""
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


def fingerprint(model, weights_dtype="float32"):
    """Hexadecimal digest of the model's weights as they are exported, which names its version in a support state."""
    digest = hashlib.sha256()
    for variable in model.weights:
        digest.update(variable.numpy().astype(weights_dtype).tobytes())
    return digest.hexdigest()[:16]


def _weights_as(model, dtype):
    """Context in which the model computes with weights that are stored as `dtype`."""
    if dtype == "float32":
        return contextlib.nullcontext
    # Keras reads a variable through the scope, so layers see the cast and the graph holds the short variable alone.
    stored = [(weight, tf.Variable(tf.cast(weight.value, dtype), trainable=False)) for weight in model.weights]
    return lambda: keras.StatelessScope([(weight, tf.cast(half, tf.float32)) for weight, half in stored])


def _archive(model, image_size, version, weights_dtype):
    weights = _weights_as(model, weights_dtype)
    support = (
        tf.TensorSpec([None] * 5 + [3], tf.float32, name="support_images"),
        tf.TensorSpec([None] * 5 + [1], tf.uint8, name="support_masks"),
    )
    queries = tf.TensorSpec([None] * 4 + [3], tf.float32, name="query_images")
    encoded = tf.TensorSpec([None, None], tf.string, name="query_bytes")

    def encode_support(support_images, support_masks):
        _check_support(support_images, support_masks)
        with weights():
            state = model.encode_support(support_images, support_masks)
        return {**state, "model_version": tf.fill(tf.shape(support_images)[:1], version)}

    def segment_state(state, query_images):
        state = dict(state)
        found = state.pop("model_version")
        check = tf.debugging.Assert(
            tf.reduce_all(tf.equal(found, version)),
            ["model_version: the support state is of model", found, "; this is model", version, ". Call encode_support again."],
        )
        with tf.control_dependencies([check]), weights():
            return _answer(model.segment(state, _checked_images("query_images", query_images)))

    def serving_default(support_images, support_masks, query_images):
        state = encode_support(support_images, support_masks)
        return segment_state(state, query_images)

    state_specs = _state_specs(model, support, encode_support)
    names = [spec.name for spec in state_specs]

    def segment(*args):
        return segment_state(dict(zip(names, args)), args[-1])

    def segment_encoded(*args):
        images = decode_batch(args[-1], image_size)
        return segment_state(dict(zip(names, args)), images)

    # The model is not `track`ed: the endpoints bring the weights they use, and Keras 3.13 would store each a second time.
    archive = keras.export.ExportArchive()
    archive.add_endpoint("serving_default", serving_default, input_signature=[*support, queries])
    archive.add_endpoint("encode_support", encode_support, input_signature=list(support))
    archive.add_endpoint("segment", _named(segment, [*names, "query_images"]), input_signature=[*state_specs, queries])
    archive.add_endpoint(
        "segment_encoded", _named(segment_encoded, [*names, "query_bytes"]), input_signature=[*state_specs, encoded]
    )
    return archive


def _state_specs(model, support, encode_support):
    """Specs of the support state, read off the traced function: only the axes that never change are fixed."""
    outputs = tf.function(encode_support).get_concrete_function(*support).structured_outputs
    return [
        tf.TensorSpec(
            [None] * (tensor.shape.rank - 1) + tensor.shape[-1:] if tensor.dtype != tf.string else [None], tensor.dtype, name=name
        )
        for name, tensor in sorted(outputs.items())
    ]


def _named(function, names):
    """Gives a variadic function named parameters, which become the signature's input names."""
    arguments = ", ".join(names)
    scope = {"function": function}
    exec(f"def named({arguments}):\n    return function({arguments})", scope)  # names are our own state keys
    return scope["named"]


def _answer(logits):
    return {"probabilities": tf.nn.softmax(logits), "masks": tf.cast(tf.argmax(logits, -1), tf.uint8)}


def _check_support(images, masks):
    foreground = tf.reduce_any(tf.equal(masks, 1), [3, 4, 5])
    empty = tf.where(~foreground)
    tf.debugging.Assert(
        tf.equal(tf.size(empty), 0),
        [
            "support_masks: no pixel equals 1 (foreground) at [episode, way, shot]",
            empty,
            "; mark the lesion or leave the image out",
        ],
    )
    _checked_images("support_images", images)
    tf.debugging.assert_equal(
        tf.shape(images)[:-1], tf.shape(masks)[:-1], "support_images and support_masks differ in [B, N, K, H, W]; resize the masks"
    )


def _checked_images(name, images):
    low, high = tf.reduce_min(images), tf.reduce_max(images)
    check = tf.debugging.Assert(
        # Comparisons with NaN are false, so NaN is refused, too.
        (low >= 0.0) & (high <= 1.0),
        [name, ": values from", low, "to", high, "; expected finite values in [0, 1]: divide 0..255 values by 255"],
    )
    with tf.control_dependencies([check]):
        return tf.identity(images)
