"""`model.export`, as every Keras model has it."""

import functools

import keras

SIGNATURE = {
    "support_images": keras.InputSpec(shape=(None,) * 5 + (3,), dtype="float32"),
    "support_masks": keras.InputSpec(shape=(None,) * 5 + (1,), dtype="uint8"),
    "query_images": keras.InputSpec(shape=(None,) * 4 + (3,), dtype="float32"),
}


class KerasExport:
    """Mixin in front of `keras.Model` whose `export` knows the model's inputs, so that it needs no call
    before.

    The endpoint `serve` takes the dictionary that the model takes. TensorFlow Serving, which wants named
    tensors, pictures as files and a support that is encoded once, is served by
    `panet_keras.export_saved_model`.
    """

    @functools.wraps(keras.Model.export)
    def export(self, filepath, format="tf_saved_model", verbose=None, input_signature=None, **kwargs):
        if input_signature is None:
            input_signature = [SIGNATURE]
        return super().export(
            filepath, format=format, verbose=verbose, input_signature=input_signature, **kwargs
        )
