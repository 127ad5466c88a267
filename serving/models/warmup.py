"""Warm-up: requests that the exporter put beside the model, replayed before a version is AVAILABLE."""

import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from serving.api.tensors import read_inputs

FILE = "assets.extra/tf_serving_warmup_requests"
"""Where TensorFlow Serving looks: a TFRecord file of PredictionLog."""
DEFAULT_SIGNATURE = "serving_default"
LIMIT = 1000
"""Records that TensorFlow Serving accepts at most."""


def replay(path, signatures, definitions):
    """Runs the warm-up requests of a SavedModel folder.

    Args:
        path: `pathlib.Path` of the version. signatures, definitions: of the loaded version, by name.

    Returns:
        Number of requests; 0 without a file.

    Raises:
        ValueError: too many records, or one that is no Predict request of this model; a failed warm-up is a
            failed load.
    """
    file = path / FILE
    if not file.is_file():
        return 0
    count = 0
    for record in tf.data.TFRecordDataset(str(file)):
        count += 1
        if count > LIMIT:
            raise ValueError(f"{file}: more than {LIMIT} warm-up requests; write fewer")
        log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
        if log.WhichOneof("log_type") != "predict_log":
            raise ValueError(
                f"{file}: record {count} is a {log.WhichOneof('log_type')}; expected a predict_log"
            )
        request = log.predict_log.request
        name = request.model_spec.signature_name or DEFAULT_SIGNATURE
        if name not in signatures:
            raise ValueError(
                f"{file}: record {count} asks for signature {name!r}; this model has {sorted(signatures)}"
            )
        signatures[name](**read_inputs(request.inputs, definitions[name].inputs))
    return count
