"""What is written is read back by the formats' own libraries and by our readers: every pixel."""

import base64
import io
import json
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from panet_keras import DataWarning, PANetError
from panet_keras.data import load_coco, load_csv, load_labelme, load_nifti
from panet_keras.pictures.masks import decode_mask
from panet_keras.writers import WRITERS, Annotation, png
from panet_keras.writers.outlines import lesions, polygons
from panet_keras.writers.plan import stems
from tests.panet_keras.test_dicom import RAMP
from tests.panet_keras.test_dicom import write as write_dicom

LABELS = ("Benign", "Malignant")
PROVENANCE = {
    "id": "12e4",  # as JSON it would be a number
    "model": "bus_multi_lite0",
    "model_version": "sha256:12ab",
    "supports": ["größe, 1.png", "b.png"],
    "author": "Änne Groß",
    "changed_pixels": 0,
}


def hard_mask():
    """[40, 57]: a ring with an island in its hole, a lesion with two holes that touches it at a corner, one
    pixel at the frame's corner, and another label beside."""
    mask = np.zeros((40, 57), np.uint8)
    mask[3:20, 4:25] = 1
    mask[6:17, 8:20] = 0
    mask[9:12, 11:14] = 1
    mask[20:30, 25:40] = 1
    mask[22:24, 27:29] = mask[25, 33] = 0
    mask[39, 56] = 1
    mask[31:36, 10:30] = 2
    mask[30, 12] = 1
    return mask


MASK = hard_mask()


@pytest.fixture
def folder(tmp_path):
    """Annotations of six pictures in tmp_path/in, of all states; two names are one without their endings."""
    rng = np.random.default_rng(0)
    source = tmp_path / "in"
    (source / "ward").mkdir(parents=True)
    names = ["ward/ä ü.png", "a.png", "a.jpg", "empty.png", "unseen.png", "no.png"]
    for name in names:
        pixels = rng.integers(0, 256, (40, 57, 3) if name == "a.jpg" else (40, 57)).astype(np.uint8)
        Image.fromarray(pixels).save(source / name)
    blank = np.zeros_like(MASK)
    one = blank.copy()
    one[7, 9] = 2
    masks = [MASK, one, MASK[::-1].copy(), blank, MASK, MASK]
    states = ["annotated"] * 3 + ["normal", "unseen", "rejected"]
    return [
        Annotation(name, source / name, None, (40, 57), mask, LABELS, state, "p1", PROVENANCE)
        for name, mask, state in zip(names, masks, states)
    ]


def union(records):
    """{name: bool [H, W]} as our reader sees it."""
    return {record.filename: record.decode().mask > 0 for record in records}


def test_polygons_and_runs_keep_every_pixel():
    """Of noise, where every kind of hole and corner comes; areas by the shoelace formula."""
    from pycocotools import mask as coco

    rng = np.random.default_rng(0)
    for size in [(1, 1), (1, 9), (7, 1), (9, 14), (23, 17)] * 12:
        mask = (rng.random(size) < rng.random()).astype(np.uint8)
        total = np.zeros(size, int)
        for _, place, inside in lesions(mask):
            pieces = polygons(inside, place)
            runs = coco.frPyObjects([piece.ravel().astype(float).tolist() for piece in pieces], *size)
            found = coco.decode(coco.merge(runs))
            np.testing.assert_array_equal(found[place], inside)
            assert found.sum() == inside.sum()
            x, y = zip(*(piece.T for piece in pieces))
            areas = [abs((a * np.roll(b, -1) - b * np.roll(a, -1)).sum()) / 2 for a, b in zip(x, y)]
            assert sum(areas) == inside.sum()
            total += found
        np.testing.assert_array_equal(total, mask)


def test_png(folder, tmp_path):
    paths = WRITERS["png"](folder, tmp_path / "out")
    assert [path.relative_to(tmp_path / "out").as_posix() for path in paths] == [
        "ward/ä ü_mask.png",
        "a.png_mask.png",
        "a.jpg_mask.png",
        "empty_mask.png",
    ]
    for annotation, path in zip(folder, paths):
        np.testing.assert_array_equal(np.asarray(Image.open(path)), annotation.mask)
        read = {**PROVENANCE, "state": annotation.state, "labels": list(LABELS)}
        assert png.read_provenance(path) == read
    lesion = Annotation("a.png", folder[1].source, None, (40, 57), (MASK > 0).astype(np.uint8))
    [path] = WRITERS["png"]([lesion], tmp_path / "one")
    np.testing.assert_array_equal(np.asarray(Image.open(path)), (MASK > 0) * 255)
    np.testing.assert_array_equal(decode_mask(path)[0], MASK > 0)


