"""The annotation page with a served model: the same proposals as with the model here, or words."""

import socket

import numpy as np
import pytest

from panet_keras import FewShotSegmenter, PANetError
from panet_keras.annotate import masks
from panet_keras.annotate.model import LocalModel, ServedModel
from panet_keras.annotate.server import open_folder
from panet_keras.pictures.decode import encode_png

SIZE = (70, 90)


def frames(count):
    rng = np.random.default_rng(3)
    pictures = rng.integers(120, 220, (count, *SIZE, 3), np.uint8)
    pictures[:, 20:45, 30:60] //= 4
    mask = np.zeros(SIZE, np.uint8)
    mask[20:45, 30:60] = 1
    return pictures, mask


def test_a_served_model_proposes_what_the_model_here_proposes(server, model, tmp_path):
    pictures, mask = frames(4)
    (tmp_path / "in").mkdir()
    for number, picture in enumerate(pictures):
        (tmp_path / "in" / f"{number}.png").write_bytes(encode_png(picture))
    served = ServedModel(f"127.0.0.1:{server}")
    here = LocalModel(FewShotSegmenter(model, size=served.size, presence_threshold=0.0), "here")
    assert (served.where, served.name, served.version) == (f"127.0.0.1:{server}", "panet", "1")
    assert served.presence_threshold == here.presence_threshold
    found = {}
    for each in (served, here):
        store, folder, loop = open_folder(tmp_path / "in", tmp_path / each.name, say=lambda line: None)
        loop.use(each)
        first, *others = folder.frames.values()
        store.stroke(first, masks.encode(mask), store.version(first))
        store.decide(first, "accepted", store.version(first))
        loop.propose(first)
        while loop.work():
            pass
        found[each.name] = [loop.probability(frame) for frame in others]
        assert [store.state(frame) for frame in others] == ["proposed"] * 3
        assert store.made_with(others[0])[0]["digest"] == each.digest
        # Its second look would cost a server that others wait for encoder and decoder again.
        assert (store.proposal(others[0]).mirrored is None) == (each is served)
        loop.stop()
        store.close()
    # Pictures, and features, are kept in half precision.
    np.testing.assert_allclose(found["panet"], found["here"], atol=5e-3)


def test_where_no_model_is_served(server):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = f"127.0.0.1:{probe.getsockname()[1]}"
        with pytest.raises(PANetError, match=f"{free} answered UNAVAILABLE.*Is the server running there"):
            ServedModel(free, timeout=5)
    with pytest.raises(PANetError, match="NOT_FOUND.*a model other"):
        ServedModel(f"127.0.0.1:{server}", "other")
