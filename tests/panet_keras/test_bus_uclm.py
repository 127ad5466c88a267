import warnings

import numpy as np
import pytest
from PIL import Image

from panet_keras import DataError, DataWarning
from panet_keras.data import decode_all, load_bus_uclm
from tests.checks import write_bus_uclm

ROWS = [
    ("ALWI_000.png", "64x48", "Benign", "No", "Yes", "No"),
    ("ALWI_001.png", "64x48", "Normal", "No", "No", "No"),
    ("COPE_000.png", "64x48", "Malignant", "Yes", "No", "No"),
    ("COPE_001.png", "64x48", "Normal", "No", "No", "Yes"),
]


def facts(folder):
    return [(r.filename, r.patient, r.label, r.doppler, r.marks, r.combined) for r in load_bus_uclm(folder)]


def test_spreadsheet_habits_do_not_matter(tmp_path):
    with_bom = facts(write_bus_uclm(tmp_path / "a", ROWS))
    without = write_bus_uclm(tmp_path / "b", ROWS, newline="\r\n", bom=False)
    (without / "INFO.csv").write_bytes((without / "INFO.csv").read_bytes() + b"\r\n")
    assert with_bom == facts(without)
    assert with_bom[2] == ("COPE_000.png", "COPE", "Malignant", True, False, False)


def test_wrong_separator_and_wrong_values_are_named(tmp_path):
    folder = write_bus_uclm(tmp_path / "c", ROWS)
    text = (folder / "INFO.csv").read_text("utf-8-sig")
    (folder / "INFO.csv").write_text(text.replace(";", ","))
    with pytest.raises(DataError, match="INFO.csv(?s:.*)header found: 'Image,Resolution.*separator ';'"):
        load_bus_uclm(folder)
    text = text.replace("001.png;64x48;Normal;No", "001.png;64x48;benigno;No", 1).replace(
        "Malignant;Yes", "Malignant;maybe"
    )
    (folder / "INFO.csv").write_text(text)
    with pytest.raises(DataError) as caught:
        load_bus_uclm(folder)
    assert len(caught.value.problems) == 2
    assert "row 3, field Label: found 'benigno'; expected one of Normal, Benign, Malignant" in str(
        caught.value
    )
    assert "row 4, field Doppler: found 'maybe'; expected one of Yes, No" in str(caught.value)


def test_missing_and_extra_files_are_all_named(tmp_path):
    folder = write_bus_uclm(tmp_path / "d", ROWS)
    (folder / "masks" / "COPE_000.png").unlink()
    (folder / "images" / "ALWI_001.png").rename(folder / "images" / "ALWI_009.png")
    with pytest.raises(DataError) as caught:
        load_bus_uclm(folder)
    for expected in (
        "masks/COPE_000.png: missing",
        "images/ALWI_001.png: missing",
        "no row for images/ALWI_009.png",
    ):
        assert expected in str(caught.value)


def test_extra_mask_alone_is_a_warning(tmp_path):
    folder = write_bus_uclm(tmp_path / "e", ROWS)
    Image.new("RGB", (64, 48)).save(folder / "masks" / "ZZZZ_000.png")
    with pytest.warns(DataWarning, match="ZZZZ_000.png: belongs to no image"):
        assert len(load_bus_uclm(folder)) == 4


@pytest.mark.parametrize("content", ["", "header"])
def test_empty_set_is_refused(tmp_path, content):
    folder = write_bus_uclm(tmp_path / "f", [])
    if not content:
        (folder / "INFO.csv").write_text("")
    with pytest.raises(DataError, match="INFO.csv(?s:.*)(header only|header found)"):
        load_bus_uclm(folder)
    with pytest.raises(DataError, match="INFO.csv is missing; found no such folder"):
        load_bus_uclm(tmp_path / "nowhere")


def test_real_data_set_is_read_whole(bus_uclm):
    """Every decoded mask agrees with its label; the 13 HESN images keep their own size."""
    records = load_bus_uclm(bus_uclm)
    assert len(records) == 516 and len({r.patient for r in records}) == 28
    chosen = [r for r in records if r.patient in ("HESN", "CHCO", "CRCI", "ALWI")]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        samples = list(decode_all(chosen))
    assert sum("stretched" in str(w.message) for w in caught) == 13
    for sample in samples:
        classes = set(np.unique(sample.mask)) - {0}
        assert classes == {"Normal": set(), "Benign": {1}, "Malignant": {2}}[sample.record.label]
    hesn = next(s for s in samples if s.record.filename == "HESN_003.png")
    assert hesn.image.shape == (485, 792, 3) == (*hesn.mask.shape, 3)
    # Aligned: the rim is brighter than the lesion by 38 grey levels (shared/cases.md, case 5).
    from scipy import ndimage

    lesion = hesn.mask > 0
    rim = ndimage.binary_dilation(lesion, iterations=15) & ~lesion
    assert hesn.image[rim].mean() - hesn.image[lesion].mean() > 30


@pytest.mark.parametrize(("yes", "no"), [("Y", "n"), ("1", "0"), ("TRUE", "False")])
def test_flags_as_people_write_them_are_read_and_said(tmp_path, yes, no):
    folder = write_bus_uclm(
        tmp_path / "a", [(*row[:3], *(yes if flag == "Yes" else no for flag in row[3:])) for row in ROWS]
    )
    with pytest.warns(DataWarning, match=rf"INFO.csv: flags were read: .*{yes} as Yes.*\."):
        found = facts(folder)
    assert found == facts(write_bus_uclm(tmp_path / "b", ROWS))
