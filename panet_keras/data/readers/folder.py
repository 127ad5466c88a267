"""A plain folder of pictures with masks beside them, as in BUSI."""

import collections
import os
import pathlib
import re

from panet_keras.data.readers.dicom import is_dicom
from panet_keras.data.readers.names import SUFFIXES, annotation_kind, annotation_problems, pair, visible_files
from panet_keras.data.records import Record
from panet_keras.errors import DataError

LABEL = re.compile(r"benign|malignant|normal(?!i[sz])", re.IGNORECASE)
"""What a name begins with; `normalized/` holds pictures that were made even, not frames without lesion."""

__all__ = ["SUFFIXES", "label_of", "load_folder"]


def load_folder(directory, patient=None):
    """Reads `x.png` with `x_mask.png`, `x_mask_1.png` ... (BUSI: Al-Dhabyani et al., Data in Brief 2020).

    Subfolders are searched, hidden ones are not. The label is the subfolder's or the file name's beginning
    (`benign`, `malignant`, `normal`), else `"Unknown"`. Several masks of an image are united. An image
    without a mask is refused unless it is normal. Beside `_mask` these are masks, too: `x_seg`, `x_label`,
    `x_gt`, `x_tumor` (and more, `readers.names.OTHER_MASK`) where `x` lies beside them, and `masks/x.png`
    beside `images/x.png`.

    Args:
        directory: the folder.
        patient: function from a file's path to the patient's identifier. Without one every image counts as a
            patient of its own, for nothing in the layout tells: pass it if the same person may appear twice.

    Returns:
        List of `Record`, sorted by name.

    Raises:
        DataError: no pictures, images without masks, masks without images or of several, a name used twice, or DICOM files,
            which `load_dicom` reads; names annotations in other formats.
    """
    directory = pathlib.Path(directory)
    if not directory.is_dir():
        raise DataError(directory, ["no such folder; expected one with pictures x.png and masks x_mask.png"])
    everything = visible_files(directory)
    files = [path for path in everything if path.suffix.lower() in SUFFIXES]
    others = [path for path in everything if path.suffix.lower() not in SUFFIXES]
    images, orphans = pair(directory, files, lambda path: path.stem)
    records, problems, seen, owners = [], [], set(), {}
    for path, own in images:
        for mask in own:
            # x.png and x.jpg are one picture as a rule, and would be two patients.
            first = owners.setdefault(mask, path)
            if first != path:
                problems.append(
                    f"{mask.relative_to(directory)}: may be of {first.name} or of {path.name}. Delete one of the two, or rename it, with a "
                    "mask of its own."
                )
        label = label_of(path, directory)
        name = path.relative_to(directory).as_posix()
        if not own and label != "Normal":
            beside = annotation_problems(path, path.stem)
            expected = (
                f"expected {path.stem}_mask{path.suffix} beside it (or masks/{path.name} beside images/)"
            )
            problems += beside or [f"{name}: no mask; {expected}, or the image under normal/."]
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
    problems += [
        f"{mask.relative_to(directory)}: a mask without its image. Restore the image or remove the mask."
        for mask in orphans
    ]
    if not files:
        problems.append(f"no pictures; expected files with one of the endings {sorted(SUFFIXES)}")
    dicom = [path for path in others if is_dicom(path)]
    if dicom:
        problems.append(
            f"{len(dicom)} DICOM file(s), as {dicom[0].relative_to(directory)}: they are read by load_dicom (data.layout: dicom), from "
            "a folder of their own."
        )
    if problems:
        raise DataError(directory, problems + _annotations(directory, others))
    return records


def _annotations(directory, others):
    """A line for each format of annotation that lies in a folder with problems."""
    kinds = collections.defaultdict(list)
    for path in others:
        kind = annotation_kind(path)
        if kind:
            kinds[kind].append(path)
    return [
        f"{len(paths)} file(s), as {paths[0].relative_to(directory)}: {name}. {mend}"
        for (name, mend), paths in sorted(kinds.items())
    ]


def label_of(path, root):
    """Label that a file's name or one of its folders begins with, the nearest first; else Unknown."""
    for name in (path.stem, *(part for part in reversed(path.relative_to(root).parts[:-1]))):
        begins = LABEL.match(name)
        if begins:
            return begins[0].capitalize()
    return "Unknown"
