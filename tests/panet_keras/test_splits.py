import dataclasses

import numpy as np
import pytest

from panet_keras import DataWarning, PANetError
from panet_keras.data import (
    Record,
    hold_out,
    hold_out_each,
    k_folds,
    load_bus_uclm,
    patients,
    split_by_patients,
)
from tests.checks import synthetic_records
from tests.panet_keras.test_doors import saved


def test_no_patient_is_on_two_sides_for_any_seed():
    records = synthetic_records(6, 5)
    for seed in range(100):
        split = hold_out(records, seed=seed)
        assert (
            not set(patients(split["train"])) & set(patients(split["test"]))
            and split["train"]
            and split["test"]
        )
        folds = k_folds(records, 3, seed)
        assert sorted(sum(folds, [])) == patients(records) and all(folds)
    assert k_folds(records, 3, 7) == k_folds(records, 3, 7)
    assert len({str(k_folds(records, 3, seed)) for seed in range(20)}) > 1


def test_impossible_splits_are_refused_with_the_numbers():
    records = synthetic_records(6, 5)
    with pytest.raises(PANetError, match="k=7 folds of 6 patients"):
        k_folds(records, 7)
    with pytest.raises(PANetError, match=r"\['NONE'\] have no image"):
        split_by_patients(records, ["NONE"])
    with pytest.raises(PANetError, match="6 of 6 patients"):
        split_by_patients(records, patients(records))


def test_real_folds_are_balanced(bus_uclm):
    records = load_bus_uclm(bus_uclm)
    for fold in k_folds(records, 3):
        lesions = [r for r in records if r.patient in fold and r.label != "Normal"]
        assert 54 <= len(lesions) <= 82  # 204 / 3 = 68, one fifth either way
        assert {r.label for r in lesions} == {"Benign", "Malignant"}


def test_normal_frames_of_other_people_are_on_both_sides():
    records = synthetic_records(6, 2) + [
        dataclasses.replace(record, patient=f"N{record.patient}", filename=f"N{record.filename}")
        for record in synthetic_records(9, 1, "Normal")
    ]
    for seed in range(20):
        assert [sum(name.startswith("N") for name in fold) for fold in k_folds(records, 3, seed)] == [3, 3, 3]
        assert sum(record.label == "Normal" for record in hold_out(records, seed=seed)["test"]) == 3


def test_one_patient_cannot_be_held_out():
    with pytest.raises(
        PANetError, match=r"hold_out got 1 patient\(s\) \(P00\); a split by patient needs at least 2"
    ):
        hold_out(synthetic_records(1, 5))


def test_a_copy_in_another_format_is_a_copy():
    pixels = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    contents = {("P00", 0): saved(pixels, "PNG"), ("P03", 1): saved(pixels, "BMP")}
    records = [
        dataclasses.replace(
            record, image=contents.get((record.patient, int(record.filename[-5])), record.image)
        )
        for record in synthetic_records(6, 2)
    ]
    for seed in range(10):
        with pytest.warns(DataWarning, match="1 picture.s. .*P00_000.png = P03_001.png"):
            split = hold_out(records, seed=seed)
        assert len({"P00", "P03"} & set(patients(split["test"]))) in (0, 2)


def test_copies_in_two_hospitals_stay_on_one_side():
    """A and B share the pictures of one patient each; C's only patient beside a copy of B's is drawn to the
    other side."""
    sources = [
        [
            dataclasses.replace(record, patient=f"{name}/{record.patient}", source=name)
            for record in synthetic_records(count, 2)
        ]
        for name, count in (("A", 6), ("B", 6), ("C", 2))
    ]
    alone = [hold_out(records, seed=3) for records in sources]
    split = hold_out_each(sources, seed=3)
    assert split == {side: [r for one in alone for r in one[side]] for side in ("train", "test")}

    def copied(record):
        """P00 of each hospital has one picture."""
        return dataclasses.replace(
            record, image=b"same" if record.filename == "P00_001.png" else record.image
        )

    sources = [[copied(record) for record in records] for records in sources]
    sides = set()
    for seed in range(20):
        with pytest.warns(DataWarning, match="1 picture.s. came under more than one patient"):
            split = hold_out_each(sources, seed=seed)
        both = [set(patients(split[side])) for side in ("train", "test")]
        assert not both[0] & both[1] and len(both[0] | both[1]) == 14
        assert [{name[0] for name in side} for side in both] == [{"A", "B", "C"}] * 2
        [home] = [number for number, side in enumerate(both) if "A/P00" in side]
        assert {"B/P00", "C/P00"} <= both[home] and "C/P01" in both[1 - home]
        sides.add(home)
    assert sides == {0, 1}
    with pytest.raises(
        PANetError, match=r"source C: hold_out got 1 patient\(s\) \(C/P01\); a split by patient"
    ):
        hold_out_each([[record for record in sources[2] if record.patient == "C/P01"]])


