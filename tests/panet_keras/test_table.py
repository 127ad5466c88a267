import numpy as np
import pytest
from PIL import Image

from panet_keras import DataError
from panet_keras.data import load_bus_bra, load_csv, read_examples, to_example, write_examples


def picture(path, box=None):
    path.parent.mkdir(exist_ok=True)
    pixels = np.full((48, 64), 90 if box is None else 0, np.uint8)
    if box:
        pixels[box[0] : box[0] + 8, box[1] : box[1] + 8] = 255
    Image.fromarray(pixels).save(path)


def test_a_table_of_paths(tmp_path):
    """As a spreadsheet writes it: a byte order mark, columns in another order, more of them."""
    for name in ("a", "b"):
        picture(tmp_path / "pictures" / f"{name}.png")
    picture(tmp_path / "pictures" / "a1.png", (3, 3))
    picture(tmp_path / "pictures" / "a2.png", (30, 40))
    rows = "label,image,mask,patient,note\nbenign,pictures/a.png,pictures/a1.png|pictures/a2.png,7,x\nNormal,pictures/b.png,,8,\n"
    (tmp_path / "set.csv").write_bytes(rows.encode("utf-8-sig"))
    first, second = load_csv(tmp_path / "set.csv")
    assert (first.patient, first.label, first.decode().lesion_count) == ("7", "Benign", 2)
    assert (second.label, second.decode().mask.any()) == ("Normal", False)
    (tmp_path / "set.csv").write_text(
        rows.replace("benign", "bengin").replace(",8,", ",,").replace("/b.png", "/c.png")
    )
    with pytest.raises(DataError) as caught:
        load_csv(tmp_path / "set.csv")
    for message in (
        "row 2, field label: found 'bengin'; expected one of Normal",
        "row 3, field patient: empty",
        "row 3, field image: 'pictures/c.png' is no file",
    ):
        assert message in str(caught.value)
    (tmp_path / "set.csv").write_text(rows.replace("image", "picture"))
    with pytest.raises(DataError, match=r"columns \['image'\] are missing; found \['label', 'picture'"):
        load_csv(tmp_path / "set.csv")


def test_bus_bra(tmp_path):
    picture(tmp_path / "Images" / "bus_0001-l.png")
    picture(tmp_path / "Masks" / "mask_0001-l.png", (10, 10))
    header = "ID,Case,Histology,Pathology,BIRADS,Device,Width,Height,Side,BBOX\n"
    row = 'bus_0001-l,1,Fibroadenoma,benign,3,GE,64,48,left,"[10,10,8,8]"\n'
    (tmp_path / "bus_data.csv").write_text(header + row)
    [record] = load_bus_bra(tmp_path)
    assert (record.patient, record.label, int((record.decode().mask == 1).sum())) == ("1", "Benign", 64)
    (tmp_path / "bus_data.csv").write_text(header + row + row.replace("0001", "0002").replace("benign", "b9"))
    with pytest.raises(
        DataError, match="found 'b9'.*\n.*Images/bus_0002-l.png: missing, but bus_data.csv has row 3"
    ):
        load_bus_bra(tmp_path)


def test_cells_may_hold_any_character(tmp_path):
    """U+2028 and a quoted line end are no new rows; spreadsheets of other countries separate by
    semicolons."""
    picture(tmp_path / "p" / "a.png")
    picture(tmp_path / "p" / "b.png")
    picture(tmp_path / "p" / "m.png", (3, 3))
    rows = [
        ["image", "mask", "patient", "label", "note", "source"],
        ["p/a.png", "p/m.png", "7", "Benign", "'one\u2028two\x85three'", "GE"],
        ["p/b.png", "", "8", "Normal", "'four\nfive'", ""],
    ]
    for delimiter, end in ((",", "\n"), (";", "\r\n"), ("\t", "\n")):
        text = end.join(delimiter.join(row) for row in rows).replace("'", '"') + end
        (tmp_path / "set.csv").write_bytes(text.encode())
        first, second = load_csv(tmp_path / "set.csv")
        assert (first.patient, first.source, second.patient, second.source) == ("7", "GE", "8", "")
    write_examples([to_example(record.decode()) for record in (first, second)], tmp_path / "split")
    assert [record.source for record in read_examples(tmp_path / "split")] == ["GE", ""]
    (tmp_path / "set.csv").write_text("image,mask,patient,label\np/a.png,p/m.png,7,Benign,more\n")
    with pytest.raises(DataError, match="row 2: 5 fields; the header has 4"):
        load_csv(tmp_path / "set.csv")


