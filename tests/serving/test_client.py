import concurrent.futures
import csv
import shutil

import grpc
import numpy as np
import pytest
from PIL import Image

from serving.client import Client, ServingError, main, read_tensor, write_tensor
from serving.commands.provenance import read_provenance
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
        np.testing.assert_allclose(
            enlarge(small, size), tf.image.resize(small[..., None], size)[..., 0], atol=1e-5
        )


@pytest.mark.parametrize(
    "value",
    [
        np.arange(6, dtype="float32").reshape(2, 3),
        np.arange(6, dtype=">f4").reshape(2, 3)[:, ::2],
        np.array([[1, 255]], "uint8"),
        np.array([[b"a", b""]], object),
    ],
)
def test_tensors_cross_the_wire_and_are_tensorflow_s(value):
    import tensorflow as tf

    ours = wire_pb2.Tensor()
    write_tensor(ours, value)
    np.testing.assert_array_equal(read_tensor(ours), value)
    theirs = type(tf.make_tensor_proto(0)).FromString(ours.SerializeToString())
    np.testing.assert_array_equal(tf.make_ndarray(theirs), value)
    # TensorFlow writes another order's bytes as they are.
    native = value.astype(value.dtype.newbyteorder("="))
    back = wire_pb2.Tensor.FromString(tf.make_tensor_proto(native).SerializeToString())
    np.testing.assert_array_equal(read_tensor(back), value)


def test_texts_keep_every_byte_and_objects_are_no_zeros():
    """numpy strips zero bytes off texts, and bytes(5) are five of them."""
    tensor = wire_pb2.Tensor()
    write_tensor(tensor, [[b"ab\0\0", b"\0"]])
    assert list(tensor.string_val) == [b"ab\0\0", b"\0"] and [d.size for d in tensor.tensor_shape.dim] == [
        1,
        2,
    ]
    for wrong in (np.array([5], object), [b"a", 5], [b"a", None]):
        with pytest.raises(
            ValueError, match="found (int|NoneType) in an array of objects; expected bytes or text"
        ):
            write_tensor(wire_pb2.Tensor(), wrong)


def test_types_of_other_models_are_read_or_named():
    import tensorflow as tf

    def received(value, **options):
        return wire_pb2.Tensor.FromString(tf.make_tensor_proto(value, **options).SerializeToString())

    for dtype in ("int16", "uint16", "float16", "uint32", "uint64"):
        value = np.array([[1, 2, 3]], dtype)
        np.testing.assert_array_equal(read_tensor(received(value)), value)
        assert read_tensor(received(value)).dtype == dtype
    np.testing.assert_array_equal(read_tensor(received([7], dtype=tf.uint16, shape=[3])), [7, 7, 7])
    for value in (np.array(1, "float16"), np.array([1j, 2])):
        with pytest.raises(
            ValueError, match="DataType (19|18), which this client does not read.*output_filter"
        ):
            read_tensor(received(value))


def test_same_answers_as_the_segmenter(server, model, phantom):
    from panet_keras import FewShotSegmenter

    image, mask, query = (
        f"{phantom}/{name}" for name in ("images/PHAA_000.png", "masks/PHAA_000.png", "images/PHAC_001.png")
    )
    local = FewShotSegmenter(model, (64, 64)).set_support([image], [mask]).predict(query)
    with Client(f"127.0.0.1:{server}", size=(64, 64)) as client:
        served = client.set_support([image], [mask]).predict(query)
    np.testing.assert_allclose(served.probability, local.probability, atol=1e-4)
    assert served.mask.shape == (96, 128) and (served.mask != local.mask).mean() < 1e-3
    np.testing.assert_allclose(served.presence, local.presence, atol=1e-3)