@pytest.mark.parametrize("outlines", ["rle", "polygons"])
def test_coco(folder, tmp_path, outlines, capsys):
    from pycocotools.coco import COCO

    path, *pictures = WRITERS["coco"](folder, tmp_path / "out", outlines=outlines, pictures=True)
    data = COCO(path)
    names = {entry["file_name"]: entry for entry in data.dataset["images"]}
    assert list(names) == ["ward/ä ü.png", "a.png", "a.jpg", "empty.png"] and len(pictures) == 4
    assert names["empty.png"]["attributes"] == {"confirmed_empty": True}
    assert "attributes" not in names["a.png"] and names["a.png"]["provenance"] == PROVENANCE
    assert {category["id"]: category["name"] for category in data.dataset["categories"]} == {
        1: "Benign",
        2: "Malignant",
    }
    for annotation in folder[:4]:
        found = np.zeros_like(MASK)
        for one in data.imgToAnns[names[annotation.name]["id"]]:
            inside = data.annToMask(one)
            assert one["iscrowd"] == 0 and one["area"] == inside.sum()
            x, y, width, height = one["bbox"]
            assert inside[y : y + height, x : x + width].sum() == inside.sum()
            assert not found[inside > 0].any()
            found[inside > 0] = one["category_id"]
        np.testing.assert_array_equal(found, annotation.mask)
    read = load_coco(tmp_path / "out")
    assert {record.filename: record.label for record in read}["images/empty.png"] == "Normal"
    assert {record.patient for record in read} == {"p1"}
    for name, mask in union(read).items():
        [annotation] = [one for one in folder if f"images/{one.name}" == name]
        np.testing.assert_array_equal(mask, annotation.mask > 0)


def test_labelme(folder, tmp_path):
    for annotation in folder[4:]:
        annotation.source.unlink()  # their pictures have no file, which our reader reports
    paths = WRITERS["labelme"](folder, tmp_path / "in")
    assert [path.name for path in paths] == ["ä ü.json", "a.png.json", "a.jpg.json", "empty.json"]
    for annotation, path in zip(folder, paths):
        data = json.loads(path.read_text("utf-8"))
        found = np.zeros_like(MASK)
        assert data["flags"] == ({"confirmed_empty": True} if annotation.state == "normal" else {})
        for shape in data["shapes"]:
            # As labelme.utils.shape_to_mask has it: the box's last row and column are within it.
            (x1, y1), (x2, y2) = shape["points"]
            patch = np.asarray(Image.open(io.BytesIO(base64.b64decode(shape["mask"])))).astype(bool)
            found[y1 : y2 + 1, x1 : x2 + 1][patch] = LABELS.index(shape["label"]) + 1
        np.testing.assert_array_equal(found, annotation.mask)
        assert (path.parent / data["imagePath"]).samefile(annotation.source)
    read = load_labelme(tmp_path / "in")
    masks = {record.image: record.decode().mask for record in read}
    for annotation in folder[:4]:
        np.testing.assert_array_equal(masks[str(annotation.source)] > 0, annotation.mask > 0)


def test_nifti(folder, tmp_path):
    import nibabel

    paths = WRITERS["nifti"](folder, tmp_path / "out")
    for annotation, mask, picture in zip(folder, paths[::2], paths[1::2]):
        image = nibabel.load(mask)
        np.testing.assert_array_equal(np.asarray(image.dataobj)[..., 0].T, annotation.mask)
        assert nibabel.load(picture).shape == image.shape == (57, 40, 1)
        assert nibabel.aff2axcodes(image.affine) == ("L", "P", "S")
        about = json.loads(image.header.extensions[0].get_content())
        assert about["labels"] == {"1": "Benign", "2": "Malignant"} and about["state"] == annotation.state
        assert about["provenance"] == PROVENANCE
    read = union(load_nifti(tmp_path / "out"))
    expected = dict(zip(["ward/ä ü.png", "a.png.png", "a.jpg.png", "empty.png"], folder))
    assert read.keys() == expected.keys()
    for name, annotation in expected.items():
        np.testing.assert_array_equal(read[name], annotation.mask > 0)
    [record] = [one for one in load_nifti(tmp_path / "out") if one.filename == "a.jpg.png"]
    np.testing.assert_array_equal(
        record.decode().image, np.asarray(Image.open(folder[2].source).convert("RGB"))
    )


