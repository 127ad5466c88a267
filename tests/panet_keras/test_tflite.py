import numpy as np
import pytest
import tensorflow as tf

from panet_keras import FewShotSegmenter, PANet, PANetError
from panet_keras.__main__ import main
from panet_keras.export.answer import answer, least
from panet_keras.export.tflite import QUANTIZE, export_tflite, open_tflite

SIZE = (64, 64)


@pytest.fixture(scope="module")
def segmenter(model, phantom):
    images, masks = (
        [f"{phantom}/{kind}/PHA{name}.png" for name in ("A_000", "C_001")] for kind in ("images", "masks")
    )
    return FewShotSegmenter(model, size=SIZE, presence_threshold=0.3).set_support(images, masks)


@pytest.fixture(scope="module")
def files(segmenter, tmp_path_factory):
    folder, frames = tmp_path_factory.mktemp("tflite"), segmenter.support_images
    return {
        kind: export_tflite(segmenter.model, segmenter.state, folder / kind, SIZE, 0.3, kind, frames)
        for kind in ("none", "float16", "int8")
    }


@pytest.mark.parametrize(
    ("quantize", "tolerance", "share"), [("none", 1e-5, 1), ("float16", 0.01, 0.6), ("int8", 0.1, 0.5)]
)
def test_a_device_answers_as_the_model(files, segmenter, quantize, tolerance, share):
    assert files[quantize].stat().st_size <= share * files["none"].stat().st_size
    run = open_tflite(files[quantize], threads=1)
    for frame in segmenter.support_images:
        found = run(query_images=frame[None, None])
        logits = segmenter.model.segment(segmenter.state, tf.constant(frame[None, None]))
        expected = {name: value.numpy() for name, value in answer(logits, 0.3).items()}
        assert found["probabilities"].shape == (1, 1, *SIZE, 2) and found["masks"].dtype == np.uint8
        for name in ("probabilities", "presence"):
            np.testing.assert_allclose(found[name], expected[name], atol=tolerance)
        # Where neither side is in doubt the masks are the same pixels.
        sure = np.abs(expected["probabilities"][..., 1] - 0.5) > tolerance
        np.testing.assert_array_equal(found["masks"][sure], expected["masks"][sure])


@pytest.mark.parametrize(
    "head",
    [{}, {"prototype": "local", "refine": True}, {"decoder": "unet", "prototype": "local"}],
    ids=["paper", "local", "unet"],
)
def test_every_head_s_file_opens_and_answers(tiny_encoder, scanner, tmp_path, head):
    segmenter = FewShotSegmenter(PANet(tiny_encoder(), **head), size=(64, 64))
    segmenter.set_support([str(scanner / "l0.png")], [str(scanner / "l0_mask.png")])
    file = export_tflite(segmenter.model, segmenter.state, tmp_path / "a.tflite", (64, 64))
    found = open_tflite(file)(query_images=segmenter.support_images[:1][None])["probabilities"][0, 0, ..., 1]
    np.testing.assert_allclose(found, segmenter.predict(str(scanner / "l0.png")).probability, atol=1e-4)


def test_what_cannot_be_exported_is_said(segmenter, tmp_path):
    for change, message in (
        ({"quantize": "int4"}, "quantize='int4'; expected one of"),
        ({"quantize": "int8"}, "without frames"),
        (
            {"quantize": "int8", "frames": np.zeros((1, 32, 32, 3))},
            r"\(1, 32, 32, 3\); expected \[F, 64, 64, 3\]",
        ),
    ):
        with pytest.raises(PANetError, match=message):
            export_tflite(segmenter.model, segmenter.state, tmp_path / "x.tflite", SIZE, **change)
    (tmp_path / "x.tflite").touch()
    with pytest.raises(FileExistsError, match="x.tflite exists"):
        export_tflite(segmenter.model, segmenter.state, tmp_path / "x.tflite", SIZE)
    assert (tmp_path / "x.tflite").read_bytes() == b""


def test_the_command_refuses_options_of_the_other_format(tmp_path, capsys):
    for arguments, message in (
        (["--support", "a.png=b.png"], "--support: for --format tflite alone"),
        (["--quantize", "int8"], "--quantize: for --format tflite alone"),
        (["--format", "tflite"], "no annotated picture"),
        (["--format", "tflite", "--weights-dtype", "float16"], "give --quantize float16"),
    ):
        assert main(["export", "--out", str(tmp_path / "x"), *arguments]) == 1
        assert message in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


def test_the_threshold_is_the_smallest_float32_that_reaches_it():
    for threshold in (0.0, 0.3, 0.5, 0.7, 1.0, 1 / 3):
        found = least(threshold)
        assert float(found) >= threshold > float(np.nextafter(found, np.float32(-1)))
    assert float(np.float32(0.7)) < 0.7  # why it is not the nearest


def test_the_names_of_the_command_are_those_of_the_export():
    from panet_keras.commands import export

    assert export.QUANTIZE == QUANTIZE
