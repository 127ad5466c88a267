"""What the commands find, name and refuse before a model is loaded."""

import contextlib
import json
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from panet_keras.checks.keras_settings import check_keras_settings, settings_file
from panet_keras.commands.arguments import read_support_folder, split_pair
from panet_keras.commands.outputs import ENDINGS, plan_outputs
from panet_keras.commands.queries import PICTURES, Query, describe, find_queries, stem_of
from panet_keras.errors import KerasSettingsError, PANetError
from tests.conftest import PROJECT


def write(folder, *names, content=b""):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


@pytest.fixture
def folder(tmp_path):
    """Pictures among everything that lies beside pictures."""
    folder = tmp_path / "scans"
    write(folder, "b.PNG", "a.jpg", "study.dcm", "deep/c.tif", "deep/deeper/d.bmp")
    write(folder, "1.2.840.113", content=bytes(128) + b"DICM")
    write(folder, "._a.jpg", "Thumbs.db", "desktop.ini", "DICOMDIR", ".cache/e.png", "__MACOSX/f.png")
    write(
        folder,
        "a_mask.png",
        "a_mask_2.TIF",
        "a_overlay.png",
        "a_gradcam++.png",
        "out/g.png",
        "Masks/a.png",
        "notes.txt",
        "labels.json",
    )
    return folder


def test_pictures_are_found_by_name_or_content_and_all_else_is_counted(folder):
    queries, skipped = find_queries([folder])
    assert [query.name for query in queries] == ["1.2.840.113", "a.jpg", "b.PNG", "study.dcm"]
    assert [query.stem for query in queries] == ["1.2.840.113", "a", "b", "study"]
    assert {reason: len(names) for reason, names in skipped.items()} == {
        "hidden or system file": 6,
        "mask, overlay or map": 4,
        "folder of masks": 1,
        "sub-folder": 2,
        ".txt": 1,
        ".json": 1,
    }
    assert "1 .txt (notes.txt)" in describe(skipped) and "2 sub-folder (deep, ...)" in describe(skipped)
    queries, skipped = find_queries([folder], recursive=True, out=folder / "out")
    assert [query.name for query in queries][-3:] == ["deep/c.tif", "deep/deeper/d.bmp", "study.dcm"]
    assert skipped["folder of the outputs"] == ["out"]
    # What is named itself is meant, whatever its name; once.
    named = [folder / "a_mask.png", folder / "a_mask.png"]
    assert [query.name for query in find_queries(named)[0]] == ["a_mask.png"]


def test_a_link_that_leads_back_up_ends(folder):
    (folder / "deep" / "up").symlink_to(folder)
    assert len(find_queries([folder], recursive=True)[0]) == 7  # with out/g.png


def test_nothing_to_do_says_what_was_there(tmp_path):
    write(tmp_path, "notes.txt", "deep/a.png")
    with pytest.raises(
        PANetError,
        match=r"no picture in it; expected .bmp.*In it: 1 .txt \(notes.txt\), 1 sub-folder \(deep\).*--recursive",
    ):
        find_queries([tmp_path])
    with pytest.raises(PANetError, match="--query .*x.png, .*y.png: no such file or folder"):
        find_queries([tmp_path / "x.png", tmp_path / "deep", tmp_path / "y.png"])


def test_the_reader_of_folders_knows_no_ending_more():
    from panet_keras.data.readers.folder import SUFFIXES

    assert SUFFIXES <= PICTURES


def queries_of(folder, *names):
    return [Query(folder / name, name) for name in names]


