"""BUS-UCLM in its own layout: INFO.csv, images/, masks/."""

import os
import pathlib
import re
import warnings

from panet_keras.data.readers.table import read_rows, warn_of_twins
from panet_keras.data.records import Record
from panet_keras.errors import DataError, DataWarning

FIELDS = ("Image", "Resolution", "Label", "Doppler", "Marks", "Combined")
ALLOWED = {
    "Label": {"normal": "Normal", "benign": "Benign", "malignant": "Malignant"},
    **{field: {"yes": True, "no": False} for field in ("Doppler", "Marks", "Combined")},
}
OTHER_FLAGS = {"y": True, "n": False, "1": True, "0": False, "true": True, "false": False}
"""What else people write for Yes and No."""
FILENAME = re.compile(r"^([A-Za-z0-9]+)_\w+\.(png|jpg|jpeg|bmp|tif|tiff)$", re.IGNORECASE)


def load_bus_uclm(directory):
    """Reads the index of a BUS-UCLM folder (Vallez et al., Scientific Data 2025, doi
    10.1038/s41597-025-04562-3).

    The layout is `INFO.csv` (separator `;`), `images/XXXX_000.png` and `masks/XXXX_000.png`, the four letters
    being the patient. Images and masks are paired by name. INFO's `Resolution` is not used: it is wrong for
    13 real files. Pictures are opened later, by `Record.decode`.

    Args:
        directory: the folder.

    Returns:
        List of `Record`, sorted by file name.

    Raises:
        DataError: lists every missing file, missing row and bad value.

    Warns:
        DataWarning: a mask that belongs to no image; flags written as Y, N, 1, 0, true or false, with what
            they were read as.
    """
    directory = pathlib.Path(directory)
    missing = [name for name in ("INFO.csv", "images", "masks") if not (directory / name).exists()]
    if missing:
        found = sorted(p.name for p in directory.iterdir())[:8] if directory.is_dir() else "no such folder"
        raise DataError(
            directory,
            [f"{name} is missing; found {found}; expected INFO.csv, images/ and masks/" for name in missing],
        )
    rows, problems = _read_info(directory / "INFO.csv")
    images = {p.name: p for p in (directory / "images").iterdir() if not p.name.startswith(".")}
    masks = {p.name: p for p in (directory / "masks").iterdir() if not p.name.startswith(".")}
    for name in sorted(set(rows) | set(images)):
        if not FILENAME.match(name):
            problems.append(
                f"images/{name}: found this name; expected PATIENT_NUMBER.png, as in ALWI_000.png. Rename it."
            )
            continue
        if name not in images:
            problems.append(
                f"images/{name}: missing, but INFO.csv has a row for it. Restore the file or delete the row."
            )
        if name not in rows:
            problems.append(f"INFO.csv: no row for images/{name}. Add one, or remove the image.")
        if name in images and name not in masks:
            problems.append(
                f"masks/{name}: missing; every image needs a mask of the same name (all black for Normal)."
            )
    if not problems and not rows:
        problems.append("INFO.csv: header only, no images; expected at least one row.")
    orphans = [
        f"masks/{name}: belongs to no image; it is not used."
        for name in sorted(set(masks) - set(images) - set(rows))
    ]
    if problems:
        # Beside a missing file an extra one may be the same file under a wrong name.
        raise DataError(directory, problems + orphans)
    for orphan in orphans:
        warnings.warn(f"{directory}/{orphan}", DataWarning, stacklevel=2)
    warn_of_twins(directory, (FILENAME.match(name)[1] for name in sorted(rows)))
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
    lines = read_rows(path, f"INFO.csv with the columns {', '.join(FIELDS)}", ";")
    header = lines[0][1] if lines else []
    if [cell.lower() for cell in header] != [field.lower() for field in FIELDS]:
        raise DataError(
            path,
            [
                f"header found: {';'.join(header)!r}; expected {';'.join(FIELDS)!r} with the separator ';'. Export it again with ';'."
            ],
        )
    rows, problems, flags = {}, [], set()
    for number, cells in lines[1:]:
        if len(cells) != len(FIELDS):
            problems.append(
                f"INFO.csv row {number}: {len(cells)} fields; expected {len(FIELDS)} ({';'.join(FIELDS)})."
            )
            continue
        row = dict(zip(FIELDS, cells))
        for field, allowed in ALLOWED.items():
            value = allowed.get(row[field].lower())
            if value is None and field != "Label" and row[field].lower() in OTHER_FLAGS:
                value = OTHER_FLAGS[row[field].lower()]
                flags.add(f"{row[field]} as {'Yes' if value else 'No'}")
            if value is None:
                names = ", ".join(key.capitalize() for key in allowed)
                also = "" if field == "Label" else f" (or {', '.join(OTHER_FLAGS)})"
                problems.append(
                    f"INFO.csv row {number}, field {field}: found {row[field]!r}; expected one of {names}{also}."
                )
            row[field] = value
        if row["Image"] in rows:
            problems.append(
                f"INFO.csv row {number}, field Image: {row['Image']} has a row already. Delete one."
            )
        rows[row["Image"]] = row
    if flags and not problems:
        warnings.warn(f"{path}: flags were read: {', '.join(sorted(flags))}.", DataWarning, stacklevel=3)
    return rows, problems
