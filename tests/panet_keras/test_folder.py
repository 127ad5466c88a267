import numpy as np
import pytest
from PIL import Image

from panet_keras import DataError, DataWarning
from panet_keras.data import Record, load_folder


def square(mode, y, x):
    pixels = np.zeros((48, 64), np.uint8)
    pixels[y : y + 8, x : x + 8] = 255
    return Image.fromarray(pixels).convert(mode)


def test_several_masks_of_one_image_are_united(tmp_path):
    Image.new("RGB", (64, 48), (90, 90, 90)).save(tmp_path / "benign (4).png")
    square("RGBA", 5, 5).save(tmp_path / "benign (4)_mask.png")
    square("L", 30, 40).save(tmp_path / "benign (4)_mask_1.png")
    [record] = load_folder(tmp_path)
    sample = record.decode()
    assert (sample.mask > 0).sum() == 128 and sample.lesion_count == 2
    assert record.label == "Benign" and record.filename == "benign (4).png"


def test_images_without_masks_and_masks_without_images_are_named(tmp_path):
    Image.new("L", (64, 48)).save(tmp_path / "malignant (1).png")
    square("L", 1, 1).save(tmp_path / "lost_mask.png")
    (tmp_path / "normal").mkdir()
    Image.new("L", (64, 48)).save(tmp_path / "normal" / "x.png")
    with pytest.raises(DataError) as caught:
        load_folder(tmp_path)
    assert len(caught.value.problems) == 2
    assert "malignant (1).png: no mask" in str(
        caught.value
    ) and "lost_mask.png: a mask without its image" in str(caught.value)
    with pytest.raises(DataError, match="no pictures"):
        (tmp_path / "empty").mkdir()
        load_folder(tmp_path / "empty")


def test_mask_of_another_size_is_stretched_to_the_image():
    """An image of 80 x 48 with a bright box at 0.25 to 0.5, its mask at 96 x 72 with the same box."""
    image, mask = np.zeros((48, 80), np.uint8), np.zeros((72, 96), np.uint8)
    for array in (image, mask):
        height, width = array.shape
        array[height // 4 : height // 2, width // 4 : width // 2] = 255
    from panet_keras.pictures.decode import encode_png

    record = Record("b.png", "b", "Benign", encode_png(image), (encode_png(mask),), "binary")
    with pytest.warns(DataWarning, match="mask is 96 x 72, image b.png is 80 x 48"):
        sample = record.decode()
    truth = image > 0
    assert ((sample.mask > 0) & truth).sum() / ((sample.mask > 0) | truth).sum() >= 0.95


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("a.png", "a_mask.PNG"),
        ("a.jpg", "a_mask.bmp"),
        ("a.TIF", "a_Mask_2.tiff"),
        ("case001.png", "case001_tumor.png"),
        ("a.png", "a_seg.png"),
        ("a.png", "a-label.png"),
        ("a.png", "a_gt.gif"),
        ("images/a.png", "masks/a.png"),
        ("benign/Images/a.jpg", "benign/Masks/a.png"),
        ("images/benign/a.jpg", "labels/benign/a_mask.png"),
        ("a.png", "masks/a.png"),
    ],
)
def test_masks_are_found_as_people_name_them(tmp_path, image, mask):
    for name in (image, mask):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
    square("L", 20, 20).save(tmp_path / image)
    square("L", 5, 5).save(tmp_path / mask)
    (tmp_path / "._b.png").write_bytes(b"\0\5\x16\7")
    [record] = load_folder(tmp_path)
    assert record.filename == image and record.masks == (str(tmp_path / mask),)
    assert (record.decode().mask > 0).sum() == 64


def test_a_name_that_looks_like_a_mask_s_is_an_image_without_one_beside(tmp_path):
    square("L", 20, 20).save(tmp_path / "benign_tumor.png")
    square("L", 5, 5).save(tmp_path / "benign_tumor_mask.png")
    [record] = load_folder(tmp_path)
    assert record.filename == "benign_tumor.png"


def test_other_formats_are_named_with_the_way_in(tmp_path):
    square("L", 20, 20).save(tmp_path / "a.png")
    square("L", 20, 20).save(tmp_path / "b.png")
    (tmp_path / "a.json").write_text('{"version": "5.4", "shapes": []}')
    (tmp_path / "all.json").write_text('{"images": [], "annotations": []}')
    (tmp_path / "IM0001").write_bytes(bytes(128) + b"DICM")
    with pytest.raises(DataError) as caught:
        load_folder(tmp_path)
    for message in (
        "a.png: no mask a_mask.png, but a.json, which is a LabelMe annotation",
        "b.png: no mask; expected b_mask.png beside it (or masks/b.png beside images/)",
        "1 DICOM file(s), as IM0001: they are read by load_dicom (data.layout: dicom)",
        "1 file(s), as all.json: a COCO annotation (.json). Draw it as a mask in PNG, or read the data set with load_coco",
    ):
        assert message in str(caught.value), caught.value


def test_one_mask_of_two_pictures_is_refused(tmp_path):
    """The same frame as PNG and as JPEG would be two patients, of which one may be in training and one in the test."""
    pixels = np.zeros((48, 64), np.uint8)
    pixels[10:20, 10:30] = 255
    for name in ("x.png", "x.jpg", "x_mask.png", "y.png", "y_mask.png", "y_mask_1.png"):
        Image.fromarray(pixels).save(tmp_path / name)
    with pytest.raises(DataError, match="x_mask.png: may be of x.jpg or of x.png") as error:
        load_folder(tmp_path)
    assert len(error.value.problems) == 1
    (tmp_path / "x.jpg").unlink()
    assert [len(record.masks) for record in load_folder(tmp_path)] == [1, 2]


def test_normalized_pictures_are_no_normal_frames(tmp_path):
    for folder, name in (("normalized", "x.png"), ("Normalised", "y.png"), ("normals", "normal_1.png")):
        (tmp_path / folder).mkdir()
        Image.new("L", (64, 48), 90).save(tmp_path / folder / name)
    with pytest.raises(DataError, match="normalized/x.png: no mask") as error:
        load_folder(tmp_path)
    assert len(error.value.problems) == 2
