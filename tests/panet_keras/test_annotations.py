"""Doors for what annotation tools write: COCO, LabelMe, NIfTI."""

import base64
import json

import numpy as np
import pytest
from PIL import Image

from panet_keras import DataError, DataWarning
from panet_keras.data import load_coco, load_labelme, load_nifti
from panet_keras.pictures.decode import encode_png

FRAME = np.random.default_rng(0).integers(0, 256, (48, 64), np.uint8)
SQUARE = [10, 20, 30, 20, 30, 40, 10, 40]
"""x from 10 to 30, y from 20 to 40."""
INSIDE = np.zeros((48, 64), bool)
INSIDE[20:40, 10:30] = True


def frame(path):
    path.parent.mkdir(exist_ok=True, parents=True)
    Image.fromarray(FRAME).save(path)
    return path


def agrees(mask, expected):
    """Outlines differ by their own width at most."""
    return (mask & expected).sum() / (mask | expected).sum() > 0.85


def coco_file(folder):
    """Polygon, both kinds of run lengths, an image without annotations; pictures in images/ and beside the
    file."""
    from pycocotools import mask as coco

    for name in ("images/a.png", "images/b.png", "c.png", "d.png"):
        frame(folder / name)
    column = np.asfortranarray(INSIDE.astype(np.uint8))
    packed = coco.encode(column)
    # Uncompressed run lengths go down the columns, and begin with a run of 0.
    flat, runs, value = INSIDE.ravel("F"), [0], False
    for pixel in flat:
        if pixel != value:
            runs.append(0)
            value = pixel
        runs[-1] += 1
    size = {"height": 48, "width": 64}
    return {
        "images": [
            {"id": 1, "file_name": "a.png", "patient": "P1", **size},
            {"id": 2, "file_name": "images/b.png", **size},
            {"id": 3, "file_name": "C:\\work\\c.png".replace("C:\\work\\", ""), **size},
            {"id": 4, "file_name": "d.png", **size},
        ],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 7, "segmentation": [SQUARE]},
            {
                "id": 2,
                "image_id": 2,
                "category_id": 8,
                "segmentation": {"size": [48, 64], "counts": packed["counts"].decode()},
            },
            {"id": 3, "image_id": 2, "category_id": 7, "segmentation": [[40, 2, 60, 2, 60, 12, 40, 12]]},
            {"id": 4, "image_id": 3, "category_id": 9, "segmentation": {"size": [48, 64], "counts": runs}},
        ],
        "categories": [
            {"id": 7, "name": "Benign"},
            {"id": 8, "name": "malignant lesion"},
            {"id": 9, "name": "lesion"},
        ],
    }


def test_coco(tmp_path):
    data = coco_file(tmp_path)
    (tmp_path / "instances.json").write_text(json.dumps(data))
    a, b, c, d = load_coco(tmp_path / "instances.json")
    assert [r.label for r in (a, b, c, d)] == ["Benign", "Malignant", "Unknown", "Normal"]
    assert [r.patient for r in (a, b)] == ["P1", "images/b.png"] and a.filename == "images/a.png"
    masks = [r.decode().mask for r in (a, b, c, d)]
    assert agrees(masks[0] == 1, INSIDE) and not (masks[0] == 2).any()
    np.testing.assert_array_equal(masks[1] == 2, INSIDE)
    assert 150 < (masks[1] == 1).sum() <= 21 * 11  # a benign box of 20 x 10 in a malignant image
    np.testing.assert_array_equal(masks[2] == 1, INSIDE)
    assert not masks[3].any()
    assert [r.filename for r in load_coco(tmp_path)] == [r.filename for r in (a, b, c, d)]
    assert load_coco(tmp_path, patient=lambda path: path.parent.name)[1].patient == "images"


