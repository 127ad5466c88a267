"""`--format` of `segment` and `infer`: the same files of both, and masks that say where they come from."""

import hashlib
import json
import shutil
import types

import numpy as np
import pytest
from PIL import Image

from panet_keras.__main__ import main as library
from panet_keras.commands.formats import FILES
from panet_keras.data import load_coco
from panet_keras.inference.segmenter import Segmentation
from panet_keras.pictures.masks import decode_mask
from panet_keras.pictures.provenance import read_provenance
from panet_keras.writers import WRITERS
from pipeline.__main__ import main as pipeline
from tests.panet_keras.test_dicom import RAMP, write

BRIGHT = RAMP > 200


class Fake:
    """A segmenter that marks what is bright, so that no model is needed to see where its masks go."""

    model, size, presence_threshold = types.SimpleNamespace(weights=[]), (64, 64), 0.5
    calibrated = False

    def predict(self, picture):
        mask = picture[..., 0] > 200
        return Segmentation(mask, mask.astype(np.float32), float(mask.any()))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two pictures, one of them without anything bright, and a support."""
    monkeypatch.setattr("panet_keras.commands.model.open_model", lambda *arguments: Fake())
    for name in ("query/ward/ä.png", "query/b.png", "s.png", "s_mask.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(RAMP if name != "query/b.png" else RAMP // 2).save(tmp_path / name)
    return tmp_path


def command(folder, *more):
    pair = f"{folder}/s.png={folder}/s_mask.png"
    return ["--support", pair, "--query", str(folder / "query"), "--recursive", *more]


def tree(out):
    return {
        path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in out.rglob("*")
        if path.is_file() and ".progress" not in path.parts
    }


PNG = {f"{stem}_{kind}.png" for stem in ("ward/ä", "b") for kind in ("mask", "overlay")}
ADDED = {
    "png": set(),
    "coco": {"annotations.json"},
    "cvat": {"annotations.xml"},
    "labelme": {"ward/ä.json", "b.json"},
    "nifti": {f"{stem}{ending}" for stem in ("ward/ä", "b") for ending in (".nii.gz", "_mask.nii.gz")},
}


@pytest.mark.parametrize("name", ADDED)
def test_segment_and_infer_write_the_same(folder, name):
    for main, verb, out in ((library, "segment", "one"), (pipeline, "infer", "two")):
        arguments = [verb, *command(folder), "--format", name, "--out", str(folder / out)]
        assert not main(arguments)
        if verb == "segment":
            assert main(arguments) == 1 and main([*arguments, "--overwrite"]) is None
        else:  # it goes on where it ended
            assert main(arguments) == 0
    first, second = tree(folder / "one"), tree(folder / "two")
    for own in ("predictions.csv", "answers.jsonl"):
        second.pop(own)
    assert first == second and first.keys() == PNG | ADDED[name]
    told = read_provenance(folder / "one" / "ward" / "ä_mask.png")
    assert told["model"] == "bus_multi_lite0" and told["supports"] == ["s.png"]
    assert told["presence"] == 1 and len(told["id"]) == 36
    assert told["model_version"] == f"sha256:{hashlib.sha256().hexdigest()[:16]}"
    assert read_provenance(folder / "one" / "b_mask.png")["id"] != told["id"]
    if name == "coco":
        data = json.loads((folder / "one" / "annotations.json").read_text("utf-8"))
        assert [image.get("attributes") for image in data["images"]] == [None, None], "nobody confirmed"
        assert data["images"][1]["provenance"] == told
        for picture in ("ward/ä.png", "b.png"):
            target = folder / "one" / "images" / picture
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(folder / "query" / picture, target)
        masks = [record.decode().mask > 0 for record in load_coco(folder / "one")]
        np.testing.assert_array_equal(masks, [np.zeros_like(BRIGHT), BRIGHT])


@pytest.mark.parametrize(("main", "verb"), [(library, "segment"), (pipeline, "infer")])
def test_dicom_in_seg_out(folder, main, verb, capsys):
    """Beside its source, and read as a mask when asked for the next picture."""
    arguments = [verb, *command(folder), "--format", "dicom-seg", "--out", str(folder / "out")]
    assert main(arguments) == 1
    assert "ä.png: no DICOM; a DICOM SEG refers to" in capsys.readouterr().err
    assert not (folder / "out").exists()
    shutil.rmtree(folder / "query")
    (folder / "query").mkdir()
    for name in ("a.dcm", "1.2.840"):
        tags = {"StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.4"}
        write(folder / "query" / name, RAMP, "MONOCHROME2", **tags)
    (folder / "query" / "cut.dcm").write_bytes(b"no DICOM")
    assert main(arguments) == 1, "one cannot be read; the rest is done"
    out = folder / "out"
    assert {path.name for path in out.glob("*.dcm")} == {"a_mask.dcm", "1.2.840_mask.dcm"}
    np.testing.assert_array_equal(decode_mask(out / "a_mask.dcm")[0], BRIGHT)
    import highdicom

    made = highdicom.seg.segread(out / "1.2.840_mask.dcm")
    told = read_provenance(out / "1.2.840_mask.png")
    assert made.SegmentSequence[0].TrackingID == f"{told['id']}: Lesion"
    assert made.SegmentSequence[0].SegmentAlgorithmType == "AUTOMATIC"


def test_every_format_has_a_writer_and_its_files():
    from panet_keras.writers import coco, cvat, dicom_seg, labelme, nifti

    assert FILES.keys() == WRITERS.keys() - {"dataset"}
    modules = {"dicom-seg": dicom_seg, "nifti": nifti, "labelme": labelme, "coco": coco, "cvat": cvat}
    for name, module in modules.items():
        file = getattr(module, "FILE", None)
        assert FILES[name] == (getattr(module, "ENDINGS", ()), (file,) if file else ())
