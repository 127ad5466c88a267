"""A plain folder of pictures with masks beside them, as in BUSI."""

import os
import pathlib
import re

from panet_keras.data.records import Record
from panet_keras.errors import DataError

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"}
MASK = re.compile(r"^(?P<stem>.+)_mask(_\d+)?$", re.IGNORECASE)


def load_folder(directory, patient=None):
    """Reads `x.png` with `x_mask.png`, `x_mask_1.png` ... (BUSI: Al-Dhabyani et al., Data in Brief 2020).

    Subfolders are searched. The label is the subfolder's or the file name's beginning (`benign`, `malignant`,
    `normal`), else `"Unknown"`. Several masks of an image are united. An image without a mask is refused unless it is
    normal.

    Args:
        directory: the folder.
        patient: function from a file's path to the patient's identifier. Without one every image counts as a patient
            of its own, for nothing in the layout tells: pass it if the same person may appear twice.

    Returns:
        List of `Record`, sorted by name.

    Raises:
        DataError: no pictures, images without masks, masks without images, or a name used twice.
    """
    directory = pathlib.Path(directory)
    if not directory.is_dir():
        raise DataError(directory, ["no such folder; expected one with pictures x.png and masks x_mask.png"])
    files = sorted(p for p in directory.rglob("*") if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
    masks, images = {}, []
    for path in files:
        match = MASK.match(path.stem)
        if match:
            masks.setdefault((path.parent, match["stem"]), []).append(path)
        else:
            images.append(path)
    records, problems, seen = [], [], set()
    for path in images:
        own = masks.pop((path.parent, path.stem), [])
        label = _label(path, directory)
        name = path.relative_to(directory).as_posix()
        if not own and label != "Normal":
            problems.append(f"{name}: no mask; expected {path.stem}_mask{path.suffix} beside it, or the image under normal/.")
        if name in seen:
            problems.append(f"{name}: this name comes twice; rename one.")
        seen.add(name)
        records.append(
            Record(
                filename=name,
                patient=patient(path) if patient else name,
                label=label,
                image=os.fspath(path),
                masks=tuple(os.fspath(mask) for mask in own),
                mask_format="binary",
            )
        )
    for orphans in masks.values():
        problems += [
            f"{mask.relative_to(directory)}: a mask without its image. Restore the image or remove the mask." for mask in orphans
        ]
    if not files:
        problems.append(f"no pictures; expected files with one of the endings {sorted(SUFFIXES)}")
    if problems:
        raise DataError(directory, problems)
    return records


def _label(path, root):
    for name in (path.stem, *(part for part in reversed(path.relative_to(root).parts[:-1]))):
        for label in ("Benign", "Malignant", "Normal"):
            if name.lower().startswith(label.lower()):
                return label
    return "Unknown"