def test_coco_problems_are_all_named(tmp_path):
    data = coco_file(tmp_path)
    (tmp_path / "c.png").unlink()
    data["annotations"][0] |= {"segmentation": [], "bbox": [1, 2, 3, 4]}
    data["annotations"].append({"id": 5, "image_id": 99, "category_id": 7, "segmentation": [SQUARE]})
    data["images"].append(data["images"][0] | {"file_name": "d.png"})
    frame(tmp_path / "d.png")
    (tmp_path / "set.json").write_text(json.dumps(data))
    with pytest.raises(DataError) as caught:
        load_coco(tmp_path)
    for message in (
        "set.json: image 'c.png' is no file beside it or in images/",
        "image 'a.png': annotation 1 has no outline (a box is no mask)",
        "1 annotation(s) of image_id 99, which is none of `images`",
        f"2 images have the id {data['images'][0]['id']}; expected one, for annotations name it",
    ):
        assert message in str(caught.value)
    (tmp_path / "set.json").write_text("{}")
    with pytest.raises(DataError, match="no COCO file; found set.json; expected JSON with `images`"):
        load_coco(tmp_path)


@pytest.mark.parametrize(
    "outline, said",
    [
        ([[10, 20, 30, 20, float("nan"), 40]], "coordinate nan"),
        ([[10, 20, 30, 20, 1e30, 40]], "coordinate 1e+30"),
        ([[10, 20, 30, 20, 30, 40, 7]], "a polygon"),
        ([[[10, 20], [30, 20], [30, 40]]], "a polygon"),
        ("abc", "a polygon"),
        ([[100, 100, 130, 100, 130, 130]], "covers no pixel of its image, 64 x 48"),
        ({"size": [48, 64], "counts": [100, 50]}, "run lengths of 150 pixels in all; expected 3072"),
        ({"size": [48, 64], "counts": "zzzzz"}, "expected 3072"),
    ],
)
def test_outlines_that_are_none_are_refused_and_not_made_up(tmp_path, outline, said):
    """pycocotools hangs or crashes on some, and fills what run lengths lack with whatever lies in memory."""
    frame(tmp_path / "a.png")
    one = {"id": 5, "image_id": 1, "category_id": 1, "segmentation": outline}
    told = {
        "images": [{"id": 1, "file_name": "a.png", "height": 48, "width": 64}],
        "categories": [{"id": 1, "name": "benign"}],
    }
    (tmp_path / "a.json").write_text(json.dumps({**told, "annotations": [one]}))
    with pytest.raises(DataError, match="annotation 5") as error:
        load_coco(tmp_path)
    assert said in str(error.value)
    for field, odd in (("annotations", None), ("annotations", [[1]]), ("images", ["a.png"])):
        (tmp_path / "a.json").write_text(json.dumps({**told, "annotations": [], field: odd}))
        with pytest.raises(DataError, match=f"field {field}: found"):
            load_coco(tmp_path)


def shape(label, points, kind="polygon", **more):
    return {"label": label, "points": points, "shape_type": kind, **more}


def labelme(folder, name, shapes, **more):
    frame(folder / f"{name}.png")
    data = {
        "version": "5.4",
        "flags": {},
        "shapes": shapes,
        "imagePath": f"{name}.png",
        "imageHeight": 48,
        "imageWidth": 64,
    }
    (folder / f"{name}.json").write_text(json.dumps(data | more))


def test_labelme(tmp_path):
    corners = np.reshape(SQUARE, (4, 2)).tolist()
    labelme(tmp_path, "a", [shape("benign", corners)], flags={"patient": "P1"})
    labelme(
        tmp_path,
        "b",
        [
            shape("Malignant", [corners[2], corners[0]], "rectangle"),
            shape("cyst", [[50, 10], [50, 16]], "circle"),
        ],
    )
    patch = base64.b64encode(encode_png(np.full((20, 20), 255, np.uint8))).decode()
    labelme(tmp_path, "c", [shape("lesion", [[10, 20], [29, 39]], "mask", mask=patch)])
    labelme(
        tmp_path, "d", [], imagePath="elsewhere.png", imageData=base64.b64encode(encode_png(FRAME)).decode()
    )
    (tmp_path / "d.png").unlink()
    frame(tmp_path / "normal" / "e.png")
    a, b, c, d, e = load_labelme(tmp_path)
    assert [r.label for r in (a, b, c, d, e)] == ["Benign", "Malignant", "Unknown", "Normal", "Normal"]
    assert [r.patient for r in (a, b)] == ["P1", "b.png"]
    masks = [r.decode().mask for r in (a, b, c, d, e)]
    assert agrees(masks[0] == 1, INSIDE) and agrees(masks[1] == 2, INSIDE)
    assert 3.14 * 36 * 0.9 < (masks[1] == 1).sum() < 3.14 * 36 * 1.2  # a circle of radius 6
    np.testing.assert_array_equal(masks[2] == 1, INSIDE)
    np.testing.assert_array_equal(d.decode().image[..., 0], FRAME)