@pytest.mark.parametrize("on_disk", [False, True])
def test_copies_of_a_picture_stay_on_one_side_and_are_named(tmp_path, on_disk):
    """Six patients; the first and the last share a picture, and so do the last and the second."""
    contents = {("P00", 0): b"same", ("P05", 0): b"same", ("P05", 1): b"too", ("P01", 1): b"too"}
    records = []
    for record in synthetic_records(6, 2):
        number = int(record.filename[-5])
        content = contents.get((record.patient, number), record.filename.encode())
        if on_disk:
            (tmp_path / record.filename).write_bytes(content)
        records.append(
            dataclasses.replace(record, image=str(tmp_path / record.filename) if on_disk else content)
        )
    for seed in range(20):
        with pytest.warns(
            DataWarning,
            match="2 picture.s. came under more than one patient, who stay on one side: .*P00_000.png = P05_000.png",
        ):
            folds = k_folds(records, 3, seed)
        assert sorted(sum(folds, [])) == patients(records)
        assert any({"P00", "P01", "P05"} <= set(fold) for fold in folds)
        with pytest.warns(DataWarning, match="came under more than one patient"):
            split = hold_out(records, seed=seed)
        assert len({"P00", "P01", "P05"} & set(patients(split["test"]))) in (0, 3)
    with pytest.raises(
        PANetError, match="k=5 folds of 6 patients, of whom some share pictures .*expected k from 2 to 4"
    ):
        k_folds(records, 5)


def test_patients_who_share_pictures_in_a_chain_are_one_group_and_no_file_is_read():
    """P00 and P01 share a picture, P01 and P02 another, P04 and P05 a third; the paths lead nowhere."""
    records = [
        dataclasses.replace(record, image=f"/nowhere/{record.filename}") for record in synthetic_records(6, 3)
    ]
    content = [f"{record.filename}" for record in records]
    places = {
        name: [n for n, record in enumerate(records) if record.patient == name] for name in patients(records)
    }
    for one, other, shared in (("P02", "P01", 2), ("P01", "P00", 1), ("P05", "P04", 0)):
        content[places[one][shared]] = content[places[other][shared]]
    for seed in range(20):
        with pytest.warns(DataWarning, match=r"3 picture\(s\) came under more than one patient"):
            split = hold_out(records, 0.5, seed, content)
        sides = {record.patient: name for name in split for record in split[name]}
        assert sides["P00"] == sides["P01"] == sides["P02"] and sides["P04"] == sides["P05"]
        assert set(sides.values()) == {"train", "test"}
    with pytest.raises(ValueError, match="shorter"):
        hold_out(records, 0.5, 0, content[:-1])


@pytest.mark.parametrize(
    ("share", "tested"), [(0.1, 2), (1 / 3, 7), (0.4, 8), (0.5, 10), (0.6, 12), (0.8, 16)]
)
def test_as_many_patients_are_tested_as_the_share_says(share, tested):
    records = synthetic_records(20, 2)
    split = hold_out((record for record in records), share)  # a generator is a list that can be read once
    assert len(patients(split["test"])) == tested and len(patients(split["train"])) == 20 - tested
    again = split_by_patients(iter(records), patients(split["test"]))
    assert again == split


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": "malignant"}, "record a.png: label='malignant'; expected one of Normal, Benign"),
        ({"mask_format": "gray"}, "mask_format='gray'; expected one of colour, binary, index"),
        ({"masks": "a_mask.png"}, r"masks is one str; expected \(mask,\)"),
        ({"patient": 7}, "patient=7; expected text. Read the table with dtype=str"),
    ],
)
def test_a_record_of_an_unknown_kind_is_refused(changes, message):
    with pytest.raises(PANetError, match=message):
        Record(**{"filename": "a.png", "patient": "a", "label": "Benign", "image": "a.png"} | changes)
