"""A folder that has masks: ours, beside the pictures, COCO and LabelMe."""

import json

import numpy as np
from PIL import Image

from panet_keras.annotate import server
from tests.panet_keras.annotate.conftest import square

SIZE = (48, 64)


def test_masks_of_every_kind_come_in_once(pictures, tmp_path):
    folder, _ = pictures
    # The fixture holds the pictures unchanged; what lies beside them is another folder's here.
    place = tmp_path / "ward"
    place.mkdir()
    for path in folder.glob("a_*.png"):
        (place / path.name).write_bytes(path.read_bytes())
    Image.fromarray(square(SIZE, 1, 2, value=255)).save(place / "a_1_mask.png")
    Image.fromarray(np.zeros(SIZE, np.uint8)).save(place / "a_2_mask.png")
    Image.fromarray(np.zeros((5, 5), np.uint8)).save(place / "a_3_mask.png")
    shape = {"label": "cyst", "shape_type": "rectangle", "points": [[10, 5], [19, 14]]}
    (place / "a_4.json").write_text(json.dumps({"imagePath": "a_4.png", "shapes": [shape]}))
    corners = [[20, 8, 30, 8, 30, 20, 20, 20]]
    coco = {
        "images": [
            {"id": 1, "file_name": "a_5.png", "height": 48, "width": 64},
            {"id": 2, "file_name": "gone.png"},
            # Listed, and nobody has looked at it; and confirmed, as our own export says it.
            {"id": 3, "file_name": "a_6.png"},
            {"id": 4, "file_name": "a_7.png", "attributes": {"confirmed_empty": True}},
        ],
        "categories": [{"id": 7, "name": "Lesion"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 7, "segmentation": corners}],
    }
    (place / "a_7.png").write_bytes((place / "a_6.png").read_bytes())
    (place / "a_3.json").write_text(json.dumps({"imagePath": "a_3.png", "shapes": []}))
    (place / "coco.json").write_text(json.dumps(coco))
    said = []
    store, opened, _ = server.open_folder(place, tmp_path / "out", ["Lesion", "Cyst"], say=said.append)
    frames = {frame.name: frame for frame in opened.frames.values()}
    assert {name: store.state(frame) for name, frame in frames.items()} == {
        "a_1.png": "accepted",
        "a_2.png": "normal",
        "a_3.png": "unseen",
        "a_4.png": "accepted",
        "a_5.png": "accepted",
        "a_6.png": "unseen",
        "a_7.png": "normal",
    }
    assert (store.mask(frames["a_1.png"]) == square(SIZE, 1, 2)).all()
    assert store.labels_in(frames["a_4.png"]) == [2] and (store.mask(frames["a_4.png"]) > 0).sum() == 100
    assert 120 <= (store.mask(frames["a_5.png"]) == 1).sum() <= 143
    assert store.history(frames["a_1.png"]).by == "file"
    assert any("a_3.png: its mask is 5 x 5" in line for line in said) and any(
        "gone.png" in line for line in said
    )
    # What a person does with them holds against the files at the next start.
    store.decide(frames["a_1.png"], "rejected", store.version(frames["a_1.png"]))
    store.close()
    store, *_ = server.open_folder(place, tmp_path / "out", say=said.append)
    assert store.state(frames["a_1.png"]) == "rejected" and store.labels == ["Lesion", "Cyst"]
    store.close()


def test_outlines_that_were_drawn_on_another_size_are_not_used(pictures, tmp_path):
    """Made smaller afterwards, a picture has its lesion elsewhere."""
    folder, _ = pictures
    place = tmp_path / "ward"
    place.mkdir()
    for path in folder.glob("a_*.png"):
        (place / path.name).write_bytes(path.read_bytes())
    shape = {"label": "cyst", "shape_type": "rectangle", "points": [[10, 5], [19, 14]]}
    large = {"imagePath": "a_1.png", "imageHeight": 96, "imageWidth": 128, "shapes": [shape]}
    (place / "a_1.json").write_text(json.dumps(large))
    outline = {"category_id": 7, "segmentation": [[20, 8, 30, 8, 30, 20, 20, 20]]}
    images = [{"id": 1, "file_name": "a_2.png", "height": 96, "width": 128}]
    images += [{"id": 2, "file_name": f"a_{number}.png", "height": 48, "width": 64} for number in (3, 4)]
    annotations = [{"id": number, "image_id": number, **outline} for number in (1, 2)]
    (place / "coco.json").write_text(json.dumps({"images": images, "annotations": annotations}))
    said = []
    store, opened, _ = server.open_folder(place, tmp_path / "out", say=said.append)
    assert {store.state(frame) for frame in opened.frames.values()} == {"unseen"}
    store.close()
    assert any("marked as cyst in the files" in line and "taken for Lesion" in line for line in said), said
    for line in (
        "a_1.png: its mask is 128 x 96",
        "a_2.png: its mask is 128 x 96",
        "several images have the id 2",
    ):
        assert any(line in told for told in said), said


def test_a_broken_annotation_file_does_not_keep_the_page_from_opening(pictures, tmp_path):
    """Sizes that are no numbers, lists of the wrong things: a line each, and the good masks come in."""
    folder, _ = pictures
    place = tmp_path / "ward"
    place.mkdir()
    for path in folder.glob("a_*.png"):
        (place / path.name).write_bytes(path.read_bytes())
    shape = {"label": "lesion", "shape_type": "rectangle", "points": [[10, 5], [19, 14]]}
    (place / "a_1.json").write_text(json.dumps({"imageHeight": "x", "imageWidth": 64, "shapes": [shape]}))
    (place / "a_2.json").write_text(json.dumps({"shapes": [shape]}))
    for field, odd in (("categories", None), ("annotations", [[1]]), ("images", ["a_3.png"])):
        told = {"images": [], "annotations": [], "categories": [], field: odd}
        (place / f"{field}.json").write_text(json.dumps(told))
    sized = {"id": 1, "file_name": "a_4.png", "height": "x", "width": 64}
    outline = {"image_id": 1, "segmentation": [[20, 8, 30, 8, 30, 20, 20, 20]]}
    (place / "size.json").write_text(json.dumps({"images": [sized], "annotations": [outline]}))
    said = []
    store, opened, _ = server.open_folder(place, tmp_path / "out", say=said.append)
    states = {frame.name: store.state(frame) for frame in opened.frames.values()}
    store.close()
    assert states["a_2.png"] == "accepted" and states["a_1.png"] == states["a_4.png"] == "unseen"
    for start in (
        "a_1.png: its mask",
        "a_4.png: its mask",
        *(f"{f}.json: field {f}" for f in ("categories", "images")),
    ):
        assert any(start in line for line in said), (start, said)