def test_command_line_writes_masks(server, phantom, tmp_path, capsys):
    support = f"{phantom}/images/PHAA_000.png={phantom}/masks/PHAA_000.png"
    queries = [f"{phantom}/images/PHAC_00{i}.png" for i in (0, 1)]
    arguments = [
        "segment",
        "--server",
        f"127.0.0.1:{server}",
        "--support",
        support,
        "--query",
        *queries,
        "--size",
        "64",
        "64",
    ]
    assert main([*arguments, "--out", str(tmp_path / "out")]) is None
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        f"PHAC_00{i}_{what}.png" for i in (0, 1) for what in ("mask", "overlay")
    ]
    assert np.asarray(Image.open(tmp_path / "out" / "PHAC_000_mask.png")).shape == (96, 128)
    wrong = [
        "segment",
        "--server",
        "127.0.0.1:1",
        "--support",
        support,
        "--query",
        *queries,
        "--out",
        str(tmp_path / "none"),
    ]
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
        with (
            Client(f"127.0.0.1:{server}", options=options) as client,
            pytest.raises(ServingError, match="RESOURCE_EXHAUSTED"),
        ):
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
    none = ["--out", str(tmp_path / "none")]
    for wrong, message in (
        ([*arguments, "--support", mine, "--out", str(folder)], f"{folder}/a_mask.png: given as an input"),
        ([*arguments[:-1], str(folder / "deeper.png"), *none], "deeper.png: no picture in it"),
        ([*arguments, "--out", str(tmp_path / "out")], "a_mask.png, "),  # there already
        (
            [*arguments, "--support_set", "kept", *none],
            "give it, or --support, --support-dir and --normal, not both",
        ),
        ([*arguments[:3], *arguments[5:], *none], "no annotated picture; expected --support IMAGE=MASK"),
    ):
        assert main(wrong) == 1 and message in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_a_support_folder_with_normal_frames_is_the_segmenter_s(server, model, phantom, tmp_path, capsys):
    """A picture with two masks and a normal frame, from a folder; a broken query is named, and the others are
    done."""
    from panet_keras import FewShotSegmenter
    from panet_keras.commands.arguments import Support
    from panet_keras.commands.provenance import of_run

    folder, query = tmp_path / "support", tmp_path / "query"
    for place in (folder / "normals", query / "deep"):
        place.mkdir(parents=True)
    shutil.copy(phantom / "images" / "PHAA_000.png", folder / "a.png")
    mask = np.asarray(Image.open(phantom / "masks" / "PHAA_000.png").convert("L")) > 0
    top = np.zeros_like(mask)
    top[: np.flatnonzero(mask.any(1)).mean().astype(int)] = True
    for number, part in enumerate((mask & top, mask & ~top), 1):
        assert part.any()
        Image.fromarray(part).save(folder / f"a_mask_{number}.png")
    normal = folder / "normals" / "n.png"
    shutil.copy(phantom / "images" / "PHAA_002.png", normal)
    shutil.copy(phantom / "images" / "PHAC_001.png", query / "deep")
    (query / "broken.png").write_bytes(b"cut off")

    local = FewShotSegmenter(model, (64, 64)).set_support(
        [str(folder / "a.png")], [mask], normals=[str(normal)]
    )
    expected = local.predict(str(query / "deep" / "PHAC_001.png"))
    without = local.set_support([str(folder / "a.png")], [mask]).predict(str(query / "deep" / "PHAC_001.png"))
    assert np.abs(expected.probability - without.probability).max() > 1e-3
    with Client(f"127.0.0.1:{server}") as client:
        served = client.set_support([str(folder / "a.png")], [mask], normals=[str(normal)]).predict(
            query / "deep" / "PHAC_001.png"
        )
    np.testing.assert_allclose(served.probability, expected.probability, atol=1e-4)

    table, out = tmp_path / "tables" / "t.csv", tmp_path / "out"
    command = [
        "segment",
        "--server",
        f"127.0.0.1:{server}",
        "--support-dir",
        str(folder),
        "--query",
        str(query),
        "--recursive",
    ]
    assert main([*command, "--csv", str(table), "--out", str(out)]) == 1
    error = capsys.readouterr().err
    assert (
        "broken.png: not a picture" in error
        and "1 picture(s) could not be read; all others are done" in error
    )
    rows = list(csv.DictReader(table.open()))
    assert [(row["file"], bool(row["error"])) for row in rows] == [
        ("broken.png", True),
        ("deep/PHAC_001.png", False),
    ]
    assert float(rows[1]["presence"]) == pytest.approx(served.presence, abs=1e-5)
    masks = tuple(str(folder / f"a_mask_{number}.png") for number in (1, 2))
    support = Support((str(folder / "a.png"),), (masks,), (str(normal),))
    told = read_provenance(out / "deep" / "PHAC_001_mask.png")
    assert told.pop("presence") == pytest.approx(served.presence, abs=1e-5) and len(rows[1]["answer"]) == 36
    assert told == {
        "id": rows[1]["answer"],
        "model": "panet",
        "model_version": "1",
        "presence_threshold": 0.0,
        "supports": ["a.png"],
        "support_digest": of_run(local, None, support)["support_digest"],
    }
    found = np.asarray(Image.open(out / "deep" / "PHAC_001_mask.png")) > 0
    np.testing.assert_array_equal(found, served.mask)
    assert float(rows[1]["area"]) == pytest.approx(found.mean(), abs=1e-8)
    # Asked again with a threshold above any presence; outputs of before are replaced where that is said.
    (query / "broken.png").unlink()
    again = [*command, "--presence-threshold", "1", "--csv", str(table), "--out", str(out)]
    assert main(again) == 1 and "--overwrite" in capsys.readouterr().err
    assert main([*again, "--overwrite"]) is None
    assert not np.asarray(Image.open(out / "deep" / "PHAC_001_mask.png")).any()


