"""The segmenter behind the page: a model in this process, or a served one.

The loop knows only this much of a segmenter, and a test may put anything of this form in its place:

    name, version, digest   texts for the provenance; the digest tells models apart
    size                    (h, w) of the model
    where                   "here" or "HOST:PORT"
    presence_threshold      from 0 to 1, of the model itself
    prepare(picture)        uint8 [H, W, 3] of any size -> what `encode` takes; called beside the other calls
    encode(prepared)        list of those -> list of float16 [n], the features
    support(pairs)          list of (features, mask uint8 [h, w]), empty masks for normal frames, at least one
                            lesion -> anything, which `segment` takes
    segment(support, features)
                            list of F features -> float32 [F, h, w], probability of lesion
    fit_threshold(lesions, normals)
                            presences of lesions and of normal frames -> presence threshold
    grad_cam(pictures, masks, picture)
                            annotated pictures at original size, their masks bool, and a query -> float32 [H, W]
                            from 0 to 1; None where it cannot
    tuned                   None, or `Tuned` of a model that was tuned on masks of this folder

Calls come from several threads, one at a time but for `prepare`.
"""

import dataclasses
import functools
import os
import tempfile

import numpy as np

from panet_keras.errors import PANetError

GRAD_CAM_SUPPORTS = 8
"""The newest ones: a map takes a second, and more time with each support."""


@dataclasses.dataclass(frozen=True)
class Tuned:
    """What a model was tuned on, and what that brings.

    Attributes:
        base: digest of the model that it was. masks: lesions that it was tuned on.
        before, after: mean Dice of the lesions, each judged by a copy that was not tuned on it.
    """

    base: str
    masks: int
    before: float
    after: float


