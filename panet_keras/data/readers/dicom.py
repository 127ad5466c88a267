"""DICOM ultrasound: frames as a viewer shows them, patients under a pseudonym."""

import hashlib
import os
import pathlib
import re
import warnings

import numpy as np

from panet_keras.data.records import Record
from panet_keras.errors import DataError, DataWarning, ImageError
from panet_keras.pictures.decode import MAX_PIXELS, encode_png

SUFFIXES = {".dcm", ".dicom", ".ima"}
MASK = re.compile(r"^(?P<stem>.+?)(_f(?P<frame>\d+))?_mask(_\d+)?$", re.IGNORECASE)


def load_dicom(directory, salt="", labels=None):
    """Reads a folder of DICOM files with masks beside them.

    `x.dcm` has its mask in `x_mask.png` (several: `x_mask_1.png` ...); frame 7 of a multi-frame file, counted from 0, in
    `x_f7_mask.png`. Frames without a mask are left out of a multi-frame file; a single frame without one counts as Normal. Masks are
    binary. Frames are decoded to PNG in memory at once.

    The patient is the salted SHA-256 of the tag PatientID, and the record's name is made of it and of the hash of
    SOPInstanceUID: neither the tags nor the file's name go further. Without a secret `salt` a short PatientID can be found by trying
    them all.

    Args:
        directory: the folder, searched with its sub-folders.
        salt: text that is hashed with the PatientID; the same for all of a patient's files.
        labels: dictionary of PatientID to label, else Unknown (Normal for a frame without mask).

    Returns:
        List of `Record`, sorted by name, whose images are PNG bytes.

    Raises:
        DataError: no DICOM file, or some that cannot be used; lists all of them by path.

    Warns:
        DataWarning: BurnedInAnnotation is YES: the pixels themselves may name the patient.
    """
    directory = pathlib.Path(directory)
    files = sorted(p for p in directory.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if not files:
        raise DataError(directory, [f"no DICOM files; expected some with one of the endings {sorted(SUFFIXES)}."])
    masks = {}
    for path in sorted(directory.rglob("*.png")):
        match = MASK.match(path.stem)
        if match:
            masks.setdefault((path.parent, match["stem"]), {}).setdefault(int(match["frame"] or 0), []).append(os.fspath(path))
    records, problems, burned = [], [], []
    for path in files:
        own = masks.pop((path.parent, path.stem), {})
        try:
            records += _records(path, own, salt, labels or {}, burned)
        except ImageError as error:
            problems.append(str(error))
    for (folder, stem), frames in masks.items():
        problems += [f"{folder / stem}: masks without their DICOM file ({len(frames)} frame(s)). Restore it or remove them."]
    if problems:
        raise DataError(directory, problems)
    if burned:
        warnings.warn(
            f"{directory}: {len(burned)} file(s) say BurnedInAnnotation YES: their pixels may name the patient. Crop or black them out "
            f"first: {', '.join(burned[:5])}{' ...' if len(burned) > 5 else ''}",
            DataWarning,
            stacklevel=2,
        )
    return sorted(records, key=lambda record: record.filename)


def _records(path, masks, salt, labels, burned):
    dataset = _read(path)
    frames = int(dataset.get("NumberOfFrames", 1) or 1)
    wrong = sorted(frame for frame in masks if frame >= frames)
    if wrong:
        raise ImageError(f"{path}: masks for the frames {wrong}; the file has {frames}, counted from 0. Rename the masks.")
    identifier = str(dataset.get("PatientID", "")).strip()
    if not identifier:
        raise ImageError(f"{path}: the tag PatientID (0010,0020) is empty; expected an identifier, for splits go by patient.")
    patient = hashlib.sha256(f"{salt}\0{identifier}".encode()).hexdigest()[:12]
    instance = hashlib.sha256(str(dataset.get("SOPInstanceUID", path.name)).encode()).hexdigest()[:12]
    if str(dataset.get("BurnedInAnnotation", "")).upper() == "YES":
        burned.append(path.name)
    for frame in sorted(masks) if frames > 1 else [0]:
        yield Record(
            filename=f"{patient}_{instance}_{frame:04d}.png",
            patient=patient,
            label=labels.get(identifier, "Unknown" if frame in masks else "Normal"),
            image=encode_png(decode_frame(dataset, frame, path)),
            masks=tuple(masks.get(frame, ())),
            mask_format="binary",
        )


def _read(path):
    import pydicom

    try:
        dataset = pydicom.dcmread(path)
        pixels = int(dataset.Rows) * int(dataset.Columns)
    except (pydicom.errors.InvalidDicomError, AttributeError, OSError, ValueError, KeyError) as error:
        raise ImageError(f"{path}: no DICOM image that can be read ({error}); export it again.") from None
    if pixels > MAX_PIXELS:
        raise ImageError(f"{path}: {dataset.Rows} x {dataset.Columns} = {pixels:,} pixels; the limit is {MAX_PIXELS:,}.")
    return dataset


def decode_frame(dataset, frame, name):
    """A frame as a viewer shows it: windowed, MONOCHROME1 inverted, colour as RGB.

    Args:
        dataset: `pydicom.Dataset`. frame: number from 0. name: for messages.

    Returns:
        uint8 [H, W, 3].

    Raises:
        ImageError: pixels that cannot be decoded, or another photometric interpretation.
    """
    from pydicom.pixels import apply_voi_lut, pixel_array

    kind = str(dataset.get("PhotometricInterpretation", ""))
    if not kind.startswith(("MONOCHROME", "RGB", "YBR")):
        raise ImageError(f"{name}: PhotometricInterpretation is {kind!r}; expected MONOCHROME1 or 2, RGB or YBR. Export it as one.")
    try:
        # pydicom gives YBR as RGB unless it is told to leave it.
        pixels = pixel_array(dataset, index=frame)
    except Exception as error:  # its decoders raise whatever theirs do
        raise ImageError(
            f"{name}: frame {frame} cannot be decoded ({error}); expected whole pixel data. Export it again."
        ) from None
    if kind.startswith("MONOCHROME"):
        pixels = _grey(apply_voi_lut(pixels, dataset).astype(np.float64), dataset, kind)
        return np.repeat(pixels[..., None], 3, -1)
    return pixels.astype(np.uint8) if pixels.dtype == np.uint8 else (pixels >> (int(dataset.BitsStored) - 8)).astype(np.uint8)


def _grey(values, dataset, kind):
    """uint8 [H, W] of windowed values: the window's own range, or that of the stored bits."""
    bits = int(dataset.BitsStored)
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if dataset.PixelRepresentation else (0, 2**bits - 1)
    scaled = np.clip((values - low) / (high - low), 0.0, 1.0)
    return np.rint(255 * (1 - scaled if kind == "MONOCHROME1" else scaled)).astype(np.uint8)
