import dataclasses
import hashlib

import numpy as np
import pytest
import tensorflow as tf

from panet_keras import PANetError
from panet_keras.data import Augmentation, Record, episodes
from panet_keras.data.episodic.appearance import Appearance
from panet_keras.data.episodic.augmentation import Tone
from panet_keras.data.episodic.mirrored_normals import mirrored_normal
from panet_keras.pictures.decode import encode_png

PASSES = """
import sys
from panet_keras.data import load_bus_uclm
from tests.panet_keras.test_episodes import passes
print(*passes(r for r in load_bus_uclm(sys.argv[1]) if r.patient != "PHAB"))
"""


def passes(records):
    options = {"augment": True, "pasted_lesions": 0.3, "invented_lesions": 0.3}
    data = episodes(list(records), size=(32, 32), steps=20, seed=7, **options)
    return digest(data), digest(data)


def digest(data):
    result = hashlib.sha256()
    for inputs, labels in data:
        for tensor in (*inputs.values(), labels):
            result.update(tensor.numpy().tobytes())
    return result.hexdigest()


def test_passes_differ_and_processes_agree(phantom, records, python):
    first, second = passes(records)
    assert first != second
    assert python(PASSES, phantom).stdout.split() == [first, second]


def test_resumed_and_frozen_passes(records):
    options = {"size": (32, 32), "steps": 5, "seed": 1, "augment": True}
    data = episodes(records, **options)
    first, second = digest(data), digest(data)
    assert digest(episodes(records, **options, first_epoch=1)) == second
    frozen = episodes(records, **options, frozen=True)
    assert digest(frozen) == digest(frozen) == first


def test_fit_need_not_wait_for_the_autotuner(records):
    """Leaving a dataset without end, tf.data's autotuner wakes at 10.23, 20.47 ... seconds only (in one case
    of two, by hand)."""
    assert episodes(records, size=(32, 32)).options().autotune.enabled is False


@pytest.mark.parametrize(("ways", "shots", "queries", "batch"), [(1, 1, 1, 1), (1, 3, 2, 4)])
def test_shapes_types_and_values(records, ways, shots, queries, batch):
    data = episodes(
        records,
        ways=ways,
        shots=shots,
        queries=queries,
        size=(40, 56),
        batch_size=batch,
        steps=3,
        augment=True,
    )
    assert len(data) == 3
    for inputs, labels in data:
        assert inputs["support_images"].shape == (batch, ways, shots, 40, 56, 3)
        assert inputs["support_masks"].shape == (batch, ways, shots, 40, 56, 1)
        assert inputs["query_images"].shape == (batch, queries, 40, 56, 3)
        assert labels.shape == (batch, queries, 40, 56, 1)
        assert (
            0 <= float(tf.reduce_min(inputs["query_images"]))
            and float(tf.reduce_max(inputs["query_images"])) <= 1
        )
        assert set(np.unique(labels)) <= set(range(ways + 1))
        assert np.equal(inputs["support_masks"], 1).any((3, 4, 5)).all(), "an empty support"


def flat_record(name, patient, label):
    """A frame of one grey level, so that its pixels tell which frame an episode took."""
    mask = np.zeros((32, 32), np.uint8)
    if label != "Normal":
        mask[8:20, 8:20] = 1 if label == "Benign" else 2
    grey = np.full((32, 32), 10 + 7 * int(name), np.uint8)
    return Record(name, patient, label, encode_png(grey), (encode_png(mask),), "index")


@pytest.fixture(scope="module")
def two_labels():
    labels = ["Benign", "Malignant", "Normal"]
    return [flat_record(str(i), f"p{i % 5}", labels[i % 3]) for i in range(30)]


def test_two_way_labels_follow_the_record(two_labels):
    by_grey = {10 + 7 * int(r.filename): r.label for r in two_labels}
    for inputs, labels in episodes(two_labels, ways=2, shots=2, queries=2, size=(32, 32), steps=20):
        greys = np.rint(inputs["query_images"][0, :, 0, 0, 0].numpy() * 255).astype(int)
        for grey, truth in zip(greys, labels[0].numpy()):
            assert set(np.unique(truth)) == {0, {"Benign": 1, "Malignant": 2}[by_grey[grey]]}
        supports = np.rint(inputs["support_images"][0, :, :, 0, 0, 0].numpy() * 255).astype(int)
        assert [[by_grey[g] for g in way] for way in supports] == [["Benign"] * 2, ["Malignant"] * 2]


def test_normal_queries_have_an_empty_truth(two_labels):
    data = episodes(two_labels, queries=1, size=(32, 32), steps=30, normal_queries=1.0)
    assert all(not labels.numpy().any() for _, labels in data)