class LocalModel:
    """A model in this process.

    Args:
        segmenter: `panet_keras.FewShotSegmenter`, whose masks these are, to rounding: features are kept in half
            precision. name: for the provenance. tuned: `Tuned`, or None.

    Attributes:
        base: the `LocalModel` that was tuned, or this one.
        own_threshold: what the thresholds of annotated frames are drawn to; no fitted one.
    """

    where = "here"

    def __init__(self, segmenter, name, tuned=None):
        import tensorflow as tf

        from panet_keras.export.saved_model import fingerprint

        self._model, self.size = segmenter.model, tuple(segmenter.size)
        self.name, self.tuned, self.base = name, tuned, self
        self.presence_threshold, self.own_threshold = segmenter.presence_threshold, segmenter.own_threshold
        self.version = self.digest = fingerprint(self._model)
        self._scales = self._model.decoder.scales
        self._encode = tf.function(
            functools.partial(_used_features, self._model, self._scales),
            input_signature=[tf.TensorSpec([None, *self.size, 3], tf.float32)],
        )
        self._support = tf.function(
            functools.partial(_encode_support, self._model, self._scales), reduce_retracing=True
        )
        self._segment = tf.function(
            functools.partial(_segment, self._model, self._scales, self.size), reduce_retracing=True
        )
        # The graphs are built now, for any number of pictures, so that the first proposals do not wait.
        mask = np.zeros(self.size, np.uint8)
        mask[: self.size[0] // 2] = 1
        for count in (1, 2):
            blank = self.encode([np.zeros((*self.size, 3), np.float32)] * count)
            self.segment(self.support([(features, mask) for features in blank]), blank)

    @classmethod
    def open(cls, model=None, size=None):
        """The model that a command names.

        Args:
            model: a `.keras` file, or a preset's name or folder; the shipped preset without it.
            size: (height, width) of the model; a preset's own without it.

        Raises:
            PANetError: no such file or preset.
        """
        from panet_keras import presets
        from panet_keras.inference.segmenter import open_segmenter

        return cls(open_segmenter(model, size), str(model or presets.DEFAULT))

    def tune(self, images, masks, progress=None):
        """The model tuned on annotated frames (`FewShotSegmenter.adapt`'s way); itself where frames that were left
        out gained nothing.

        Args:
            images: float32 [F, h, w, 3], what `prepare` gave. masks: uint8 [F, h, w], all 0 for normal frames;
                at least 4 lesions. progress: function of (steps done, steps in all).
        """
        from panet_keras.inference.adapt import adapt
        from panet_keras.inference.segmenter import FewShotSegmenter

        model, found = adapt(self._model, images, masks, progress=progress, threshold=self.own_threshold)
        lesion = found.held_out.lesion
        if not found.steps:
            return self
        threshold = found.held_out.threshold(self.own_threshold)
        tuned = Tuned(
            self.digest,
            int(lesion.sum()),
            round(float(found.as_it_was.dice[lesion].mean()), 4),
            round(float(found.held_out.dice[lesion].mean()), 4),
        )
        return self._with(FewShotSegmenter(model, self.size, presence_threshold=threshold), tuned)

    def _with(self, segmenter, tuned):
        found = LocalModel(segmenter, f"{self.name}, tuned on {tuned.masks} masks", tuned)
        found.base, found.own_threshold = self, self.own_threshold
        return found

    def save(self, folder):
        """Writes a tuned model as a preset, whole, in place of an older one; `--model FOLDER` of every command
        takes it."""
        from panet_keras import presets

        with tempfile.TemporaryDirectory(dir=os.path.dirname(folder)) as place:
            new, old = os.path.join(place, "new"), os.path.join(place, "old")
            # As `FewShotSegmenter.save`: a fitted threshold is no beginning for the next fit.
            about = {
                "tuned": dataclasses.asdict(self.tuned),
                "calibrated": True,
                "own_threshold": self.own_threshold,
            }
            presets.write(self._model, new, self.size, self.presence_threshold, about)
            if os.path.exists(folder):
                os.rename(folder, old)
            os.rename(new, folder)

    def saved(self, folder):
        """The model in `folder` if `save` wrote it there and this one was its base, else this one.

        Raises:
            PANetError: it cannot be read.
        """
        from panet_keras import presets
        from panet_keras.inference.segmenter import FewShotSegmenter

        if not os.path.isdir(folder):
            return self
        try:
            tuned = Tuned(**presets.read(folder)[0]["about"]["tuned"])
            segmenter = FewShotSegmenter(os.fspath(folder))
        except Exception as error:
            raise PANetError(
                f"{folder}: the model that was tuned here cannot be read ({error}). Remove this folder to go on with the model "
                "as it came, and learn again."
            ) from error
        same = tuned.base == self.digest and tuple(segmenter.size) == self.size
        return self._with(segmenter, tuned) if same else self

    def prepare(self, picture):
        return _small(picture, self.size)

    def encode(self, prepared):
        maps = [x.numpy() for x in self._encode(np.stack(prepared))]
        self._shapes = [x.shape[1:] for x in maps]
        flat = np.concatenate([x.reshape(len(prepared), -1) for x in maps], axis=1)
        return list(flat.astype(np.float16))

    def maps(self, features):
        """float32 [F, h, w, C] of each scale that the decoder uses."""
        stack = np.stack(features)
        ends = np.cumsum([np.prod(shape) for shape in self._shapes])
        parts = np.split(stack, ends[:-1], axis=1)
        return [part.reshape(-1, *shape).astype(np.float32) for part, shape in zip(parts, self._shapes)]

    def support(self, pairs):
        features, masks = zip(*pairs)
        return self._support(self.maps(features), np.stack(masks))

    def segment(self, support, features):
        return self._segment(support, self.maps(features)).numpy()

    def fit_threshold(self, lesions, normals):
        from panet_keras.inference.presence import fit_threshold

        return fit_threshold(np.array(lesions), np.array(normals), self.own_threshold)

    def grad_cam(self, pictures, masks, picture):
        from panet_keras.grad_cam import grad_cam

        newest = slice(-GRAD_CAM_SUPPORTS, None)
        return grad_cam(self._model, pictures[newest], masks[newest], picture, size=self.size)[0].heat


def _small(picture, size):
    """float32 [h, w, 3] from 0 to 1 of uint8 [H, W, 3], by the one resizing rule."""
    import tensorflow as tf

    from panet_keras.pictures.resize import resize_images

    # Ultrasound is grey: three equal channels are brought to size as one.
    grey = (picture[..., 0] == picture[..., 1]).all() and (picture[..., 0] == picture[..., 2]).all()
    used = picture[..., :1] if grey else picture
    small = resize_images(tf.cast(np.ascontiguousarray(used), tf.float32) / 255.0, size).numpy()
    return np.repeat(small, 3, -1) if grey else small


def _used_features(model, scales, images):
    maps = model.features(images)
    return [maps[scale] for scale in scales]


def _spread(scales, maps, lead):
    """The encoder's list of maps, of which the decoder reads those of its scales alone."""
    spread = [None] * (max(scales) + 1)
    for scale, x in zip(scales, maps):
        spread[scale] = x[lead]
    return spread


def _encode_support(model, scales, maps, masks):
    return model.decoder.encode_support(_spread(scales, maps, (None, None)), masks[None, None, ..., None])


def _segment(model, scales, size, state, maps):
    import tensorflow as tf

    logits = model.decoder.segment(_spread(scales, maps, (None,)), state, size)[0] / model.temperature
    return tf.nn.softmax(logits)[..., 1]


class ServedModel:
    """A model on a server that speaks TensorFlow Serving's gRPC.

    Its encoder cannot be asked alone: what is kept of a picture is the picture at model size, and a proposal
    costs the server encoder and decoder.

    Args:
        server: `"HOST:PORT"`. name: of the model there. timeout: seconds for a request.

    Raises:
        PANetError: no answer, or a model without the signatures of `panet_keras.export_saved_model`.
        ImportError: no gRPC here.
    """

    def __init__(self, server, name="panet", timeout=60.0):
        try:
            import grpc
            from tensorflow_serving.apis import prediction_service_pb2_grpc
        except ImportError as error:
            raise ImportError("--server needs grpcio: pip install 'panet-bus[serving]'") from error
        self.where, self.name, self._timeout, self.tuned = server, name, timeout, None
        unlimited = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        self._errors = grpc.RpcError
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(
            grpc.insecure_channel(server, options=unlimited)
        )
        self.size = self._model_size()
        blank = np.zeros((*self.size, 3), np.uint8)
        mask = np.zeros(self.size, np.uint8)
        mask[: self.size[0] // 2] = 1
        state = self.support([(self.encode([self.prepare(blank)])[0], mask)])
        self.presence_threshold = self.own_threshold = self._threshold(state, blank)
        self.digest = state["model_version"].string_val[0].decode()

    def _model_size(self):
        from tensorflow_serving.apis import get_model_metadata_pb2

        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        request.model_spec.name = self.name
        packed = self._call(self._stub.GetModelMetadata, request).metadata["signature_def"]
        signatures = get_model_metadata_pb2.SignatureDefMap.FromString(packed.value).signature_def
        shape = signatures["segment_encoded"].outputs["probabilities"].tensor_shape
        size = tuple(dim.size for dim in shape.dim[2:4])
        if len(size) != 2 or min(size) < 1:
            raise PANetError(
                f"{self.name} at {self.where} does not say its size; expected a model of panet_keras "
                "export_saved_model. Export it again."
            )
        return size

    def _call(self, method, request):
        try:
            return method(request, timeout=self._timeout)
        except self._errors as error:
            raise PANetError(
                f"{self.where} answered {error.code().name}: {error.details()}. Is the server running there, with "
                f"a model {self.name}?"
            ) from None

    def _predict(self, signature, inputs, outputs=()):
        import tensorflow as tf
        from tensorflow_serving.apis import predict_pb2

        request = predict_pb2.PredictRequest(output_filter=outputs)
        request.model_spec.name, request.model_spec.signature_name = self.name, signature
        for name, value in inputs.items():
            kept = hasattr(value, "tensor_shape")  # a tensor of an earlier answer goes back as it came
            request.inputs[name].CopyFrom(value if kept else tf.make_tensor_proto(value))
        response = self._call(self._stub.Predict, request)
        self.version = str(response.model_spec.version.value)
        return response.outputs

    def _threshold(self, state, picture):
        import tensorflow as tf

        from panet_keras.pictures.decode import encode_png

        query = {"query_bytes": np.array([[encode_png(picture)]], object)}
        found = self._predict("segment_encoded", {**state, **query}, ["presence_threshold"])
        return float(tf.make_ndarray(found["presence_threshold"])[0])

    def prepare(self, picture):
        return _small(picture, self.size)

    def encode(self, prepared):
        return [x.ravel().astype(np.float16) for x in prepared]

    def _pictures(self, features):
        return np.stack(features).reshape(-1, *self.size, 3).astype(np.float32)

    def support(self, pairs):
        features, masks = zip(*pairs)
        inputs = {
            "support_images": self._pictures(features)[None, None],
            "support_masks": np.stack(masks)[None, None, ..., None],
        }
        return dict(self._predict("encode_support", inputs))

    def segment(self, support, features):
        import tensorflow as tf

        inputs = {**support, "query_images": self._pictures(features)[None]}
        return tf.make_ndarray(self._predict("segment", inputs, ["probabilities"])["probabilities"])[
            0, ..., 1
        ]

    fit_threshold = LocalModel.fit_threshold

    def grad_cam(self, pictures, masks, picture):
        return None