HEAD = "image,mask,patient,label\n"
ROW = "p/a.png,p/m.png,7,Benign\n"
NOTED = "image,mask,patient,label,note\n"


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ((HEAD + ROW).encode("utf-16"), 1),
        ("sep=;\r\n" + (HEAD + ROW).replace(",", ";"), 1),
        ("\n\n" + (HEAD + ROW).replace(",", "\t"), 1),
        ("Image, MASK ,Patient,label\n" + ROW, 1),
        (HEAD + "p\\a.png,p\\m.png | p/m2.png,7,Benign\n", 2),
        (HEAD + "p/a%20b.png,p/m.png,7,Benign\n", 1),
        (HEAD + "p/a\u0308.png,p/m.png,7,Benign\n", 1),
        (HEAD + "p/a.png,NaN,7,Normal\n", 0),
        (
            "image,mask,mask,patient,label\np/a.png,p/m.png,p/m2.png,7,Benign\n",
            r"columns \['mask'\] come twice",
        ),
        (
            HEAD.replace("mask", "mask,Mask") + "p/a.png,p/m.png,p/m2.png,7,Benign\n",
            r"columns \['mask'\] come twice",
        ),
        (
            HEAD + ROW.replace("7", "nan") + "p/b.png,,None,Normal\n",
            "row 2, field patient: empty.*\n.*row 3, field pat",
        ),
        (
            HEAD + ROW + "./p/a.png,p/m2.png,7,Benign\n",
            "row 3, field image: ./p/a.png has a row already, 2. Keep one",
        ),
        (NOTED + ROW[:-1] + ',"5 cm\np/b.png,,8,Normal,\n', "unexpected end of data.*Is a quote not closed"),
        ((HEAD + ROW).encode("utf-16-le"), "not UTF-8 .zero bytes"),
        (HEAD + ROW.replace("p/a", "x" * 400), "is no file in"),
    ],
)
def test_tables_as_programs_write_them(tmp_path, table, expected):
    """Either every row is read as it was meant, or none."""
    for name in ("a", "b", "a b", "\u00e4"):
        picture(tmp_path / "p" / f"{name}.png")
    picture(tmp_path / "p" / "m.png", (3, 3))
    picture(tmp_path / "p" / "m2.png", (30, 40))
    (tmp_path / "set.csv").write_bytes(table if isinstance(table, bytes) else table.encode())
    if isinstance(expected, str):
        with pytest.raises(DataError, match=expected):
            load_csv(tmp_path / "set.csv")
    else:
        [record] = load_csv(tmp_path / "set.csv")
        assert (record.patient, record.decode().lesion_count) == ("7", expected)


def test_patients_that_may_be_one_are_said(tmp_path):
    for name in ("a", "b", "c", "d"):
        picture(tmp_path / f"{name}.png")
    patients = ("P 1", "p1\u200b", "P2", "M\u00fc")
    rows = [f"{name}.png,,{patient},Normal" for name, patient in zip("abcd", patients)]
    (tmp_path / "set.csv").write_text(HEAD + "\n".join(rows), "utf-8")
    with pytest.warns(
        UserWarning, match="patients 'P 1' and 'p1.u200b' differ in case, spaces or invisible signs"
    ):
        load_csv(tmp_path / "set.csv")
    rows[1:3] = ["b.png,,Mu\u0308,Normal"]
    (tmp_path / "set.csv").write_text(HEAD + "\n".join(rows), "utf-8")
    assert [record.patient for record in load_csv(tmp_path / "set.csv")] == ["P 1", "M\u00fc", "M\u00fc"]
