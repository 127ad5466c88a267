import numpy as np
import pytest
from PIL import Image

from panet_keras.__main__ import main


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("keras") / "model.keras"
    model.save(path)
    return str(path)


def test_segment_and_explain_write_pictures(saved, phantom, tmp_path):
    support = f"{phantom}/images/PHAA_000.png={phantom}/masks/PHAA_000.png"
    query = f"{phantom}/images/PHAC_001.png"
    common = ["--model", saved, "--support", support, "--query", query, "--size", "64", "64"]
    assert main(["segment", *common, "--out", str(tmp_path / "masks")]) is None
    mask = np.asarray(Image.open(tmp_path / "masks" / "PHAC_001_mask.png"))
    assert mask.shape == (96, 128) and set(np.unique(mask)) <= {0, 255}
    assert main(["explain", *common, "--out", str(tmp_path / "cam")]) is None
    assert np.asarray(Image.open(tmp_path / "cam" / "PHAC_001_gradcam.png")).shape[0] == 256


def test_mistakes_end_with_one_line(saved, phantom, tmp_path, capsys):
    image, normal = f"{phantom}/images/PHAA_000.png", f"{phantom}/masks/PHAA_002.png"
    for model, support, message in (
        ("nowhere.keras", f"{image}={normal}", "nowhere.keras: no such file"),
        (saved, image, "expected IMAGE=MASK"),
        (saved, f"{image}={normal}", "no foreground pixel"),
    ):
        assert main(["segment", "--model", model, "--support", support, "--query", image, "--out", str(tmp_path)]) == 1
        assert message in capsys.readouterr().err


def test_without_a_model_the_shipped_preset_is_used(phantom, tmp_path, capsys):
    support = f"{phantom}/images/PHAA_000.png={phantom}/masks/PHAA_000.png"
    query = f"{phantom}/images/PHAC_001.png"
    assert main(["segment", "--support", support, "--query", query, "--out", str(tmp_path)]) is None
    assert np.asarray(Image.open(tmp_path / "PHAC_001_mask.png")).shape == (96, 128)
    assert main(["segment", "--model", "bus_uclm_lite9", "--support", support, "--query", query, "--out", str(tmp_path)]) == 1
    assert "preset 'bus_uclm_lite9' is unknown; expected one of ['bus_uclm_lite0']" in capsys.readouterr().err


def test_a_folder_is_segmented_past_a_broken_picture(saved, phantom, tmp_path, capsys):
    import shutil

    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("PHAA_001.png", "PHAC_000.png", "PHAC_001.png"):
        shutil.copy(f"{phantom}/images/{name}", folder)
    (folder / "PHAC_000.png").write_bytes(b"cut off")
    (folder / "notes.txt").write_text("no picture")
    support = f"{phantom}/images/PHAA_000.png={phantom}/masks/PHAA_000.png"
    command = ["segment", "--model", saved, "--support", support, "--query", str(folder), "--size", "64", "64"]
    assert main([*command, "--out", str(tmp_path / "out")]) == 1
    assert sorted(p.name for p in (tmp_path / "out").glob("*_mask.png")) == ["PHAA_001_mask.png", "PHAC_001_mask.png"]
    error = capsys.readouterr().err
    assert (
        "PHAC_000.png: not a picture that can be read" in error and "1 picture(s) could not be read; all others are done" in error
    )
    assert main([*command, "--query", str(folder), f"{phantom}/images/PHAA_001.png", "--out", str(tmp_path / "twice")]) == 1
    assert "PHAA_001.png: its mask would overwrite that of" in capsys.readouterr().err