@pytest.mark.parametrize("outlines", ["rle", "polygons"])
def test_cvat(folder, tmp_path, outlines):
    from pycocotools import mask as coco

    [path] = WRITERS["cvat"](folder, tmp_path / "out", outlines=outlines)
    root = ET.parse(path).getroot()
    assert root.findtext("version") == "1.1"
    labels = {one.findtext("name"): one.findtext("type") for one in root.iter("label")}
    kind = "mask" if outlines == "rle" else "polygon"
    assert labels == {"Benign": kind, "Malignant": kind, "confirmed_empty": "tag"}
    images = root.findall("image")
    assert [image.get("name") for image in images] == [one.name for one in folder[:4]]
    for image, annotation in zip(images, folder):
        size = int(image.get("height")), int(image.get("width"))
        found = np.zeros(size, np.uint8)
        for shape in image.iter(kind):
            label = LABELS.index(shape.get("label")) + 1
            if outlines == "rle":
                # CVAT's docs: runs of background and mask by turns, row by row within the box.
                runs = [int(run) for run in shape.get("rle").split(",")]
                inside = np.repeat(np.arange(len(runs)) % 2, runs).astype(bool)
                x, y, width, height = (int(shape.get(key)) for key in ("left", "top", "width", "height"))
                found[y : y + height, x : x + width][inside.reshape(height, width)] = label
            else:
                flat = [float(number) for number in shape.get("points").replace(";", ",").split(",")]
                found[coco.decode(coco.frPyObjects([flat], *size))[..., 0] > 0] = label
        np.testing.assert_array_equal(found, annotation.mask)
        assert [tag.get("label") for tag in image.iter("tag")] == ["confirmed_empty"] * (
            annotation.state == "normal"
        )


def test_data_set(folder, tmp_path):
    blank = Annotation("blank.png", folder[0].source, None, (40, 57), np.zeros_like(MASK), LABELS)
    with pytest.warns(DataWarning, match="1 annotated picture.*nothing is marked.*blank.png"):
        table, *_ = WRITERS["dataset"]([*folder, blank], tmp_path / "out")
    records = load_csv(table)
    assert [record.label for record in records] == ["Malignant", "Malignant", "Malignant", "Normal"]
    assert {record.patient for record in records} == {"p1"}
    for record, annotation in zip(records, folder):
        np.testing.assert_array_equal(record.decode().mask > 0, annotation.mask > 0)
        assert (tmp_path / "out" / record.filename).read_bytes() == annotation.source.read_bytes()
    assert png.read_provenance(records[0].masks[0])["id"] == "12e4"


@pytest.fixture
def dicom(tmp_path):
    """Annotations of a picture and of two frames of a clip, with several labels, and a normal picture."""
    tags = {"StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.4", "SpecificCharacterSet": "ISO_IR 100"}
    for number, (name, pixels) in enumerate(
        {"a.dcm": RAMP, "clip.dcm": np.stack([RAMP] * 5), "normal": RAMP}.items()
    ):
        kind = "1.2.840.10008.5.1.4.1.1.3.1" if name == "clip.dcm" else "1.2.840.10008.5.1.4.1.1.6.1"
        own = {"SOPInstanceUID": f"1.2.5.{number}", "SOPClassUID": kind}
        write_dicom(tmp_path / name, pixels, "MONOCHROME2", "Müller^Änne", **own, **tags)
    mask = np.zeros(RAMP.shape, np.uint8)
    mask[: MASK.shape[0], : MASK.shape[1]] = MASK
    rows = [
        ("a.dcm", None, mask, "annotated"),
        ("clip.dcm", 3, mask[::-1].copy(), "annotated"),
        ("clip.dcm", 0, mask * (mask == 2), "annotated"),
        ("normal", None, mask * 0, "normal"),
    ]
    return [
        Annotation(name, tmp_path / name, frame, RAMP.shape, one, LABELS, state, provenance=PROVENANCE)
        for name, frame, one, state in rows
    ]


