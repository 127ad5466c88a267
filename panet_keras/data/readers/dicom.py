"""DICOM ultrasound: frames as a viewer shows them, patients under a pseudonym."""

import hashlib
import os
import pathlib
import warnings

from panet_keras.data.readers.names import (
    IMAGE_FOLDERS,
    MASK,
    MASK_FOLDERS,
    OTHER_MASK,
    annotation_problems,
    pictures,
    visible_files,
)
from panet_keras.data.records import Record
from panet_keras.errors import DataError, DataWarning, ImageError
from panet_keras.pictures.decode import encode_png
from panet_keras.pictures.dicom import decode_frame, frame_count, is_segmentation, read_dicom

SUFFIXES = {".dcm", ".dicom", ".ima"}
DIRECTORY = "1.2.840.10008.1.3.10"
"""SOP class of a DICOMDIR, the table of contents of a medium."""


def load_dicom(directory, salt="", labels=None):
    """Reads a folder of DICOM files with masks beside them.

    A file is known by its ending (.dcm, .dicom, .ima) or, with any other or none, by its content. `x.dcm` has
    its mask in `x_mask.png` (several: `x_mask_1.png` ...; any kind of picture, or a DICOM SEG, in any case);
    frame 7 of a multi-frame file, counted from 0, in `x_f7_mask.png`. Frames without a mask are left out of a multi-frame
    file; a single frame without one counts as Normal. Masks are binary. Frames are decoded to PNG in memory
    at once.

    The patient is the salted SHA-256 of the tag PatientID, and the record's name is made of it and of the
    hash of SOPInstanceUID: neither the tags nor the file's name go further. Without a secret `salt` a short
    PatientID can be found by trying them all.

    Args:
        directory: the folder, searched with its sub-folders; hidden files and folders (`.x`, `._x.dcm`) are
            left alone.
        salt: text that is hashed with the PatientID; the same for all of a patient's files.
        labels: dictionary of PatientID to label, else Unknown (Normal for a frame without mask).

    Returns:
        List of `Record`, sorted by name, whose images are PNG bytes.

    Raises:
        DataError: no DICOM file, some that cannot be used, or some whose mask has another name (`x_seg.png`,
            `masks/x.png`) or may be of two files; lists all of them by path.

    Warns:
        DataWarning: BurnedInAnnotation is YES: the pixels themselves may name the patient; the same instance
            came twice and the second was left out, or other pixels under the same SOPInstanceUID were kept
            under another name; objects without pixels.
    """
    directory = pathlib.Path(directory)
    everything = [path for path in visible_files(directory) if is_dicom(path)]
    drawn = [path for path in everything if path.suffix.lower() in SUFFIXES and MASK.match(path.stem)]
    files = [path for path in everything if path not in set(drawn)]
    if not files:
        raise DataError(
            directory,
            [
                f"no DICOM files; expected some with one of the endings {sorted(SUFFIXES)}, or DICOM by their content."
            ],
        )
    masks, others = {}, {}
    for path in [*pictures(directory), *drawn]:
        match = MASK.match(path.stem)
        if not match:
            for place in _meant(path):
                others.setdefault(place, path)
        else:
            masks.setdefault((path.parent, match["stem"]), {}).setdefault(
                int(match["frame"] or 0), []
            ).append(os.fspath(path))
    found, problems, notes, owners = [], [], {"burned": [], "empty": []}, {}
    for path in files:
        # In a name without an ending dots are digits' (1.2.840).
        stem = path.stem if path.suffix.lower() in SUFFIXES else path.name
        own = masks.pop((path.parent, stem), {})
        if own:
            owners[path.parent, stem] = path
        else:
            problems += annotation_problems(path, stem)
            problems += _unclear(path, stem, others.get((path.parent, stem)), owners.get((path.parent, stem)))
        try:
            found += _records(path, own, salt, labels or {}, notes)
        except ImageError as error:
            problems.append(str(error))
    for (folder, stem), frames in masks.items():
        problems += [
            f"{folder / stem}: masks without their DICOM file ({len(frames)} frame(s)). Restore it or remove them."
        ]
    if problems:
        raise DataError(directory, problems)
    records, doubles = _once(found)
    if not records:
        raise DataError(
            directory,
            [f"no DICOM images; {len(notes['empty'])} object(s) without pixels: {_some(notes['empty'])}"],
        )
    for names, what in (
        (
            notes["burned"],
            "say BurnedInAnnotation YES: their pixels may name the patient. Crop or black them out first",
        ),
        (notes["empty"], "hold no pixels (reports, presentation states) and were left out"),
        (doubles, "repeat a SOPInstanceUID: the same pixels were left out, others kept under another name"),
    ):
        if names:
            warnings.warn(
                f"{directory}: {len(names)} file(s) {what}: {_some(names)}", DataWarning, stacklevel=2
            )
    return sorted(records, key=lambda record: record.filename)


