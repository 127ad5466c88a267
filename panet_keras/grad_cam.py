"""Grad-CAM of the prototypes: where a way's prototype looks, on the query and on each support image."""

import dataclasses
import warnings

import keras
import numpy as np
import tensorflow as tf

from panet_keras import encoders
from panet_keras.errors import PANetError
from panet_keras.inference.segmenter import FewShotSegmenter, read_image
from panet_keras.pictures.resize import resize_images

METHODS = ("gradcam", "gradcam++")


@dataclasses.dataclass(frozen=True)
class CamMap:
    """A map and what it lies on.

    Attributes:
        role: `"query"` or `"support"`.
        shot: number of the support image within its way, None for the query.
        image: uint8 [H, W, 3].
        heat: float32 [H, W] in [0, 1], at the image's size; all zero where nothing contributed.
        whole_frame: whether the map is of all pixels, for none of the query's was predicted as the way.
    """

    role: str
    shot: int | None
    image: np.ndarray
    heat: np.ndarray
    whole_frame: bool = False


def grad_cam(
    model, support_images, support_masks, query_image, way=1, layer=None, method="gradcam", size=(256, 256)
):
    """Grad-CAM (Selvaraju et al., ICCV 2017, arXiv 1610.02391) of a foreground prototype, with tf-keras-vis.

    The score is the mean logit of the way, less the background's: on the query over the pixels predicted as
    the way (all pixels where none is), on a support image over its own mask. The prototypes are held fixed,
    and every image goes through the query branch, so a map shows where the prototype finds its evidence. (The
    gradient by way of the prototype itself says nothing: a cosine does not change with a vector's length, so
    that gradient is orthogonal to the very features it would be multiplied with.) tf-keras-vis works on
    functional models only; the branch is a functional view of the encoder with the rest of the episode inside
    it.

    Args:
        model: `PANet`.
        support_images: K images of the way, or a list of N lists; as in `FewShotSegmenter.set_support`.
        support_masks: their masks.
        query_image: one image.
        way: number of the way, from 1 to N.
        layer: name of an encoder layer with 4-D output; the deepest output of the encoder up to stride 16 by
            default.
        method: `"gradcam"` or `"gradcam++"`.
        size: (height, width) at which the model runs, or one number.

    Returns:
        List of `CamMap`: the query's, then each support image's. Heat is finite and in [0, 1]; all zero where
            no gradient
        is positive.

    Raises:
        PANetError: unknown layer (lists the valid ones), method or way, or a support without foreground.
        ImportError: tf-keras-vis is not installed.
    """
    engine = _engine(method)
    layer = _known_layer(model, layer)
    ways = _as_ways(support_images, support_masks)
    if not 1 <= way <= len(ways):
        raise PANetError(f"way={way}; expected a number from 1 to {len(ways)}.")
    pictures = [
        [read_image(image, f"support image {n}.{k}") for k, image in enumerate(row)]
        for n, (row, _) in enumerate(ways, 1)
    ]
    query = read_image(query_image, "query image")
    segmenter = FewShotSegmenter(model, size)
    size = segmenter.size
    stack, labels = _support_tensors(segmenter, pictures, [masks for _, masks in ways])
    queries = resize_images(tf.constant(query, tf.float32)[None, None] / 255.0, size)
    state = model.encode_support(stack, labels)
    cam = engine(_query_branch(model, state, size), clone=False)

    found = tf.cast(tf.argmax(model.segment(state, queries), -1) == way, tf.float32)[0, 0]
    whole = not tf.reduce_any(found > 0)
    target = tf.ones_like(found) if whole else found
    maps = [
        CamMap("query", None, query, _heat(cam, layer, way, queries[0], target, query.shape[:2]), bool(whole))
    ]
    for shot, picture in enumerate(pictures[way - 1]):
        own = tf.cast(labels[0, way - 1, shot, ..., 0] == 1, tf.float32)
        maps.append(
            CamMap(
                "support",
                shot,
                picture,
                _heat(cam, layer, way, stack[:, way - 1, shot], own, picture.shape[:2]),
            )
        )
    return maps