def test_outputs_replace_neither_each_other_nor_inputs_nor_older_ones(tmp_path):
    out = tmp_path / "out"
    pair = queries_of(tmp_path, "a.png", "deep/a.png")
    planned = plan_outputs(pair, out, ENDINGS)
    assert planned[pair[1]] == [out / "deep/a_mask.png", out / "deep/a_overlay.png"]

    clash = queries_of(tmp_path, "a.png", "b.png", "a.jpg", "b.tif")
    with pytest.raises(
        PANetError, match=r"a.png and .*a.jpg would all be written to .*a_mask.png; .*b.png and .*b.tif"
    ):
        plan_outputs(clash, out, ENDINGS, overwrite=True)

    # A corrected mask is given as support; another way to write its path changes nothing, and neither does
    # --overwrite.
    write(out, "a_mask.png")
    corrected = out / ".." / "out" / "a_mask.png"
    for overwrite in (False, True):
        with pytest.raises(PANetError, match="a_mask.png: given as an input"):
            plan_outputs(pair, out, ENDINGS, [corrected], overwrite)
    with pytest.raises(PANetError, match="table.csv: given as an input"):
        plan_outputs(pair, out, ENDINGS, [tmp_path / "table.csv"], True, [tmp_path / "table.csv"])

    write(tmp_path, "table.csv")
    with pytest.raises(PANetError, match="a_mask.png, .*table.csv: there already.*--overwrite"):
        plan_outputs(pair, out, ENDINGS, tables=[tmp_path / "table.csv"])
    with pytest.raises(PANetError, match="a_mask.png: there already"):
        plan_outputs(pair, out, ENDINGS, keep=lambda query: query is pair[1])
    assert (
        plan_outputs(pair, out, ENDINGS, overwrite=True)
        == plan_outputs(pair, out, ENDINGS, keep=lambda query: True)
        == planned
    )
    with pytest.raises(PANetError, match="deep/a_mask.png: a folder, or the place of a mask"):
        plan_outputs(pair, out, ENDINGS, overwrite=True, tables=[out / "deep" / "a_mask.png"])
    with pytest.raises(PANetError, match="--out .*table.csv is a file"):
        plan_outputs(pair, tmp_path / "table.csv", ENDINGS)
    with pytest.raises(PANetError, match="table.csv is a file, and no folder"):
        plan_outputs(pair, tmp_path / "table.csv" / "out", ENDINGS)


def test_no_output_is_another_one_by_another_ending_or_another_way_to_write_it(tmp_path, monkeypatch):
    """`--format nifti` writes x_mask.nii.gz as the mask of x, and as the picture of x_mask; `--format coco` a file
    that may be the table's; a link, or a path that is not relative, is the same file."""
    out = tmp_path / "out"
    endings = (*ENDINGS, "_mask.nii.gz", ".nii.gz")
    with pytest.raises(PANetError, match="x.png and .*x_mask.png would all be written to .*x_mask.nii.gz"):
        plan_outputs(queries_of(tmp_path, "x.png", "x_mask.png"), out, endings)
    pair = queries_of(tmp_path, "a.png", "b.png")
    with pytest.raises(PANetError, match="annotations.json: .*or of another table"):
        plan_outputs(pair, out, ENDINGS, tables=[out / "annotations.json", out / "annotations.json"])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PANetError, match="a_mask.png: .*the place of a mask"):
        plan_outputs(pair, "out", ENDINGS, tables=[out / "a_mask.png"])


def test_an_equals_sign_may_be_part_of_a_name(tmp_path):
    write(tmp_path, "k=1.png", "k=1_mask.png")
    image, mask = f"{tmp_path}/k=1.png", f"{tmp_path}/k=1_mask.png"
    assert split_pair(f"{image}={mask}") == (image, mask)
    assert split_pair("no=where=else") == ("no", "where=else")
    for wrong in ("a.png", "=a.png", "a.png="):
        with pytest.raises(PANetError, match="expected IMAGE=MASK"):
            split_pair(wrong)


def test_a_support_folder_has_masks_of_any_ending_and_frames_without_lesion(tmp_path):
    write(
        tmp_path,
        "a.dcm",
        "a_mask.PNG",
        "b.png",
        "b_mask_1.bmp",
        "b_mask_2.tif",
        ".c.png",
        "notes.txt",
        "normals/n.png",
    )
    write(tmp_path, "1.2.3", content=bytes(128) + b"DICM")
    write(tmp_path, "1.2.3_mask.png")
    pairs, normals = read_support_folder(tmp_path)
    names = [(image.split("/")[-1], [mask.split("/")[-1] for mask in masks]) for image, masks in pairs]
    assert names == [
        ("1.2.3", ["1.2.3_mask.png"]),
        ("a.dcm", ["a_mask.PNG"]),
        ("b.png", ["b_mask_1.bmp", "b_mask_2.tif"]),
    ]
    assert normals == [str(tmp_path / "normals" / "n.png")]
    write(tmp_path, "c.png", "d_mask.png")
    with pytest.raises(
        PANetError, match=r"c.png has no mask \(c_mask.png\); d_mask.png has no picture.*normals"
    ):
        read_support_folder(tmp_path)


