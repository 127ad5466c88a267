"""Data sets that a CSV file describes: one of one's own, and BUS-BRA."""

import codecs
import csv
import io
import os
import pathlib
import re
import unicodedata
import warnings

from panet_keras.data.readers.named import find_file
from panet_keras.data.records import LABELS, Record
from panet_keras.errors import DataError, DataWarning

COLUMNS = ("image", "mask", "patient", "label")
OPTIONAL = ("source",)
BUS_BRA_COLUMNS = ("ID", "Case", "Pathology")
NOTHING = {"nan", "null", "none", "n/a", "#n/a", "<na>"}
"""What programs write for an empty cell: as a patient it would put all unknown ones into one."""


def load_csv(path):
    """Reads a CSV file with the columns `image`, `mask`, `patient` and `label`, in any order and case; further
    ones are left alone.

    A column `source` (hospital or device) is kept, where there is one.

    Paths are relative to the file's folder, or absolute; those of Windows are found, too
    (`readers.named.find_file`). Several masks of an image are joined by `|`; none is
    allowed where the label is Normal. Masks are black and white: white is lesion. Labels are Normal, Benign,
    Malignant or Unknown, in any case. `nan`, `null` and the like are empty cells.

    Args:
        path: the CSV file, UTF-8 or UTF-16 with its mark, separated by commas, semicolons or tabs.

    Returns:
        List of `Record`, in the file's order.

    Raises:
        DataError: lists every missing column, file, value and repeated image with its row.

    Warns:
        DataWarning: patients whose identifiers differ in case or spaces alone.
    """
    path = pathlib.Path(path)
    rows = _read(path, COLUMNS, OPTIONAL)
    records, problems, seen = [], [], {}
    for number, row in rows:
        label = {name.lower(): name for name in LABELS}.get(row["label"].lower())
        if label is None:
            problems.append(
                f"row {number}, field label: found {row['label']!r}; expected one of {', '.join(LABELS)}."
            )
        masks = [mask.strip() for mask in row["mask"].split("|") if mask.strip()]
        if not masks and label != "Normal":
            problems.append(
                f"row {number}, field mask: empty; expected the path of a mask, or the label Normal."
            )
        if not row["patient"]:
            problems.append(
                f"row {number}, field patient: empty; expected an identifier, for splits go by patient."
            )
        places = {name: find_file(path.parent, name) for name in (row["image"], *masks)}
        problems += [
            f"row {number}, field {field}: {name!r} is no file in {path.parent}. Correct the path."
            for field, names in (("image", [row["image"]]), ("mask", masks))
            for name in names
            if not places[name]
        ]
        image = places[row["image"]] or path.parent / row["image"]
        first = seen.setdefault(os.path.realpath(image), number)
        if first != number:
            problems.append(
                f"row {number}, field image: {row['image']} has a row already, {first}. Keep one row, with all its masks joined by '|'."
            )
        records.append(
            Record(
                filename=row["image"],
                patient=row["patient"],
                label=label or "Unknown",
                image=os.fspath(image),
                masks=tuple(os.fspath(places[mask]) for mask in masks if places[mask]),
                mask_format="binary",
                source=row["source"],
            )
        )
    if problems:
        raise DataError(path, problems)
    warn_of_twins(path, (record.patient for record in records))
    return records


def warn_of_twins(where, patients):
    """Warns of patients who may be one: their images may be on two sides of a split."""
    spelled = {}
    for patient in patients:
        seen = "".join(char for char in patient if not char.isspace() and unicodedata.category(char) != "Cf")
        spelled.setdefault(seen.casefold(), {})[patient] = None
    twins = [" and ".join(map(repr, names)) for names in spelled.values() if len(names) > 1]
    if twins:
        warnings.warn(
            f"{where}: patients {'; '.join(twins[:5])}{' ...' if len(twins) > 5 else ''} differ in case, spaces or invisible signs alone and count as "
            "several. Write one patient in one way.",
            DataWarning,
            stacklevel=3,
        )


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
    records, problems, seen = [], [], {}
    for number, row in rows:
        first = seen.setdefault(row["ID"], number)
        if first != number:
            problems.append(
                f"bus_data.csv row {number}, field ID: {row['ID']} has a row already, {first}. Delete one."
            )
        if not row["Case"]:
            problems.append(
                f"bus_data.csv row {number}, field Case: empty; expected the patient, for splits go by it."
            )
        label = row["Pathology"].capitalize()
        if label not in ("Benign", "Malignant"):
            problems.append(
                f"bus_data.csv row {number}, field Pathology: found {row['Pathology']!r}; expected benign or malignant."
            )
            label = "Unknown"
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
    warn_of_twins(directory, (record.patient for record in records))
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
        content = path.read_bytes()
        # What spreadsheets write begins with a mark that would become part of the first column's name.
        wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        text = content.decode("utf-16" if wide else "utf-8-sig")
        if "\0" in text:
            raise ValueError("zero bytes")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or f"not UTF-8 ({error})"
        raise DataError(path, [f"{reason}; expected {expected}. Save it as CSV, UTF-8."]) from None
    header = next((line for line in re.split("[\r\n]", text) if line.strip()), "")
    # A line of Excel's own, which says what separates.
    said = header[4:5] if header.lower().startswith("sep=") and len(header.strip()) <= 5 else ""
    delimiter = delimiter or said or max(",;\t", key=header.count)
    try:
        # A quote that is never closed would take all rows behind it into its cell.
        rows = list(enumerate(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True), 1))
    except csv.Error as error:
        raise DataError(
            path, [f"cannot be read as CSV ({error}); expected {expected}. Is a quote not closed?"]
        ) from None
    rows = [(number, [cell.strip() for cell in cells]) for number, cells in rows]
    rows = [(number, cells) for number, cells in rows if any(cells)]
    return rows[1:] if said else rows


def _read(path, columns, optional=()):
    """(row number, dictionary of stripped values) of each row of a CSV file that has the columns; optional
    ones are "" without."""
    rows = read_rows(path, f"a CSV file with the columns {', '.join(columns)}")
    header = rows[0][1] if rows else []
    wanted = {name.casefold(): name for name in (*columns, *optional)}
    named = [wanted.get(cell.casefold(), cell) for cell in header]
    missing = [name for name in columns if name not in named]
    twice = [name for name in wanted.values() if named.count(name) > 1]
    if twice:
        raise DataError(
            path,
            [f"columns {twice} come twice in {header}; expected one of each. Rename or delete the others."],
        )
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
        row = dict(zip(named, (unicodedata.normalize("NFC", cell) for cell in cells)))
        values = {name: row.get(name, "") for name in wanted.values()}
        read.append(
            (number, {name: "" if text.lower() in NOTHING else text for name, text in values.items()})
        )
    return read