def _engine(method):
    """tf-keras-vis' class."""
    if method not in METHODS:
        raise PANetError(f"method={method!r}; expected one of {list(METHODS)}.")
    try:
        with warnings.catch_warnings():
            # It takes scipy's `zoom` from a name that SciPy has retired.
            warnings.simplefilter("ignore", DeprecationWarning)
            from tf_keras_vis.gradcam import Gradcam
            from tf_keras_vis.gradcam_plus_plus import GradcamPlusPlus
    except ImportError as error:
        raise ImportError("grad_cam needs tf-keras-vis: pip install tf-keras-vis==0.8.7") from error
    return Gradcam if method == "gradcam" else GradcamPlusPlus


def _known_layer(model, layer):
    """Name of the encoder's layer to look at."""
    valid = [item.name for item in model.encoder.layers if _gives_one_map(item)]
    layer = (
        layer or model.encoder.outputs[encoders.matched_scale(model.encoder)]._keras_history.operation.name
    )
    if layer not in valid:
        raise PANetError(f"layer={layer!r} is not in the encoder; valid layers: {', '.join(valid)}.")
    return layer


def _gives_one_map(layer):
    try:
        return len(layer.output.shape) == 4
    except (
        AttributeError
    ):  # a model within the model gives a list; a layer that is called twice has no output
        return False


def _as_ways(images, masks):
    """List of (images, masks), one for each way."""
    several = isinstance(images[0], (list, tuple))
    return list(zip(images, masks)) if several else [(images, masks)]


def _support_tensors(segmenter, pictures, masks):
    """float32 [1, N, K, H, W, 3] and uint8 [1, N, K, H, W, 1] at model size."""
    pairs = [
        [segmenter.prepare_pair(picture, mask, n, k) for k, (picture, mask) in enumerate(zip(*both))]
        for n, both in enumerate(zip(pictures, masks))
    ]
    stack = np.array([[image for image, _ in row] for row in pairs])
    labels = np.array([[mask for _, mask in row] for row in pairs])
    return tf.constant(stack[None]), tf.constant(labels[None, ..., None])


def _query_branch(model, state, size):
    """Functional view from images [B, H, W, 3] to logits [B, H, W, N+1], with the support's state inside
    it."""
    branch = _Branch(lambda maps: model.decoder.segment([x[:, None] for x in maps], state, size)[:, 0])
    return keras.Model(model.encoder.inputs, branch(model.encoder.outputs))


def _heat(cam, layer, way, image, target, full_size):
    """Map of one image [1, H, W, 3] at `full_size`; target [H, W], the pixels whose logits are averaged."""

    def score(outputs):
        return tf.reduce_sum((outputs[..., way] - outputs[..., 0]) * target) / tf.reduce_sum(target)

    found = cam(
        score,
        image,
        penultimate_layer=layer,
        seek_penultimate_conv_layer=False,
        expand_cam=False,
        normalize_cam=False,
        unconnected_gradients=tf.UnconnectedGradients.ZERO,
    )
    return _fit(np.asarray(found[0], np.float32), full_size)


class _Branch(keras.layers.Layer):
    """A layer around a function of the encoder's outputs; float32, for tf-keras-vis cannot scale half
    precision."""

    def __init__(self, function):
        super().__init__(dtype="float32")
        self.function = function

    def call(self, maps):
        return self.function(maps if isinstance(maps, (list, tuple)) else [maps])

    def compute_output_shape(self, input_shape):
        return (None, None, None, None)


def _fit(heat, size):
    """Scales to [0, 1] by the maximum and to the image's size; Grad-CAM's zero stays zero."""
    heat = np.nan_to_num(np.maximum(heat, 0.0), nan=0.0, posinf=0.0)
    heat = heat / heat.max() if heat.max() > 0 else heat
    return np.clip(tf.image.resize(heat[..., None], size)[..., 0].numpy(), 0.0, 1.0)
