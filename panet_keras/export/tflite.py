"""TensorFlow Lite export: one file for a device, with the annotated pictures inside."""

import pathlib

import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from panet_keras.errors import PANetError
from panet_keras.export.answer import answer
from panet_keras.files import write_whole

QUANTIZE = ("none", "float16", "dynamic", "int8")
"""How the weights are stored: float32; float16; int8 with float32 activations; and int8 with activations in
int8, whose ranges are measured on frames."""


def export_tflite(
    model, state, file, image_size=(256, 256), presence_threshold=0.0, quantize="none", frames=None
):
    """Writes a TensorFlow Lite model that segments one picture with a support that is fixed.

    Its signature: query_images float32 [1, 1, H, W, 3] in [0, 1] -> probabilities float32 [1, 1, H, W,
    N+1], masks uint8 [1, 1, H, W] and presence float32 [1, 1, N], as in `export_saved_model`. Inputs and
    outputs are float32 however the weights are stored. Only operations of TensorFlow Lite itself, which
    XNNPACK, its delegate for processors, runs; nothing checks the values of the picture.

    Args:
        model: `PANet`.
        state: support state with B = 1, such as `FewShotSegmenter.state`.
        file: to write, such as `panet.tflite`; written beside its place and moved into it.
        image_size: (height, width) of the pictures.
        presence_threshold: as in `export_saved_model`.
        quantize: one of `QUANTIZE`.
        frames: for `"int8"`, float32 [F, H, W, 3] in [0, 1] or a list: pictures as the device will see them.

    Returns:
        `pathlib.Path` of the file.

    Raises:
        FileExistsError: the file exists.
        PANetError: another `quantize`, int8 without frames, or frames of another size.
    """
    if quantize not in QUANTIZE:
        raise PANetError(f"quantize={quantize!r}; expected one of {list(QUANTIZE)}.")
    shape = (*image_size, 3)
    if quantize == "int8" and (frames is None or not len(frames)):
        raise PANetError('quantize="int8" without frames; expected pictures to measure the activations on.')
    if frames is not None and tuple(np.shape(frames)[1:]) != shape:
        raise PANetError(f"frames have shape {np.shape(frames)}; expected [F, {', '.join(map(str, shape))}].")
    file = pathlib.Path(file)
    if file.exists():
        raise FileExistsError(f"{file} exists; expected the name of a new file. Name another or remove it.")
    state = {name: tf.constant(value) for name, value in state.items()}

    module = tf.Module()
    module.segment = _frozen(lambda images: answer(model.segment(state, images), presence_threshold), shape)
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [module.segment.get_concrete_function()], module
    )
    if quantize != "none":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if quantize == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if quantize == "int8":
        converter.representative_dataset = lambda: (
            {"query_images": np.asarray(frame, np.float32)[None, None]} for frame in frames
        )
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, converter.convert())
    return file


def _frozen(function, shape):
    """A `tf.function` of query_images [1, 1, *shape] with the weights as constants: the converter does not find
    Keras' variables."""
    images = tf.TensorSpec((1, 1, *shape), tf.float32, name="query_images")
    traced = tf.function(function, autograph=False).get_concrete_function(images)
    names = sorted(traced.structured_outputs)
    constant = convert_variables_to_constants_v2(traced)

    @tf.function(autograph=False, input_signature=[images])
    def segment(query_images):
        return dict(zip(names, constant(query_images)))

    return segment


def open_tflite(file, threads=None):
    """A function of query_images [1, 1, H, W, 3] to the outputs of `export_tflite`'s signature.

    Args:
        file: path. threads: of the processor; TensorFlow Lite's own choice without it.
    """
    interpreter = tf.lite.Interpreter(model_path=str(file), num_threads=threads)
    return interpreter.get_signature_runner()