def test_dicom_seg(dicom, tmp_path):
    import highdicom
    import pydicom

    paths = WRITERS["dicom-seg"](dicom, tmp_path / "out")
    assert [path.name for path in paths] == [
        "a_mask.dcm",
        "clip_f3_mask.dcm",
        "clip_f0_mask.dcm",
        "normal_mask.dcm",
    ]
    for annotation, path in zip(dicom, paths):
        source, made = pydicom.dcmread(annotation.source), highdicom.seg.segread(path)
        assert str(made.PatientName) == "Müller^Änne" and made.StudyInstanceUID == "1.2.3"
        [[study, series, instance]] = made.get_source_image_uids()
        assert (study, series, instance) == ("1.2.3", "1.2.4", source.SOPInstanceUID)
        found = made.get_pixels_by_source_instance(
            [instance],
            combine_segments=True,
            ignore_spatial_locations=True,
            assert_missing_frames_are_empty=True,
        )
        np.testing.assert_array_equal(found[0], annotation.mask)
        for groups in made.PerFrameFunctionalGroupsSequence:
            [image] = groups.DerivationImageSequence[0].SourceImageSequence
            expected = None if annotation.frame is None else annotation.frame + 1
            assert image.get("ReferencedFrameNumber") == expected
            assert image.ReferencedSOPClassUID == source.SOPClassUID
        assert [item.SegmentLabel for item in made.SegmentSequence] == list(LABELS)
        item = made.SegmentSequence[1]
        assert item.SegmentAlgorithmName == "bus_multi_lite0" and item.TrackingID == "12e4: Malignant"
        identity = item.SegmentationAlgorithmIdentificationSequence[0]
        parameters = identity.AlgorithmParameters
        parameters = parameters if isinstance(parameters, str) else "".join(parameters)
        assert identity.AlgorithmVersion == "sha256:12ab" and "größe, 1.png" in parameters
        by = "SEMIAUTOMATIC" if annotation.state == "normal" else "AUTOMATIC"
        assert item.SegmentAlgorithmType == by
        assert str(made.ContentCreatorName) == "Änne Groß" and "12e4" in made.ContentDescription
    uids = [pydicom.dcmread(path).SOPInstanceUID for path in paths]
    again = WRITERS["dicom-seg"](dicom, tmp_path / "again")
    assert len(set(uids)) == 4 and [pydicom.dcmread(path).SOPInstanceUID for path in again] == uids
    assert len({pydicom.dcmread(path).SeriesInstanceUID for path in paths}) == 1