def test_augmentation_moves_image_and_mask_alike():
    """A frame whose picture is its mask stays so."""
    masks = np.zeros((16, 64, 64), np.uint8)
    masks[:, 20:40, 15:45] = 1
    images = np.repeat(masks[..., None] * 255, 3, -1).astype(np.uint8)
    plain = Augmentation(tone=Tone(0.0, 0.0, 0.0, 0.0), appearance=None)
    moved, moved_masks = plain(tf.constant(images), tf.constant(masks), tf.constant([3, 4], tf.int64))
    agree = (moved.numpy()[..., 0] > 0.5) == (moved_masks.numpy() > 0)
    assert agree.mean() > 0.99
    assert (moved_masks.numpy() != masks).any((1, 2)).all()
    assert set(np.unique(moved_masks)) == {0, 1}


def test_a_lesion_is_never_lost_by_augmentation():
    masks = np.zeros((64, 32, 32), np.uint8)
    masks[:, 0, 0] = 1
    images = np.zeros((64, 32, 32, 3), np.uint8)
    _, moved = Augmentation(shift=0.5, zoom=0.5)(
        tf.constant(images), tf.constant(masks), tf.constant([0, 1], tf.int64)
    )
    assert moved.numpy().any((1, 2)).all()


def test_pasted_lesions_keep_their_mask_and_take_the_other_frame(two_labels):
    normal = {(10 + 7 * int(r.filename)) / 255 for r in two_labels if r.label == "Normal"}
    for inputs, labels in episodes(two_labels, size=(32, 32), steps=10, pasted_lesions=1.0):
        assert labels.numpy()[0, 0, 8:20, 8:20].all() and labels.numpy().sum() == 144
        corner = float(inputs["query_images"][0, 0, 0, 0, 0])
        assert min(abs(corner - grey) for grey in normal) < 1e-6


def test_invented_lesions_are_seen_where_their_mask_is(two_labels):
    areas = set()
    for inputs, labels in episodes(two_labels, ways=2, size=(32, 32), steps=20, invented_lesions=1.0):
        image, mask = inputs["query_images"].numpy()[0, 0, ..., 0], labels.numpy()[0, 0, ..., 0]
        areas.add(int((mask > 0).sum()))
        if (mask > 0).sum() > 60 and image[
            0, 0
        ] > 0.2:  # one that has an inside, and is not planted in the dark
            core, rest = image[mask > 0].mean(), image[mask == 0].mean()
            assert abs(core - rest) > 0.1 * rest
    assert len(areas) > 10


def test_frames_to_plant_on_are_needed(two_labels):
    lesions = [record for record in two_labels if record.label != "Normal"]
    with pytest.raises(PANetError, match="pasted_lesions=0.5.*frames without lesion"):
        episodes(lesions, size=(32, 32), pasted_lesions=0.5)


def test_appearance_keeps_range_and_shape_and_can_be_switched_off():
    images = tf.random.stateless_uniform((3, 33, 47, 3), [0, 0])
    seed = tf.constant([5, 6], tf.int64)
    changed = Appearance()(images, seed)
    assert (
        changed.shape == images.shape
        and 0 <= float(tf.reduce_min(changed)) <= float(tf.reduce_max(changed)) <= 1
    )
    np.testing.assert_array_equal(Appearance()(images, seed), changed)
    np.testing.assert_allclose(Appearance(0, 0, 0, 0, 0)(images, seed), images, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ways": 3}, "ways=3 with classes"),
        ({"shots": 0}, "shots=0; expected an integer of at least 1"),
        ({"normal_queries": 2}, "normal_queries=2"),
        ({"pasted_lesions": 0.6, "invented_lesions": 0.6}, "pasted_lesions . invented_lesions=1.2"),
        ({"support_from": "anywhere"}, "support_from='anywhere'"),
        ({"shots": 50}, "Lower `shots` or add images"),
    ],
)
def test_bad_arguments_are_refused(records, options, message):
    with pytest.raises(PANetError, match=message):
        episodes(records, size=(32, 32), **options)


def test_no_records_are_refused():
    with pytest.raises(PANetError, match="records is empty"):
        episodes([])


def test_superpixel_episodes_teach_from_any_frame(records, monkeypatch):
    """Support and query are two views of one frame, and something is marked on both, frames without lesion
    included."""
    normal = [record for record in records if record.label == "Normal"]
    lesions = [record for record in records if record.label != "Normal"]
    assert normal
    dataset = episodes(
        lesions + normal, batch_size=8, size=(64, 64), steps=2, superpixel_episodes=1.0, augment=True
    )
    for inputs, truth in dataset:
        assert set(np.unique(truth)) == {0, 1} == set(np.unique(inputs["support_masks"]))
        assert (
            truth.numpy().any((1, 2, 3, 4)).all()
            and inputs["support_masks"].numpy().any((1, 2, 3, 4, 5)).all()
        )
        assert not np.allclose(inputs["support_images"][:, 0, 0], inputs["query_images"][:, 0])
    monkeypatch.setitem(episodes.__globals__, "SUPERPIXEL_FRAMES", 2)
    sampled = episodes(lesions + normal, size=(64, 64), steps=20, superpixel_episodes=1.0, augment=True)
    assert all(truth.numpy().any() for _, truth in sampled)
    with pytest.raises(PANetError, match="superpixel_episodes.*expected one way"):
        episodes(records, superpixel_episodes=0.5, augment=False)


