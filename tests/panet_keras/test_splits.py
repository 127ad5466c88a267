import pytest

from panet_keras import PANetError
from panet_keras.data import hold_out, k_folds, load_bus_uclm, patients, split_by_patients
from tests.checks import synthetic_records


def test_no_patient_is_on_two_sides_for_any_seed():
    records = synthetic_records(6, 5)
    for seed in range(100):
        split = hold_out(records, seed=seed)
        assert not set(patients(split["train"])) & set(patients(split["test"])) and split["train"] and split["test"]
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
