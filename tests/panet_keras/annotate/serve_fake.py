"""The page's server with a segmenter of a few lines, as a process that a test may kill:
`python -m tests.panet_keras.annotate.serve_fake PICTURES OUTPUT PORT`. No TensorFlow."""

import pathlib
import sys
import time
import types

import numpy as np
from scipy import ndimage

if __name__ == "__main__":
    # Started as the command line is, which does without TensorFlow (panet_keras/__init__.py).
    __spec__ = types.SimpleNamespace(name="panet_keras.__main__")

from panet_keras.annotate import server  # noqa: E402
from tests.panet_keras.annotate.conftest import Brightness  # noqa: E402


class Blurred(Brightness):
    """As `Brightness`, of pictures with speckle, with a person's time between two batches."""

    size = (64, 64)

    def __init__(self, seconds=0.0):
        super().__init__()
        self.seconds = seconds

    def encode(self, pictures):
        small = [features.reshape(self.size).astype(np.float32) for features in super().encode(pictures)]
        return [ndimage.gaussian_filter(each, 2).astype(np.float16).ravel() for each in small]

    def segment(self, level, features):
        time.sleep(self.seconds)
        return super().segment(level, features)

    def grad_cam(self, pictures, masks, picture):
        height, width = picture.shape[:2]
        y, x = np.mgrid[:height, :width]
        return np.exp(-((y / height - 0.5) ** 2 + (x / width - 0.5) ** 2) * 20).astype(np.float32)


if __name__ == "__main__":
    pictures, output, port, *seconds = sys.argv[1:]
    server.serve(
        server.open_folder(pathlib.Path(pictures), pathlib.Path(output)),
        lambda: Blurred(*map(float, seconds)),
        port=int(port),
        browser=False,
    )
