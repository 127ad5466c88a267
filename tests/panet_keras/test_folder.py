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
    assert "malignant (1).png: no mask" in str(caught.value) and "lost_mask.png: a mask without its image" in str(caught.value)
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
