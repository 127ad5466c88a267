import csv
import shutil

import numpy as np
import pytest
from PIL import Image

from panet_keras.__main__ import main


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("keras") / "model.keras"
    model.save(path)
    return str(path)


@pytest.fixture
def common(saved, phantom):
    support = f"{phantom}/images/PHAA_000.png={phantom}/masks/PHAA_000.png"
    return ["--model", saved, "--support", support, "--size", "64", "64"]


@pytest.fixture
def folder(phantom, tmp_path):
    """Two pictures, one of them in a sub-folder, a broken one, and what is no query."""
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    for name, place in (("PHAA_001.png", ""), ("PHAC_000.png", ""), ("PHAC_001.png", "deep")):
        shutil.copy(f"{phantom}/images/{name}", folder / place)
    (folder / "PHAC_000.png").write_bytes(b"cut off")
    (folder / "notes.txt").write_text("no picture")
    (folder / "._PHAA_001.png").write_bytes(b"of a Mac")
    return folder


def names(out):
    return sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())


def test_segment_and_explain_write_pictures(common, phantom, tmp_path, capsys):
    command = [*common, "--query", f"{phantom}/images/PHAC_001.png"]
    assert main(["segment", *command, "--out", str(tmp_path / "masks")]) is None
    mask = np.asarray(Image.open(tmp_path / "masks" / "PHAC_001_mask.png"))
    assert mask.shape == (96, 128) and set(np.unique(mask)) <= {0, 255}
    assert np.asarray(Image.open(tmp_path / "masks" / "PHAC_001_overlay.png")).shape == (96, 128, 3)
    explain = ["explain", *command, "--out", str(tmp_path / "cam")]
    assert main(explain) is None
    # At the pictures' own size: query, support, and the scale.
    height, width, _ = np.asarray(Image.open(tmp_path / "cam" / "PHAC_001_gradcam.png")).shape
    assert height == 96 and width > 2 * 128
    capsys.readouterr()
    assert main(explain) == 1 and "PHAC_001_gradcam.png: there already" in capsys.readouterr().err


def test_mistakes_end_with_one_line(saved, phantom, tmp_path, capsys):
    image, normal = f"{phantom}/images/PHAA_000.png", f"{phantom}/masks/PHAA_002.png"
    for model, support, message in (
        ("nowhere.keras", f"{image}={normal}", "nowhere.keras: no such file"),
        (saved, image, "expected IMAGE=MASK"),
        (saved, f"{image}={normal}", "no foreground pixel"),
    ):
        assert (
            main(
                ["segment", "--model", model, "--support", support, "--query", image, "--out", str(tmp_path)]
            )
            == 1
        )
        assert message in capsys.readouterr().err
    assert main(["segment", "--query", image, "--out", str(tmp_path)]) == 1
    assert "no annotated picture; expected --support IMAGE=MASK, or --support-dir" in capsys.readouterr().err
    assert not names(tmp_path)


def test_without_a_model_the_shipped_preset_is_used(phantom, tmp_path, capsys):
    support = f"{phantom}/images/PHAA_000.png={phantom}/masks/PHAA_000.png"
    query = f"{phantom}/images/PHAC_001.png"
    assert main(["segment", "--support", support, "--query", query, "--out", str(tmp_path)]) is None
    assert np.asarray(Image.open(tmp_path / "PHAC_001_mask.png")).shape == (96, 128)
    other = ["--support", support, "--query", query, "--out", str(tmp_path / "other")]
    assert main(["segment", "--model", "bus_uclm_lite9", *other]) == 1
    assert (
        "preset 'bus_uclm_lite9' is unknown; expected one of ['bus_multi_lite0', 'bus_multi_lite2', 'bus_uclm_lite0']"
        in capsys.readouterr().err
    )
    # More than any presence: nothing is marked.
    assert main(["segment", "--presence-threshold", "1", *other]) is None
    assert not np.asarray(Image.open(tmp_path / "other" / "PHAC_001_mask.png")).any()


