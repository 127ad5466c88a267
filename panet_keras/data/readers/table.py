"""Data sets that a CSV file describes: one of one's own, and BUS-BRA."""

import csv
import io
import os
import pathlib

from panet_keras.data.records import LABELS, Record
from panet_keras.errors import DataError

COLUMNS = ("image", "mask", "patient", "label")
OPTIONAL = ("source",)
BUS_BRA_COLUMNS = ("ID", "Case", "Pathology")


def load_csv(path):
    """Reads a CSV file with the columns `image`, `mask`, `patient` and `label`, in any order; further ones
    are left alone.

    A column `source` (hospital or device) is kept, where there is one.

    Paths are relative to the file's folder, or absolute. Several masks of an image are joined by `|`; none is
    allowed where the label is Normal. Masks are black and white: white is lesion. Labels are Normal, Benign,
    Malignant or Unknown, in any case.

    Args:
        path: the CSV file, UTF-8, separated by commas, semicolons or tabs.

    Returns:
        List of `Record`, in the file's order.

    Raises:
        DataError: lists every missing column, file, value and repeated image with its row.
    """
    path = pathlib.Path(path)
    rows = _read(path, COLUMNS, OPTIONAL)
    records, problems, seen = [], [], set()
    for number, row in rows:
        label = {name.lower(): name for name in LABELS}.get(row["label"].lower())
        if label is None:
            problems.append(
                f"row {number}, field label: found {row['label']!r}; expected one of {', '.join(LABELS)}."
            )
        masks = [mask for mask in row["mask"].split("|") if mask]
        if not masks and label != "Normal":
            problems.append(
                f"row {number}, field mask: empty; expected the path of a mask, or the label Normal."
            )
        if not row["patient"]:
            problems.append(
                f"row {number}, field patient: empty; expected an identifier, for splits go by patient."
            )
        if row["image"] in seen:
            problems.append(f"row {number}, field image: {row['image']} has a row already. Delete one.")
        seen.add(row["image"])
        for field, names in (("image", [row["image"]]), ("mask", masks)):
            problems += [
                f"row {number}, field {field}: {name!r} is no file in {path.parent}. Correct the path."
                for name in names
                if not name or not (path.parent / name).is_file()
            ]
        records.append(
            Record(
                filename=row["image"],
                patient=row["patient"],
                label=label or "Unknown",
                image=os.fspath(path.parent / row["image"]),
                masks=tuple(os.fspath(path.parent / mask) for mask in masks),
                mask_format="binary",
                source=row["source"],
            )
        )
    if problems:
        raise DataError(path, problems)
    return records


def load_bus_bra(directory):
    """Reads BUS-BRA (Gomez-Flores et al., Medical Physics 2024, doi 10.1002/mp.16812).

    The layout is `bus_data.csv`, `Images/bus_0001-l.png` and `Masks/mask_0001-l.png`; `Case` is the patient,
    `Pathology` the label.

    Args:
        directory: the folder.

    Returns:
        List of `Record`, in the file's order.

    Raises:
        DataError: lists every missing column and file, and every unknown pathology.
    """
    directory = pathlib.Path(directory)
    rows = _read(directory / "bus_data.csv", BUS_BRA_COLUMNS)
    records, problems = [], []
    for number, row in rows:
        label = row["Pathology"].capitalize()
        if label not in ("Benign", "Malignant"):
            problems.append(
                f"bus_data.csv row {number}, field Pathology: found {row['Pathology']!r}; expected benign or malignant."
            )
        image = directory / "Images" / f"{row['ID']}.png"
        mask = directory / "Masks" / f"{row['ID'].replace('bus_', 'mask_', 1)}.png"
        problems += [
            f"{file.relative_to(directory)}: missing, but bus_data.csv has row {number} for it. Restore it or delete the row."
            for file in (image, mask)
            if not file.is_file()
        ]
        records.append(
            Record(
                filename=image.name,
                patient=row["Case"],
                label=label,
                image=os.fspath(image),
                masks=(os.fspath(mask),),
                mask_format="binary",
            )
        )
    if problems:
        raise DataError(directory, problems)
    return records


def read_rows(path, expected, delimiter=None):
    """Cells of a CSV file, row by row: quoted cells may hold line ends, and no other character ends a line.

    Args:
        path: `pathlib.Path`. expected: what kind of file, for messages. delimiter: None: the header's.

    Returns:
        List of (row number from 1, list of stripped cells), without empty rows.

    Raises:
        DataError: no such file, not UTF-8, or no CSV.
    """
    try:
        # utf-8-sig: what spreadsheets write begins with a mark that would become part of the first column's
        # name.
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or f"not UTF-8 ({error})"
        raise DataError(path, [f"{reason}; expected {expected}. Save it as CSV, UTF-8."]) from None
    header = text[: min((text + "\n").index("\n"), (text + "\r").index("\r"))]
    delimiter = delimiter or max(",;\t", key=header.count)
    try:
        rows = list(enumerate(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), 1))
    except csv.Error as error:
        raise DataError(path, [f"cannot be read as CSV ({error}); expected {expected}."]) from None
    rows = [(number, [cell.strip() for cell in cells]) for number, cells in rows]
    return [(number, cells) for number, cells in rows if any(cells)]


def _read(path, columns, optional=()):
    """(row number, dictionary of stripped values) of each row of a CSV file that has the columns; optional
    ones are "" without."""
    rows = read_rows(path, f"a CSV file with the columns {', '.join(columns)}")
    header = rows[0][1] if rows else []
    missing = [name for name in columns if name not in header]
    if missing:
        raise DataError(
            path,
            [
                f"columns {missing} are missing; found {header}; expected {list(columns)}, separated by commas."
            ],
        )
    if not rows[1:]:
        raise DataError(path, ["header only, no images; expected at least one row."])
    long = [
        f"row {number}: {len(cells)} fields; the header has {len(header)}. Quote cells that hold a separator."
        for number, cells in rows
        if len(cells) > len(header)
    ]
    if long:
        raise DataError(path, long)
    read = []
    for number, cells in rows[1:]:
        row = dict(zip(header, cells))
        read.append((number, {name: row.get(name, "") for name in (*columns, *optional)}))
    return read