def test_the_share_of_superpixel_episodes_may_change_from_pass_to_pass(records):
    options = {"size": (64, 64), "steps": 3, "augment": True}
    changing = episodes(records, superpixel_episodes=[1.0, 0.0], **options)
    without = episodes(records, **options)
    assert digest(changing) != digest(without)
    # The second pass of each, and the last share holds on.
    assert digest(changing) == digest(without)
    assert digest(changing) == digest(without)
    with pytest.raises(PANetError, match=r"superpixel_episodes\[1\]=1.5; expected a probability"):
        episodes(records, superpixel_episodes=[1.0, 1.5], **options)


def test_episodes_stay_within_a_hospital_and_normals_are_support(two_labels):
    """Grey levels tell the frame, and frames the hospital: even ones are of the north."""
    named = [dataclasses.replace(r, source="north" if int(r.filename) % 2 else "south") for r in two_labels]
    source = {10 + 7 * int(r.filename): r.source for r in named}
    normal = {10 + 7 * int(r.filename) for r in named if r.label == "Normal"}
    data = episodes(
        named,
        shots=2,
        normals=2,
        size=(32, 32),
        steps=30,
        source_shares={"north": 3.0, "south": 1.0},
        pasted_lesions=0.0,
    )
    drawn = []
    for inputs, _ in data:
        support = np.rint(inputs["support_images"][0, 0, :, 0, 0, 0].numpy() * 255).astype(int)
        query = int(np.rint(inputs["query_images"][0, 0, 0, 0, 0].numpy() * 255))
        assert {source[grey] for grey in support} == {source[query]}
        assert [grey in normal for grey in support] == [False, False, True, True]
        assert [bool(mask.any()) for mask in inputs["support_masks"].numpy()[0, 0]] == [
            True,
            True,
            False,
            False,
        ]
        drawn.append(source[query])
    # 30 draws of 3/4: standard deviation 2.4.
    assert 14 <= drawn.count("north") <= 30
    with pytest.raises(
        PANetError, match=r"source_shares names \['west'\]; the records are of \['north', 'south'\]"
    ):
        episodes(named, size=(32, 32), source_shares={"west": 1.0})


def test_a_lesion_image_gives_a_normal_frame_of_its_own_scanner():
    image = np.tile(np.arange(40, 140, dtype=np.uint8)[None, :, None], (50, 1, 3))
    mask = np.zeros((50, 100), np.uint8)
    mask[10:30, 70:80] = 1
    made = mirrored_normal(image, mask)
    assert made.shape == image.shape
    np.testing.assert_array_equal(
        made[:, :66], image[:, :66]
    )  # the free side, up to a margin of 4 % of the width
    np.testing.assert_array_equal(made[:, 66:], image[:, 65:31:-1])
    np.testing.assert_array_equal(mirrored_normal(image[:, ::-1], mask[:, ::-1]), made[:, ::-1])
    mask[:, 30:] = 1
    assert mirrored_normal(image, mask) is None  # no side is wide enough


def test_copies_and_tiny_lesions():
    """Two patients share a picture; a lesion of 3 x 3 pixels at 96 x 128 lies between the pixels of 16 x 24
    that are taken."""
    rng = np.random.default_rng(0)
    pictures = [encode_png(rng.integers(0, 256, (96, 128, 3), np.uint8)) for _ in range(3)]
    mask = np.zeros((96, 128), np.uint8)
    mask[48:51, 60:63] = 1
    records = [
        Record(f"{patient}.png", patient, "Benign", picture, (encode_png(mask),), "index")
        for patient, picture in zip("abcd", [pictures[0], pictures[0], *pictures[1:]])
    ]
    for inputs, labels in episodes(records, size=(16, 24), steps=60):
        assert not np.array_equal(inputs["support_images"][0, 0, 0], inputs["query_images"][0, 0])
        # Rows of 6 and columns of 5.33 pixels; the centre (49.5, 61.5) is in cell (8, 11).
        for tiny in (inputs["support_masks"][0, 0, 0, ..., 0], labels[0, 0, ..., 0]):
            np.testing.assert_array_equal(np.argwhere(tiny.numpy()), [[8, 11]])


@pytest.mark.parametrize(
    "wrong", [{"steps": 0}, {"steps": -1}, {"steps": 2.5}, {"seed": -1}, {"batch_size": 0}]
)
def test_numbers_outside_their_range_are_refused(records, wrong):
    with pytest.raises(PANetError, match=f"{next(iter(wrong))}=.*; expected an integer of at least"):
        episodes(records, size=(16, 16), **wrong)


def test_records_may_come_from_a_generator(records):
    data = episodes((record for record in records), size=(16, 16), steps=1)
    for one, other in zip(data, episodes(records, size=(16, 16), steps=1)):
        np.testing.assert_array_equal(one[0]["support_images"], other[0]["support_images"])
