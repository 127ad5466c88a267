"""The report's parts on small inputs, without a run."""

import base64
import io

import numpy as np
from PIL import Image

from pipeline.report import figures
from pipeline.report.html import render


def pixels(uri):
    return np.array(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB")).astype(
        int
    )


def test_one_epoch_is_a_point_and_not_an_empty_axis():
    picture = pixels(figures.curves([{"step": 100, "loss": 0.7, "dice": 0.5}]))
    # #0a7a3d, the colour of the Dice, in the right half; nothing else is green.
    green = (abs(picture - [0x0A, 0x7A, 0x3D]) < 12).all(-1)
    assert green.sum() > 20 and np.argwhere(green)[:, 1].min() > picture.shape[1] / 2


def test_texts_are_escaped_as_html_and_otherwise_left_as_they_are():
    item = {"mask": "data:m", "grad_cam": "data:g", "caption": "best: Läsion <b>超音波</b>.png, Dice 0.800"}
    page = render("gallery.html", gallery=[item], repeats=1)
    assert page.count("<figcaption>best: Läsion &lt;b&gt;超音波&lt;/b&gt;.png, Dice 0.800</figcaption>") == 2
    assert "support set" in " ".join(page.split()) and "support sets" not in page