class Pushed(grpc.GenericRpcHandler):
    """A model server whose versions come and go, and refuse each other's states."""

    serves = (1,)

    def service(self, call):
        return grpc.unary_unary_rpc_method_handler(
            self.predict, wire_pb2.PredictRequest.FromString, wire_pb2.PredictResponse.SerializeToString
        )

    def predict(self, request, context):
        spec, answer = request.model_spec, wire_pb2.PredictResponse()
        number = spec.version.value or max(self.serves)
        if number not in self.serves:
            context.abort(grpc.StatusCode.NOT_FOUND, f"Specific(panet, {number})")
        outputs = {"probabilities": np.zeros((1, 1, 8, 8, 2), np.float32), "made_by": np.array([number])}
        if "made_by" in request.inputs and read_tensor(request.inputs["made_by"]) != [number]:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the support state is of another model")
        for name, value in outputs.items():
            write_tensor(answer.outputs[name], value)
        answer.model_spec.version.value = number
        return answer


def test_a_new_version_takes_no_support_away_while_the_old_one_serves():
    model, picture = Pushed(), np.zeros((8, 8), np.uint8)
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(1), handlers=[model])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    asked = ([picture], [np.ones((8, 8), bool)])
    with (
        Client(f"127.0.0.1:{port}", size=(8, 8)) as client,
        Client(f"127.0.0.1:{port}", size=(8, 8), version_label="stable") as labelled,
    ):
        for one in (client, labelled):
            one.set_support(*asked, normals=None)  # the segmenter takes None, too
        model.serves = (1, 2)
        client.predict(picture)
        assert client.answered == 1
        with pytest.raises(ServingError, match="of another model"):  # a label says who answers
            labelled.predict(picture)
        model.serves = (2,)
        with pytest.raises(ServingError, match="encoded by version 1, which is gone; call set_support again"):
            client.predict(picture)
        client.set_support(*asked).predict(picture)
        assert client.answered == 2
        client.use_support_set("kept").predict(picture)
        model.serves = (3,)
        client.predict(picture)
        assert client.answered == 3
    server.stop(0)


class Choosy(Pushed):
    """Refuses the second picture, and is gone at the fourth."""

    def predict(self, request, context):
        number = self.asked = getattr(self, "asked", -1) + 1
        if number == 2:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "[query_bytes: PNG of more than] [1000] [parts]")
        if number == 4:
            self.serves = ()
        return super().predict(request, context)


def test_one_refused_picture_ends_nothing_and_what_is_done_is_in_the_table(tmp_path, capsys):
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(1), handlers=[Choosy()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    folder, table = tmp_path / "query", tmp_path / "t.csv"
    folder.mkdir()
    for place in (*(folder / f"{name}.png" for name in "abcde"), tmp_path / "s.png", tmp_path / "s_mask.png"):
        Image.fromarray(np.full((8, 8), 255, np.uint8)).save(place)
    pair = f"{tmp_path / 's.png'}={tmp_path / 's_mask.png'}"
    command = ["segment", "--server", f"127.0.0.1:{port}", "--size", "8", "8", "--support", pair]
    command += ["--query", str(folder), "--csv", str(table), "--out", str(tmp_path / "out")]
    assert main(command) == 1 and "version 1, which is gone" in capsys.readouterr().err
    rows = list(csv.DictReader(table.open()))
    assert [(row["file"], row["error"].partition(" answered ")[2]) for row in rows] == [
        ("a.png", ""),
        ("b.png", "INVALID_ARGUMENT: [query_bytes: PNG of more than] [1000] [parts]"),
        ("c.png", ""),
    ]
    assert {path.name for path in (tmp_path / "out").glob("*_mask.png")} == {"a_mask.png", "c_mask.png"}
    server.stop(0)


def test_an_empty_mask_is_refused_here_and_by_the_server(server, phantom, episode):
    image, empty = f"{phantom}/images/PHAA_002.png", f"{phantom}/masks/PHAA_002.png"
    support = episode()[0]
    with Client(f"127.0.0.1:{server}", size=(64, 64)) as client:
        with pytest.raises(ValueError, match="support shot 1: its mask has no foreground pixel.*in normals"):
            client.set_support(
                [f"{phantom}/images/PHAA_000.png", image], [f"{phantom}/masks/PHAA_000.png", empty]
            )
        frame = np.zeros((90, 120, 3), np.uint8)
        for wrong in (
            ([image], [empty], image),
            (image, [empty]),
            ([image], empty),
            ([image], [empty], frame),
        ):
            with pytest.raises(ValueError, match="expects a list of images, of masks and of normals"):
                client.set_support(*wrong)
        with pytest.raises(ServingError, match="no pixel of any shot equals 1"):
            client.call(
                "encode_support",
                {
                    "support_images": support["support_images"],
                    "support_masks": np.zeros_like(support["support_masks"]),
                },
            )
