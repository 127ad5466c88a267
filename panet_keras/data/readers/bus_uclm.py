"""BUS-UCLM in its own layout: INFO.csv, images/, masks/."""

import csv
import os
import pathlib
import re
import warnings

from panet_keras.data.records import Record
from panet_keras.errors import DataError, DataWarning

FIELDS = ("Image", "Resolution", "Label", "Doppler", "Marks", "Combined")
ALLOWED = {
    "Label": {"normal": "Normal", "benign": "Benign", "malignant": "Malignant"},
    **{field: {"yes": True, "no": False} for field in ("Doppler", "Marks", "Combined")},
}
FILENAME = re.compile(r"^([A-Za-z0-9]+)_\w+\.(png|jpg|jpeg|bmp|tif|tiff)$", re.IGNORECASE)


def load_bus_uclm(directory):
    """Reads the index of a BUS-UCLM folder (Vallez et al., Scientific Data 2025, doi 10.1038/s41597-025-04562-3).

    The layout is `INFO.csv` (separator `;`), `images/XXXX_000.png` and `masks/XXXX_000.png`, the four letters being the
    patient. Images and masks are paired by name. INFO's `Resolution` is not used: it is wrong for 13 real files.
    Pictures are opened later, by `Record.decode`.

    Args:
        directory: the folder.

    Returns:
        List of `Record`, sorted by file name.

    Raises:
        DataError: lists every missing file, missing row and bad value.

    Warns:
        DataWarning: a mask that belongs to no image.
    """
    directory = pathlib.Path(directory)
    missing = [name for name in ("INFO.csv", "images", "masks") if not (directory / name).exists()]
    if missing:
        found = sorted(p.name for p in directory.iterdir())[:8] if directory.is_dir() else "no such folder"
        raise DataError(directory, [f"{name} is missing; found {found}; expected INFO.csv, images/ and masks/" for name in missing])
    rows, problems = _read_info(directory / "INFO.csv")
    images = {p.name: p for p in (directory / "images").iterdir() if not p.name.startswith(".")}
    masks = {p.name: p for p in (directory / "masks").iterdir() if not p.name.startswith(".")}
    for name in sorted(set(rows) | set(images)):
        if not FILENAME.match(name):
            problems.append(f"images/{name}: found this name; expected PATIENT_NUMBER.png, as in ALWI_000.png. Rename it.")
            continue
        if name not in images:
            problems.append(f"images/{name}: missing, but INFO.csv has a row for it. Restore the file or delete the row.")
        if name not in rows:
            problems.append(f"INFO.csv: no row for images/{name}. Add one, or remove the image.")
        if name in images and name not in masks:
            problems.append(f"masks/{name}: missing; every image needs a mask of the same name (all black for Normal).")
    if not problems and not rows:
        problems.append("INFO.csv: header only, no images; expected at least one row.")
    orphans = [f"masks/{name}: belongs to no image; it is not used." for name in sorted(set(masks) - set(images) - set(rows))]
    if problems:
        # Beside a missing file an extra one may be the same file under a wrong name.
        raise DataError(directory, problems + orphans)
    for orphan in orphans:
        warnings.warn(f"{directory}/{orphan}", DataWarning, stacklevel=2)
    return [
        Record(
            filename=name,
            patient=FILENAME.match(name)[1],
            label=row["Label"],
            image=os.fspath(images[name]),
            masks=(os.fspath(masks[name]),),
            doppler=row["Doppler"],
            marks=row["Marks"],
            combined=row["Combined"],
        )
        for name, row in sorted(rows.items())
    ]


def _read_info(path):
    """Rows of INFO.csv by image name, flags as booleans, and the problems found."""
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(path, [f"not UTF-8 ({error.reason} at byte {error.start}). Save it as UTF-8."]) from None
    lines = list(csv.reader(text.splitlines(), delimiter=";"))
    header = [cell.strip() for cell in lines[0]] if lines else []
    if [cell.lower() for cell in header] != [field.lower() for field in FIELDS]:
        raise DataError(
            path,
            [
                f"header found: {';'.join(header)!r}; expected {';'.join(FIELDS)!r} with the separator ';'. Export it again with ';'."
            ],
        )
    rows, problems = {}, []
    for number, cells in enumerate(lines[1:], 2):
        cells = [cell.strip() for cell in cells]
        if not any(cells):
            continue
        if len(cells) != len(FIELDS):
            problems.append(f"INFO.csv row {number}: {len(cells)} fields; expected {len(FIELDS)} ({';'.join(FIELDS)}).")
            continue
        row = dict(zip(FIELDS, cells))
        for field, allowed in ALLOWED.items():
            value = allowed.get(row[field].lower())
            if value is None:
                names = ", ".join(key.capitalize() for key in allowed)
                problems.append(f"INFO.csv row {number}, field {field}: found {row[field]!r}; expected one of {names}.")
            row[field] = value
        if row["Image"] in rows:
            problems.append(f"INFO.csv row {number}, field Image: {row['Image']} has a row already. Delete one.")
        rows[row["Image"]] = row
    return rows, problems
