"""The shipped preset gives one answer, whichever door is asked: segmenter, graph, client, command line,
REST."""

import base64
import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from panet_keras import FewShotSegmenter, presets
from panet_keras.__main__ import main as command
from serving.api.rest import create_rest_server
from serving.client import Client, main
from serving.models.model_manager import ModelManager
from serving.models.server_core import ServerCore
from serving.models.support_sets import SupportSets
from serving.server import create_server


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    """The shipped preset with a stricter threshold, which decides on more pictures."""
    folder = tmp_path_factory.mktemp("shipped") / "strict"
    shutil.copytree(presets.FOLDER / presets.DEFAULT, folder)
    preset = json.loads((folder / "preset.json").read_text("utf-8"))
    (folder / "preset.json").write_text(json.dumps({**preset, "presence_threshold": 0.9}), "utf-8")
    return folder


@pytest.fixture(scope="module")
def segmenter(shipped, phantom):
    return FewShotSegmenter(shipped).set_support(
        [f"{phantom}/images/PHAA_000.png"], [f"{phantom}/masks/PHAA_000.png"]
    )


@pytest.fixture(scope="module")
def preset(shipped, phantom, tmp_path_factory):
    """Base path with the preset as version 1, and ports of its gRPC and REST servers, which keep the support
    as set "kept"."""
    from serving.api.prediction_service import PredictionService

    folder = tmp_path_factory.mktemp("preset")
    (folder / "sets" / "kept").mkdir(parents=True)
    for kind, name in (("images", "a.png"), ("masks", "a_mask.png")):
        (folder / "sets" / "kept" / name).write_bytes((phantom / kind / "PHAA_000.png").read_bytes())
    base = folder / "panet"
    assert not command(["export", "--model", str(shipped), "--out", str(base / "1")])
    manager = ModelManager("panet", base, 0, on_load=SupportSets(folder / "sets").encode).start()
    service = PredictionService(ServerCore([manager]))
    server, port = create_server(service, "127.0.0.1", 0)
    rest, rest_port = create_rest_server(service, "127.0.0.1", 0)
    yield base, port, rest_port
    rest.shutdown()
    server.stop(0)


@pytest.fixture(scope="module")
def queries(phantom, tmp_path_factory):
    """A frame with a lesion, and one so dark that only the threshold keeps the model from marking
    something."""
    lesion = phantom / "images" / "PHAC_001.png"
    dark = tmp_path_factory.mktemp("queries") / "dark.png"
    Image.fromarray(np.rint(0.07 * np.asarray(Image.open(lesion).convert("RGB"))).astype(np.uint8)).save(dark)
    return {"lesion": str(lesion), "dark": str(dark)}


@pytest.mark.parametrize(("name", "marked"), [("lesion", True), ("dark", False)])
def test_one_model_gives_one_answer(segmenter, preset, queries, phantom, ask, tmp_path, name, marked):
    base, port, rest_port = preset
    query = queries[name]
    expected = segmenter.predict(query)
    threshold = segmenter.presence_threshold
    assert (
        expected.mask.any() == marked == (expected.presence >= threshold > 0)
        and (expected.probability > 0.5).any()
    )

    support = [f"{phantom}/images/PHAA_000.png"], [f"{phantom}/masks/PHAA_000.png"]
    with Client(f"127.0.0.1:{port}") as client:
        assert client.size == segmenter.size == (256, 256)
        for asked in (
            client.set_support(*support).predict(query),
            client.use_support_set("kept").predict(query),
        ):
            np.testing.assert_allclose(asked.probability, expected.probability, atol=1e-4)
            np.testing.assert_allclose(asked.presence, expected.presence, atol=1e-4)
            assert asked.mask.any() == marked and (asked.mask != expected.mask).mean() < 1e-3
        client.presence_threshold = 0.0
        assert client.predict(query).mask.any()
        client.presence_threshold = 1.0
        assert not client.predict(query).mask.any()

    signatures = tf.saved_model.load(str(base / "1")).signatures
    with Client(f"127.0.0.1:{port}") as client:
        state = client.set_support(*support)._state
    content = open(query, "rb").read()
    answer = signatures["segment_encoded"](
        **{k: tf.constant(v) for k, v in state.items()}, query_bytes=tf.constant([[content]])
    )
    np.testing.assert_allclose(answer["presence"][0, 0, 0], expected.presence, atol=1e-4)
    assert answer["masks"].numpy().any() == marked and answer["presence_threshold"].numpy() == np.float32(
        threshold
    )

    body = {"query_bytes": [[{"b64": base64.b64encode(content).decode()}]], "support_set": ["kept"]}
    code, rest = ask(
        rest_port, "POST", "/v1/models/panet:predict", {"signature_name": "segment_encoded", "inputs": body}
    )
    assert code == 200
    np.testing.assert_array_equal(rest["outputs"]["masks"], answer["masks"])
    np.testing.assert_allclose(rest["outputs"]["presence"], answer["presence"], atol=1e-5)

    arguments = [
        "segment",
        "--server",
        f"127.0.0.1:{port}",
        "--support",
        f"{support[0][0]}={support[1][0]}",
        "--query",
        query,
    ]
    assert main([*arguments, "--out", str(tmp_path)]) is None
    [mask] = tmp_path.glob("*_mask.png")
    assert ((np.asarray(Image.open(mask)) > 0) != expected.mask).mean() < 1e-3


def test_raw_bytes_of_another_kind_get_a_message(preset):
    """What TensorFlow says holds the bytes themselves."""
    from serving.client import ServingError

    _, port, _ = preset
    with (
        Client(f"127.0.0.1:{port}") as client,
        pytest.raises(ServingError, match="INVALID_ARGUMENT") as caught,
    ):
        client.use_support_set("kept")
        client.call(
            "segment_encoded", {**client._state, "query_bytes": np.array([[b"GIF89a\xac\xff"]], object)}
        )
    assert (
        "codec" not in str(caught.value)
        and "GIF" in str(caught.value)
        and "convert it to PNG" in str(caught.value)
    )
