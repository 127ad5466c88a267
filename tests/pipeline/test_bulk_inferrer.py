"""A folder of pictures: the same masks in this process and on a Beam runner, and no work done twice."""

import csv
import shutil

import numpy as np
import pytest
from PIL import Image

from panet_keras.data import load_bus_uclm
from pipeline.__main__ import main


@pytest.fixture
def saved(model, tmp_path):
    model.save(tmp_path / "model.keras")
    return tmp_path / "model.keras"


@pytest.fixture
def folder(phantom, tmp_path):
    """Pictures in two folders, two of one stem, one of them broken."""
    folder = tmp_path / "query"
    (folder / "deep").mkdir(parents=True)
    images = sorted((phantom / "images").iterdir())
    shutil.copy(images[0], folder / "a.png")
    Image.open(images[1]).convert("L").save(folder / "a.jpg")
    shutil.copy(images[2], folder / "deep" / "b.png")
    (folder / "c.png").write_bytes(images[0].read_bytes()[:300])
    (folder / "notes.txt").write_text("no picture")
    return folder


def test_same_masks_on_every_engine(saved, folder, phantom, tmp_path, capsys):
    lesion = next(record for record in load_bus_uclm(phantom) if record.label == "Benign" and record.patient == "PHAA")
    command = ["infer", "--model", str(saved), "--support", f"{lesion.image}={lesion.masks[0]}", "--query", str(folder)]
    found = {}
    beam = ["--beam_runner", "DirectRunner", "--beam_option=--direct_running_mode=in_memory"]
    for name, engine in (("here", []), ("beam", beam)):
        out = tmp_path / name
        assert main([*command, "--out", str(out), *engine]) == 1
        assert "4 pictures, 1 of them unreadable" in capsys.readouterr().out
        rows = list(csv.DictReader((out / "predictions.csv").open()))
        assert [row["file"] for row in rows] == ["a.jpg", "a.png", "c.png", "deep/b.png"]
        assert "c.png: cannot be decoded" in rows[2]["error"] and 0 <= float(rows[1]["presence"]) <= 1
        masks = {str(path.relative_to(out)): np.array(Image.open(path)) for path in out.rglob("*_mask.png")}
        assert sorted(masks) == ["a.jpg_mask.png", "a.png_mask.png", "deep/b.png_mask.png"]
        assert float(rows[3]["area"]) == pytest.approx((masks["deep/b.png_mask.png"] > 0).mean(), abs=1e-8)
        assert not list(out.rglob(".*"))
        found[name] = rows, masks
    assert found["here"][0] == found["beam"][0]
    for name, mask in found["here"][1].items():
        np.testing.assert_array_equal(mask, found["beam"][1][name])

    # Asked again, it goes on: what is there is not segmented a second time, and the mended picture is.
    (tmp_path / "here" / "a.png_mask.png").write_bytes(b"kept")
    shutil.copy(folder / "a.png", folder / "c.png")
    assert main([*command, "--out", str(tmp_path / "here")]) == 0
    assert (tmp_path / "here" / "a.png_mask.png").read_bytes() == b"kept"
    assert (tmp_path / "here" / "c.png_mask.png").is_file()

    # Another support must not mix in, and neither must foreign files.
    other = [*command, "--support", f"{lesion.image}={lesion.masks[0]}"]
    assert main([*other, "--out", str(tmp_path / "here")]) == 1
    assert "another model or support" in capsys.readouterr().err
    assert main([*command, "--out", str(folder)]) == 1
    assert "files of something else" in capsys.readouterr().err
    assert main(["infer", "--support", "x.png=y.png", "--query", str(tmp_path / "beam" / "deep" / "no"), "--out", "o"]) == 1
    assert "no picture in it" in capsys.readouterr().err
    # A support that is not there is one mistake, not one for each picture, and nothing is written for it.
    missing = ["infer", "--model", str(saved), "--support", f"{tmp_path}/no.png=y.png", "--query", str(folder)]
    assert main([*missing, "--out", str(tmp_path / "never")]) == 1
    assert "no.png: no such file" in capsys.readouterr().err and not (tmp_path / "never").exists()
    assert main(["infer", "--support", "x.png", "--query", str(folder), "--out", "o"]) == 1
    assert "--support x.png: expected IMAGE=MASK" in capsys.readouterr().err