def test_a_folder_is_segmented_past_a_broken_picture(common, folder, tmp_path, capsys):
    out, table = tmp_path / "out", tmp_path / "tables" / "masks.csv"
    command = [
        "segment",
        *common,
        "--query",
        str(folder),
        "--recursive",
        "--csv",
        str(table),
        "--out",
        str(out),
    ]
    assert main(command) == 1
    written = [f"{stem}_{kind}.png" for stem in ("PHAA_001", "deep/PHAC_001") for kind in ("mask", "overlay")]
    assert names(out) == written
    error = capsys.readouterr().err
    assert "not segmented: 1 .txt (notes.txt), 1 hidden or system file (._PHAA_001.png)" in error
    assert (
        "PHAC_000.png: not a picture" in error
        and "1 picture(s) could not be read; all others are done" in error
    )
    rows = list(csv.DictReader(table.open()))
    assert [row["file"] for row in rows] == ["PHAA_001.png", "PHAC_000.png", "deep/PHAC_001.png"]
    assert [bool(row["error"]) for row in rows] == [False, True, False]
    mask = np.asarray(Image.open(out / "deep" / "PHAC_001_mask.png")) > 0
    assert (
        float(rows[2]["area"]) == pytest.approx(mask.mean(), abs=1e-8)
        and 0 <= float(rows[2]["presence"]) <= 1
    )


def test_an_interrupted_run_leaves_the_table_of_what_is_done(common, folder, tmp_path, monkeypatch):
    from panet_keras.commands import answer

    write, done = answer.write_answer, []

    def interrupted(*given):
        if done:
            raise KeyboardInterrupt
        done.append(write(*given))
        return done[0]

    monkeypatch.setattr(answer, "write_answer", interrupted)
    out, table = tmp_path / "out", tmp_path / "masks.csv"
    assert main(["segment", *common, "--query", str(folder), "--csv", str(table), "--out", str(out)]) == 130
    assert [row["file"] for row in csv.DictReader(table.open())] == ["PHAA_001.png"]
    assert names(out) == ["PHAA_001_mask.png", "PHAA_001_overlay.png"]


def test_nothing_of_the_users_is_replaced(common, folder, phantom, tmp_path, capsys):
    out = tmp_path / "out"
    (folder / "PHAC_000.png").unlink()
    command = ["segment", *common, "--query", str(folder), "--out", str(out)]
    assert main(command) is None
    corrected = out / "PHAA_001_mask.png"
    shutil.copy(f"{phantom}/masks/PHAA_001.png", corrected)
    content = corrected.read_bytes()
    capsys.readouterr()
    assert main(command) == 1 and "PHAA_001_mask.png" in capsys.readouterr().err
    as_support = ["--support", f"{folder}/PHAA_001.png={corrected}", "--overwrite"]
    assert main([*command, *as_support]) == 1
    assert "PHAA_001_mask.png: given as an input" in capsys.readouterr().err
    assert corrected.read_bytes() == content
    assert main([*command, "--overwrite"]) is None
    assert corrected.read_bytes() != content


def test_two_pictures_of_one_name_are_found_before_the_first(common, folder, phantom, tmp_path, capsys):
    shutil.copy(f"{phantom}/images/PHAA_001.png", folder / "PHAA_001.jpg")
    assert main(["segment", *common, "--query", str(folder), "--out", str(tmp_path / "out")]) == 1
    assert "PHAA_001.jpg and" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_explain_goes_past_a_broken_query_and_says_what_a_map_means(
    tiny_encoder, common, folder, tmp_path, capsys
):
    from panet_keras import PANet

    # Matching by cosine finds nothing in a black picture, of which this encoder has no features.
    PANet(tiny_encoder()).save(tmp_path / "paper.keras")
    Image.new("RGB", (50, 70)).save(folder / "black.png")
    out = tmp_path / "cam"
    assert (
        main(
            [
                "explain",
                *common,
                "--model",
                str(tmp_path / "paper.keras"),
                "--query",
                str(folder),
                "--out",
                str(out),
            ]
        )
        == 1
    )
    assert names(out) == ["PHAA_001_gradcam.png", "black_gradcam.png"]
    said = capsys.readouterr()
    assert (
        "PHAC_000.png: not a picture" in said.err
        and "1 picture(s) could not be read; all others are done" in said.err
    )
    line = next(line for line in said.out.splitlines() if "black.png" in line)
    assert "no lesion was predicted: the query's map is of the whole frame" in line
    assert "nothing contributed on the query" in line
    # A map of nothing leaves its picture as it is.
    assert not np.asarray(Image.open(out / "black_gradcam.png"))[:70, :50].any()