def test_several_masks_of_a_picture_are_united(tmp_path):
    from panet_keras.commands.arguments import Support
    from panet_keras.commands.model import support_masks

    parts = np.zeros((2, 8, 8), np.uint8)
    parts[0, :2], parts[1, 6:] = 255, 255
    paths = tuple(str(tmp_path / f"b_mask_{number}.png") for number in range(2))
    for path, part in zip(paths, parts):
        Image.fromarray(part).save(path)
    masks = support_masks(Support(("a.png", "b.png"), (("a_mask.png",), paths)))
    assert masks[0] == "a_mask.png"
    np.testing.assert_array_equal(masks[1], parts.any(0))
    Image.fromarray(parts[0, :4]).save(paths[0])
    with pytest.raises(PANetError, match="b_mask_0.png: 8 x 4, .*b_mask_1.png: 8 x 8"):
        support_masks(Support(("b.png",), (paths,)))


def test_names_of_outputs_keep_points_that_are_no_ending():
    assert [stem_of(name) for name in ("x.v2.png", "deep.er/x.TIFF", "1.2.840")] == [
        "x.v2",
        "deep.er/x",
        "1.2.840",
    ]


def test_segment_and_infer_have_the_same_options(capsys):
    from panet_keras.__main__ import main as library
    from pipeline.__main__ import main as pipeline

    found = {}
    for name, main in (("segment", library), ("infer", pipeline)):
        with pytest.raises(SystemExit):
            main([name, "--help"])
        found[name] = set(re.findall(r"--[a-z_-]+", capsys.readouterr().out))
    assert {
        "--support-dir",
        "--normal",
        "--adapt",
        "--presence-threshold",
        "--overwrite",
        "--csv",
        "--recursive",
    } <= found["segment"]
    # The last two are examples in the help of --beam_option.
    assert found["infer"] - found["segment"] == {
        "--beam_runner",
        "--beam_option",
        "--master",
        "--conf",
    } and found["segment"] <= found["infer"] | {"--flag"}


@pytest.mark.parametrize("words", [["panet_keras"], ["panet_keras", "segment"], ["pipeline", "infer"]])
def test_help_imports_nothing_heavy(words):
    command = [sys.executable, "-X", "importtime", "-m", *words, "--help"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=60, check=True)
    assert "usage" in done.stdout
    imported = {line.split("|")[-1].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert "panet_keras" in imported and not imported & {"tensorflow", "keras", "numpy", "scipy", "PIL"}


@pytest.mark.parametrize(
    ("stored", "variable", "message"),
    [
        (
            {"image_data_format": "channels_first"},
            None,
            r'keras.json: "image_data_format" is "channels_first".*Write .*channels_last',
        ),
        ({"floatx": "float16"}, None, r'keras.json: "floatx" is "float16"; expected "float32"'),
        ({"backend": "jax"}, None, r'keras.json: "backend" is "jax".*KERAS_BACKEND=tensorflow'),
        ({}, "torch", r'the environment variable KERAS_BACKEND is "torch".*Unset it'),
    ],
)
def test_settings_of_keras_that_cannot_work_are_named_with_their_place(
    tmp_path, monkeypatch, stored, variable, message
):
    (tmp_path / "keras.json").write_text(json.dumps(stored))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    # Imported and right already: the file no longer counts.
    check_keras_settings()
    monkeypatch.delitem(sys.modules, "keras")
    if variable:
        monkeypatch.setenv("KERAS_BACKEND", variable)
    with pytest.raises(KerasSettingsError, match=message):
        check_keras_settings()
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    if not stored.keys() - {"backend"}:
        check_keras_settings()


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        (
            "[]",
            "keras.json holds a list; expected a JSON object. Mend or delete the file, or point KERAS_HOME",
        ),
        ('{"epsilon": 1}', 'keras.json: "epsilon" is 1; expected a float'),
        (None, "keras.json cannot be read .Is a directory., and Keras reads it"),
        ("{", None),
    ],
)
def test_a_file_that_keras_would_fail_at_is_named(tmp_path, monkeypatch, stored, message):
    home = tmp_path / "home"
    file = home / ".keras" / "keras.json"
    file.parent.mkdir(parents=True)
    file.mkdir() if stored is None else file.write_text(stored)
    monkeypatch.delenv("KERAS_HOME", raising=False)
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delitem(sys.modules, "keras")
    with pytest.raises(KerasSettingsError, match=message) if message else contextlib.nullcontext():
        check_keras_settings()
    # Where the home folder may not be written Keras reads another file.
    monkeypatch.setattr("os.access", lambda path, _: path != str(home))
    assert str(settings_file()) == "/tmp/.keras/keras.json"