def test_a_seg_needs_a_dicom_source(folder, dicom, tmp_path):
    import pydicom

    with pytest.raises(PANetError, match="a.png.*no DICOM; .*choose another format"):
        WRITERS["dicom-seg"]([*dicom, *folder], tmp_path / "out")
    data = pydicom.dcmread(dicom[0].source)
    del data.StudyInstanceUID
    data.save_as(dicom[0].source)
    with pytest.raises(PANetError, match="a.dcm: without StudyInstanceUID.*1 other DICOM SEG"):
        WRITERS["dicom-seg"](dicom[:2], tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").glob("*")] == ["clip_f3_mask.dcm"]


@pytest.mark.parametrize("name", ["labelme", "coco", "nifti", "dataset"])
def test_frames_of_dicom_become_pictures(dicom, tmp_path, name):
    options = {"pictures": True} if name == "coco" else {}
    WRITERS[name](dicom[:3], tmp_path / "out", **options)
    load = {"labelme": load_labelme, "coco": load_coco, "nifti": load_nifti}.get(name)
    records = load(tmp_path / "out") if load else load_csv(tmp_path / "out" / "dataset.csv")
    masks = {record.filename.rpartition("/")[2].partition(".")[0]: record.decode() for record in records}
    assert masks.keys() == {"a", "clip_f3", "clip_f0"}
    for stem, annotation in zip(("a", "clip_f3", "clip_f0"), dicom):
        np.testing.assert_array_equal(masks[stem].mask > 0, annotation.mask > 0)
        np.testing.assert_array_equal(masks[stem].image[..., 0], RAMP)
    content = b"".join(path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert b"ller^" not in content
    if name == "dataset":
        assert {record.patient for record in records} == {"a.dcm", "clip.dcm"}


@pytest.mark.parametrize("name", sorted(WRITERS.keys() - {"dicom-seg"}))
def test_nothing_is_replaced_without_being_told(folder, tmp_path, name):
    write, out = WRITERS[name], tmp_path / "out"
    first = {path: path.read_bytes() for path in write(folder, out)}
    with pytest.raises(PANetError, match="there already"):
        write(folder, out)
    for path in first:
        path.write_bytes(b"old")
    assert set(write(folder, out, overwrite=True)) == first.keys()
    assert {path: path.read_bytes() for path in first} == first
    assert {path for path in out.rglob("*") if path.is_file()} == first.keys(), "nothing half is left"


def test_what_a_writer_refuses(folder, tmp_path):
    source = folder[0].source
    for name, names in (("../a.png", []), ("/a.png", []), ("a.png", ["a.png"])):
        twice = [Annotation(one, source, None, (40, 57), MASK, LABELS) for one in (name, *names)]
        with pytest.raises(PANetError, match="leads out of its folder|given more than once"):
            WRITERS["png"](twice, tmp_path / "out")
    mask_picture = Annotation("x.png", tmp_path / "in" / "x_mask.png", None, (40, 57), MASK, LABELS)
    with pytest.raises(PANetError, match="x_mask.png: a picture, which would be replaced"):
        WRITERS["png"]([mask_picture], tmp_path / "in", overwrite=True)
    (tmp_path / "unseen_mask.png").write_bytes(b"mine")
    with pytest.raises(PANetError, match="unseen_mask.png .its picture is unseen.*an older file"):
        WRITERS["png"](folder, tmp_path, overwrite=True)
    for change, message in (
        ({"mask": MASK[:-1]}, r"mask uint8 \[39, 57\]; expected uint8 \[40, 57\]"),
        ({"mask": MASK > 0}, "mask bool"),
        ({"labels": ("Benign",)}, "label number 2 in the mask; expected 0 to 1"),
        ({"state": "seen"}, "state 'seen'; expected one of annotated"),
        ({"state": "normal"}, "confirmed to be without lesion, and .* pixels"),
    ):
        values = {"mask": MASK, "labels": LABELS, **change}
        with pytest.raises(PANetError, match=f"a.png: {message}"):
            Annotation("a.png", source, None, (40, 57), **values)


def test_masks_are_read_one_after_the_other(folder, tmp_path):
    read = []
    lazy = [
        Annotation(
            f"{number}.png",
            folder[0].source,
            None,
            (40, 57),
            lambda number=number: read.append(number) or MASK,
            LABELS,
        )
        for number in range(3)
    ]
    assert read == []
    for path in WRITERS["png"](lazy, tmp_path / "out"):
        np.testing.assert_array_equal(np.asarray(Image.open(path)), MASK)
    assert read == [0, 1, 2]


def test_names_stay_apart():
    def named(*names):
        rows = [name if isinstance(name, tuple) else (name, None) for name in names]
        mask = np.zeros((1, 1), np.uint8)
        return stems([Annotation(name, "x", frame, (1, 1), mask) for name, frame in rows])

    assert named("a.png", "b/a.png", ("c.dcm", 7), "1.2.840") == ["a", "b/a", "c_f7", "1.2.840"]
    assert named("a.png", "a.jpg", "b.png") == ["a.png", "a.jpg", "b"]
    # `a.png.tif` would be `a.png`, too.
    assert named("a.png", "a.jpg", "a.png.tif") == ["a.png", "a.jpg", "a.png.tif"]


def test_names_that_a_format_cannot_hold_do_not_break_its_file(tmp_path):
    """A control character, which XML has no way to say; a byte that is no UTF-8, as an old archive unpacks it."""
    mask = np.ones((2, 3), np.uint8)
    rows = [Annotation("a\x01.png", tmp_path / "a\x01.png", None, (2, 3), mask)]
    [cvat] = WRITERS["cvat"](rows, tmp_path / "cvat")
    assert ET.parse(cvat).getroot().find("image").get("name") == "a?.png"
    rows = [Annotation("b.png", tmp_path / "b\udce9.png", None, (2, 3), mask)]
    [path] = WRITERS["labelme"](rows, tmp_path / "labelme")
    assert json.loads(path.read_text("utf-8"))["imagePath"] == "../b\udce9.png"