def test_labelme_problems_are_all_named(tmp_path):
    labelme(tmp_path, "a", [shape("lesion", [[1, 2]], "point")])
    labelme(tmp_path, "b", [])
    (tmp_path / "b.png").unlink()
    frame(tmp_path / "c.png")
    labelme(tmp_path, "e", [])
    (tmp_path / "f.json").write_bytes((tmp_path / "e.json").read_bytes())
    (tmp_path / "d.json").write_text("{")
    with pytest.raises(DataError) as caught:
        load_labelme(tmp_path)
    for message in (
        "a.json: shape 'lesion' is a point of 1 point(s), without an area",
        "b.json: its picture 'b.png' is no file, and it holds none",
        "c.png: no c.json names it",
        "d.json: no JSON",
        "f.json: its picture e.png has another .json file, too. Bring their shapes into one",
    ):
        assert message in str(caught.value)


def test_labelme_shapes_beyond_the_picture(tmp_path):
    """A mask over the upper left edge keeps its part inside, and does not come in at the other side; what lies
    outside wholly is no lesion that may get lost."""
    patch = base64.b64encode(encode_png(np.full((10, 10), 255, np.uint8))).decode()
    frame(tmp_path / "a.png")
    labelme(tmp_path, "a", [shape("benign", [[-3, -4], [6, 5]], "mask", mask=patch)])
    expected = np.zeros((48, 64), bool)
    expected[:6, :7] = True
    [record] = load_labelme(tmp_path)
    np.testing.assert_array_equal(record.decode().mask > 0, expected)
    for wrong, said in (
        (shape("benign", [[80, 80], [90, 90]], "mask", mask=patch), "covers no pixel"),
        (shape("benign", [[80, 80], [90, 80], [90, 90]]), "covers no pixel"),
        (shape("benign", [[1, float("nan")], [20, 1], [20, 20]]), "coordinate nan"),
        ([1], "field shapes"),
    ):
        labelme(tmp_path, "a", [wrong])
        with pytest.raises(DataError, match=f"a.json.*{said}"):
            load_labelme(tmp_path)


def nifti(path, array):
    import nibabel

    path.parent.mkdir(exist_ok=True, parents=True)
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), path)


def test_nifti(tmp_path):
    """[X, Y, Z] on disk, [H, W] of each slice here; nnU-Net's folders and a picture of its own."""
    volume = np.stack([FRAME.T, FRAME.T[::-1], FRAME.T], -1)
    mask = np.zeros(volume.shape, np.uint8)
    mask[..., 1] = INSIDE.T * 2
    nifti(tmp_path / "imagesTr" / "case_7_0000.nii.gz", volume)
    nifti(tmp_path / "labelsTr" / "case_7.nii.gz", mask)
    nifti(tmp_path / "benign" / "flat.nii", FRAME.T.astype(np.float32))
    nifti(tmp_path / "benign" / "flat_seg.nii", INSIDE.T.astype(np.float32))
    flat, *slices = load_nifti(tmp_path)
    assert [r.filename for r in slices] == [f"imagesTr/case_7_0000_z00{z}.png" for z in range(3)]
    assert [r.label for r in slices] == ["Normal", "Unknown", "Normal"] and len(
        {r.patient for r in slices}
    ) == 1
    np.testing.assert_array_equal(slices[1].decode().image[..., 0], FRAME[:, ::-1])
    np.testing.assert_array_equal(slices[1].decode().mask == 1, INSIDE)
    assert (flat.filename, flat.label) == ("benign/flat.png", "Benign")
    np.testing.assert_array_equal(flat.decode().image[..., 0], FRAME)
    nifti(tmp_path / "benign" / "flat.nii", FRAME.T.astype(np.float32) * 10 - 7)
    with pytest.warns(
        DataWarning, match="1 file.* were scaled from their least to their greatest value: benign/flat.nii"
    ):
        flat = load_nifti(tmp_path)[0]
    low, high = int(FRAME.min()), int(FRAME.max())
    np.testing.assert_allclose(
        flat.decode().image[..., 0], (FRAME.astype(float) - low) / (high - low) * 255, atol=0.51
    )


