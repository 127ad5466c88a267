import numpy as np
import pytest
from PIL import Image

from serving.client import Client, ServingError, main, read_tensor, write_tensor
from serving.pictures import enlarge, open_rgb, shrink
from serving.protos import wire_pb2
from tests.panet_keras.test_images import half_transparent, ramp16, same_picture_five_ways


def test_pictures_follow_the_library_s_rules():
    import tensorflow as tf

    from panet_keras.data import decode_image
    from panet_keras.pictures.resize import resize_images

    for content in (ramp16()[0], half_transparent(), *same_picture_five_ways().values()):
        np.testing.assert_array_equal(open_rgb(content), decode_image(content))
    picture = np.random.default_rng(0).integers(0, 256, (91, 130, 3), np.uint8)
    small = np.random.default_rng(1).random((16, 24), np.float32)
    for size in ((40, 56), (128, 100), (300, 260)):
        expected = resize_images(tf.constant(picture / np.float32(255)), size)
        np.testing.assert_allclose(shrink(picture, size), expected, atol=1e-5)
    for size in ((75, 61), (9, 50), (5, 7)):
        np.testing.assert_allclose(enlarge(small, size), tf.image.resize(small[..., None], size)[..., 0], atol=1e-5)


@pytest.mark.parametrize(
    "value", [np.arange(6, dtype="float32").reshape(2, 3), np.array([[1, 255]], "uint8"), np.array([[b"a", b""]], object)]
)
def test_tensors_cross_the_wire_and_are_tensorflow_s(value):
    import tensorflow as tf

    ours = wire_pb2.Tensor()
    write_tensor(ours, value)
    np.testing.assert_array_equal(read_tensor(ours), value)
    theirs = type(tf.make_tensor_proto(0)).FromString(ours.SerializeToString())
    np.testing.assert_array_equal(tf.make_ndarray(theirs), value)
    back = wire_pb2.Tensor.FromString(tf.make_tensor_proto(value).SerializeToString())
    np.testing.assert_array_equal(read_tensor(back), value)


def test_same_answers_as_the_segmenter(server, model, phantom):
    from panet_keras import FewShotSegmenter

    image, mask, query = (f"{phantom}/{name}" for name in ("images/PHAA_000.png", "masks/PHAA_000.png", "images/PHAC_001.png"))
    local = FewShotSegmenter(model, (64, 64)).set_support([image], [mask]).predict(query)
    with Client(f"127.0.0.1:{server}", size=(64, 64)) as client:
        served = client.set_support([image], [mask]).predict(query)
    np.testing.assert_allclose(served.probability, local.probability, atol=1e-4)
    assert served.mask.shape == (96, 128) and (served.mask != local.mask).mean() < 1e-3
    np.testing.assert_allclose(served.presence, local.presence, atol=1e-3)


def test_command_line_writes_masks(server, phantom, tmp_path, capsys):
    support = f"{phantom}/images/PHAA_000.png={phantom}/masks/PHAA_000.png"
    queries = [f"{phantom}/images/PHAC_00{i}.png" for i in (0, 1)]
    arguments = ["segment", "--server", f"127.0.0.1:{server}", "--support", support, "--query", *queries, "--size", "64", "64"]
    assert main([*arguments, "--out", str(tmp_path / "out")]) is None
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        f"PHAC_00{i}_{what}.png" for i in (0, 1) for what in ("mask", "overlay")
    ]
    assert np.asarray(Image.open(tmp_path / "out" / "PHAC_000_mask.png")).shape == (96, 128)
    wrong = ["segment", "--server", "127.0.0.1:1", "--support", support, "--query", *queries, "--out", str(tmp_path / "none")]
    assert main(wrong) == 1 and not (tmp_path / "none").exists()
    assert "UNAVAILABLE" in capsys.readouterr().err


def test_the_model_s_size_is_asked_for_and_outputs_can_be_left_out(server, episode):
    with Client(f"127.0.0.1:{server}") as client:
        assert client.size == (64, 64)
        assert set(client.signatures()["encode_support"].inputs) == {"support_images", "support_masks"}
        assert set(client.call("serving_default", episode()[0], output_filter=["presence"])) == {"presence"}
    with Client(f"127.0.0.1:{server}", "other") as client, pytest.raises(ServingError, match="NOT_FOUND"):
        client.set_support([np.zeros((9, 9), "uint8")], [np.ones((9, 9), bool)])
    with pytest.raises(ValueError, match="presence_threshold=2; expected a probability"):
        Client("127.0.0.1:1", presence_threshold=2)


def test_options_of_the_caller_win(server, episode):
    for options in ([("grpc.max_receive_message_length", 1000)], {"grpc.max_receive_message_length": 1000}):
        with Client(f"127.0.0.1:{server}", options=options) as client, pytest.raises(ServingError, match="RESOURCE_EXHAUSTED"):
            client.call("serving_default", episode()[0])


def test_a_folder_is_its_pictures_and_no_input_is_overwritten(server, phantom, tmp_path, capsys):
    folder = tmp_path / "Ärzte"
    folder.mkdir()
    for name in ("b.PNG", "a.png", "a_mask.png", ".hidden.png", "notes.txt"):
        (folder / name).write_bytes((phantom / "images" / "PHAC_000.png").read_bytes())
    (folder / "deeper.png").mkdir()
    support = f"{phantom}/images/PHAA_000.png={phantom}/masks/PHAA_000.png"
    arguments = ["segment", "--server", f"127.0.0.1:{server}", "--support", support, "--query", str(folder)]
    assert main([*arguments, "--out", str(tmp_path / "out")]) is None
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "a_mask.png",
        "a_overlay.png",
        "b_mask.png",
        "b_overlay.png",
    ]
    mine = f"{phantom}/images/PHAA_000.png={folder}/a_mask.png"
    for wrong, message in (
        ([*arguments, "--support", mine, "--out", str(folder)], f"{folder}/a_mask.png is an input; name another folder"),
        ([*arguments[:-1], str(folder / "deeper.png"), "--out", str(tmp_path / "none")], "deeper.png: no picture in this folder"),
    ):
        assert main(wrong) == 1 and message in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_empty_support_is_refused_by_the_server(server, phantom):
    with Client(f"127.0.0.1:{server}", size=(64, 64)) as client, pytest.raises(ServingError, match="no pixel of any shot equals 1"):
        client.set_support([f"{phantom}/images/PHAA_002.png"], [f"{phantom}/masks/PHAA_002.png"])