def is_dicom(path):
    """Whether a file is DICOM, by its ending or by its content (PS3.10, 7.1)."""
    if path.suffix.lower() in SUFFIXES:
        return True
    with open(path, "rb") as file:
        return file.read(132)[128:] == b"DICM"


def _meant(path):
    """(folder, stem) of the files whose mask a picture may be, by the names and folders of `readers.names.pair`."""
    match = OTHER_MASK.match(path.stem)
    if match:
        yield path.parent, match["stem"]
    if path.parent.name.lower() in MASK_FOLDERS:
        above = path.parent.parent
        beside = [folder for folder in above.iterdir() if folder.name.lower() in IMAGE_FOLDERS]
        for folder in (above, *beside):
            yield folder, path.stem
            if match:
                yield folder, match["stem"]


def _unclear(path, stem, other, owner):
    """A line where a file without a mask would be taken for a normal frame, and something beside it says that it
    may have one: a picture that looks like its mask, or another file of its stem that took the masks."""
    if other:
        yield (
            f"{path}: no mask {stem}_mask.png, but {other}, which looks like it. Name it {stem}_mask{other.suffix} and put it beside "
            f"{path.name}, or take it out."
        )
    elif owner and owner.read_bytes() != path.read_bytes():
        yield f"{path}: {owner.name} has the same name, and {stem}_mask may be of either. Rename one, with its masks."


def _some(names):
    return ", ".join(names[:5]) + (" ..." if len(names) > 5 else "")


def _once(found):
    """Records of different names, and the files that were left out or named anew; the copy that has a mask
    stays."""
    records, doubles = {}, []
    for path, record in sorted(found, key=lambda pair: not pair[1].masks):
        known = records.get(record.filename)
        if known is not None:
            doubles.append(path.name)
            if known.image == record.image:
                continue
            digest = hashlib.sha256(record.image).hexdigest()[:12]
            record = Record(**{**vars(record), "filename": record.filename.replace(".png", f"_{digest}.png")})
        records.setdefault(record.filename, record)
    return list(records.values()), doubles


def _records(path, masks, salt, labels, notes):
    """(path, `Record`) of each frame that is used."""
    dataset = read_header(path, notes)
    if dataset is None:
        return
    if is_segmentation(dataset):
        raise ImageError(
            f"{path}: a DICOM SEG; expected the name of its picture with _mask, such as x_mask.dcm beside x.dcm "
            "(x_f7_mask.dcm for frame 7, counted from 0). Rename it, or take it out."
        )
    frames = frame_count(dataset)
    wrong = sorted(frame for frame in masks if frame >= frames)
    if wrong:
        raise ImageError(
            f"{path}: masks for the frames {wrong}; the file has {frames}, counted from 0. Rename the masks."
        )
    identifier = str(dataset.get("PatientID", "")).strip()
    if not identifier:
        raise ImageError(
            f"{path}: the tag PatientID (0010,0020) is empty; expected an identifier, for splits go by patient."
        )
    patient = hashlib.sha256(f"{salt}\0{identifier}".encode()).hexdigest()[:12]
    instance = hashlib.sha256(str(dataset.get("SOPInstanceUID", "") or path.name).encode()).hexdigest()[:12]
    if str(dataset.get("BurnedInAnnotation", "")).upper() == "YES":
        notes["burned"].append(path.name)
    for frame in sorted(masks) if frames > 1 else [0]:
        yield (
            path,
            Record(
                filename=f"{patient}_{instance}_{frame:04d}.png",
                patient=patient,
                label=labels.get(identifier, "Unknown" if frame in masks else "Normal"),
                image=encode_png(decode_frame(dataset, frame, path)),
                masks=tuple(masks.get(frame, ())),
                mask_format="binary",
            ),
        )


def read_header(path, notes):
    """The dataset of a file, or None for a DICOM object without pixels, which is noted."""
    import pydicom

    try:
        head = pydicom.dcmread(path, stop_before_pixels=True)
    except Exception:  # `read_dicom` says what is wrong
        return read_dicom(path, path)
    if "Rows" in head or "SOPClassUID" not in head and "MediaStorageSOPClassUID" not in head.file_meta:
        return read_dicom(path, path)
    if head.file_meta.get("MediaStorageSOPClassUID") != DIRECTORY:
        notes["empty"].append(path.name)
    return None
