"""A folder of small pictures, and a segmenter of a few lines in place of a model."""

import hashlib
import io

import numpy as np
import pytest
from PIL import Image

from panet_keras.annotate.folder import Folder
from panet_keras.annotate.loop import Loop
from panet_keras.annotate.store import Store


class Brightness:
    """Lesion is what is as bright as the supports' lesions: the form of `panet_keras.annotate.model`."""

    name, version, digest, where, presence_threshold, tuned = "brightness", "1", "b", "here", 0.5, None
    size = (32, 32)

    def __init__(self):
        self.encoded, self.supports = 0, []

    def prepare(self, picture):
        return Image.fromarray(picture).convert("L").resize(self.size[::-1])

    def encode(self, prepared):
        self.encoded += len(prepared)
        return [np.asarray(picture, np.float16).ravel() / 255 for picture in prepared]

    def support(self, pairs):
        self.supports.append(len(pairs))
        inside = np.concatenate([features.reshape(self.size)[mask > 0] for features, mask in pairs])
        return float(inside.mean())

    def segment(self, level, features):
        far = np.abs(np.stack(features).reshape(-1, *self.size).astype(np.float32) - level)
        return 1 / (1 + np.exp(40 * (far - 0.1)))

    def fit_threshold(self, lesions, normals):
        return (min(lesions) + max(normals)) / 2 if normals else min([self.presence_threshold, *lesions])

    def grad_cam(self, pictures, masks, picture):
        return np.ones(picture.shape[:2], np.float32)


def square(size, y, x, side=16, value=1):
    mask = np.zeros(size, np.uint8)
    mask[y : y + side, x : x + side] = value
    return mask


def png(mask):
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def pictures(tmp_path):
    """`a_1.png` ... `a_6.png` of 48 x 64, a dark square of 16 x 16 in all but a_6; `broken.png`; and the place
    of each square, by name."""
    folder, places = tmp_path / "pictures", {}
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(1, 7):
        image = rng.integers(180, 200, (48, 64), np.uint8)
        name = f"a_{number}.png"
        if number < 6:
            places[name] = (4 * number, 6 * number)
            image[square(image.shape, *places[name]) > 0] = 40
        Image.fromarray(image).save(folder / name)
    (folder / "broken.png").write_bytes((folder / "a_1.png").read_bytes()[:200])
    before = {path.name: hashlib.sha256(path.read_bytes()).digest() for path in folder.iterdir()}
    yield folder, places
    assert before == {path.name: hashlib.sha256(path.read_bytes()).digest() for path in folder.iterdir()}


@pytest.fixture
def opened(pictures, tmp_path):
    """(`Store`, `Folder`, `Loop` with `Brightness`, frames by name, events)."""
    events = []
    store = Store(tmp_path / "out")
    folder = Folder(pictures[0], out=tmp_path / "out", salt="salt")
    store.take(folder.frames)
    loop = Loop(store, folder, events.append)
    loop.use(Brightness())
    yield store, folder, loop, {frame.name: frame for frame in folder.frames.values()}, events
    store.close()