def test_nifti_masks_are_read_as_all_masks_are(tmp_path):
    """A resampled mask has a fringe; a map of probabilities, and a mask that would lie mirrored, are refused."""
    import nibabel

    volume = np.stack([FRAME.T, FRAME.T], -1)
    fringe = np.stack([INSIDE.T, INSIDE.T], -1) * 0.999 + 0.001
    fringe[1:, :, 1] = (fringe[1:, :, 1] + fringe[:-1, :, 1]) / 2
    nifti(tmp_path / "a.nii.gz", volume)
    nifti(tmp_path / "a_mask.nii.gz", fringe)
    with pytest.warns(
        DataWarning, match="1 slice.s. of masks have values between .*: a_mask.nii.gz, slice 1$"
    ):
        first, second = load_nifti(tmp_path)
    np.testing.assert_array_equal(first.decode().mask > 0, INSIDE)
    assert 0 < (second.decode().mask.astype(bool) ^ INSIDE).sum() <= 2 * INSIDE.any(1).sum()
    nifti(tmp_path / "a_mask.nii.gz", np.random.default_rng(0).random(volume.shape))
    with pytest.raises(DataError, match="a_mask.nii.gz, slice 0.*a photograph, or a map of probabilities"):
        load_nifti(tmp_path)
    turned = nibabel.Nifti1Image(np.stack([INSIDE.T, INSIDE.T], -1).astype(np.uint8), np.diag([-1, -1, 1, 1]))
    nibabel.save(turned, tmp_path / "a_mask.nii.gz")
    with pytest.raises(
        DataError, match="a_mask.nii.gz is stored with its axes to LPS, a.nii.gz to RAS.*save it with"
    ):
        load_nifti(tmp_path)


def test_nifti_problems_are_all_named(tmp_path):
    nifti(tmp_path / "a.nii.gz", FRAME.T)
    nifti(tmp_path / "a_mask.nii.gz", INSIDE.astype(np.uint8))
    nifti(tmp_path / "b.nii.gz", FRAME.T)
    (tmp_path / "c.nii.gz").write_bytes(b"no")
    nifti(tmp_path / "c_mask.nii.gz", FRAME.T)
    nifti(tmp_path / "lost_mask.nii.gz", FRAME.T)
    # Packed and not, with one mask: the same frame would be two records of one name, and two patients.
    for name in ("twice.nii", "twice.nii.gz", "twice_mask.nii.gz"):
        nifti(tmp_path / name, INSIDE.T.astype(np.uint8))
    with pytest.raises(DataError) as caught:
        load_nifti(tmp_path)
    for message in (
        "a_mask.nii.gz has shape (48, 64, 1), a.nii.gz (64, 48, 1); expected the same",
        "b.nii.gz: no mask; expected b_mask.nii.gz beside it",
        "c.nii.gz: no NIfTI file that can be read",
        "lost_mask.nii.gz: a mask without its image",
        "twice.nii.gz: its records would have the names of those of twice.nii.",
    ):
        assert message in str(caught.value), caught.value
