"""NIfTI volumes and pictures, with masks of the same shape beside them."""

import os
import pathlib
import re
import warnings

import numpy as np

from panet_keras.data.readers.folder import label_of
from panet_keras.data.readers.names import pair, visible_files
from panet_keras.data.records import Record
from panet_keras.errors import DataError, DataWarning, ImageError, MixedColourWarning
from panet_keras.pictures.decode import encode_png
from panet_keras.pictures.masks import decode_mask

ENDINGS = re.compile(r"\.nii(\.gz)?$", re.IGNORECASE)
CHANNEL = re.compile(r"_0000$")
"""What nnU-Net puts behind the name of an image, and not of its mask."""


def load_nifti(directory, patient=None):
    """Reads `x.nii.gz` with `x_mask.nii.gz` or `x_seg.nii.gz` (and the other names and folders of
    `load_folder`; nnU-Net's, too).

    A volume becomes one record a slice along its last axis, `x_z007.png`; slices without lesion are Normal.
    Rows and columns are the second and first axis, as viewers of slices show them. Masks are read as every
    mask is (`pictures.masks`): not 0 is lesion, a map of probabilities is refused. Whole
    numbers from 0 to 255 and colours are kept; other values are scaled from the volume's least to its
    greatest, and that is said.

    Args:
        directory: the folder, searched with its sub-folders.
        patient: function from an image's path to the patient's identifier. Without one every file counts as a
            patient of its own: the slices of a volume are never on two sides.

    Returns:
        List of `Record`, sorted by name, whose pictures are PNG bytes.

    Raises:
        DataError: no NIfTI files, images without masks, masks without images, a name used twice, other shapes
            or axes, masks whose values stand for nothing certain; lists all.
        ImportError: nibabel is missing.

    Warns:
        DataWarning: files whose values were scaled; slices of masks with values between background and lesion.
    """
    try:
        import nibabel
    except ImportError as error:
        raise ImportError("load_nifti needs nibabel: pip install nibabel") from error
    directory = pathlib.Path(directory)
    files = [path for path in visible_files(directory) if ENDINGS.search(path.name)]
    images, orphans = pair(directory, files, _stem)
    problems = [
        f"{path.relative_to(directory)}: a mask without its image. Restore the image or remove the mask."
        for path in orphans
    ]
    if not files:
        problems.append("no NIfTI files; expected x.nii.gz with x_mask.nii.gz.")
    records, scaled, fringes, seen = [], [], [], {}
    for path, masks in images:
        name = path.relative_to(directory).as_posix()
        label = label_of(path, directory)
        if not masks and label != "Normal":
            problems.append(
                f"{name}: no mask; expected {_stem(path)}_mask.nii.gz beside it, or the image under normal/."
            )
            continue
        try:
            array, axes = _array(nibabel, path)
            slices = _slices(array, name)
            inside = np.zeros(slices.shape[:3], bool)
            for mask in masks:
                array, own = _array(nibabel, mask)
                if axes and own and axes != own:
                    raise ImageError(
                        f"{mask.name} is stored with its axes to {own}, {name} to {axes}: one would lie mirrored or turned on the other. "
                        "Resample the mask to the image, or, if their voxels agree as stored, save it with the image's affine."
                    )
                part = _slices(array, mask.name)
                if part.shape != inside.shape:
                    raise ImageError(
                        f"{mask.name} has shape {part.shape[::-1]}, {name} {inside.shape[::-1]}; expected the same."
                    )
                for number, level in enumerate(part):
                    drawn, mixed = decode_mask(level, f"{mask.name}, slice {number}")
                    inside[number] |= drawn
                    fringes += [f"{mask.name}, slice {number}"] if mixed else []
            pictures, changed = _eight_bits(slices, name)
        except ImageError as error:
            problems.append(str(error))
            continue
        scaled += [name] if changed else []
        stem, who = ENDINGS.sub("", name), patient(path) if patient else name
        # x.nii beside x.nii.gz are one picture as a rule, and would be two patients.
        first = seen.setdefault(stem, name)
        if first != name:
            problems.append(
                f"{name}: its records would have the names of those of {first}. Delete or rename one."
            )
            continue
        for number, (picture, lesion) in enumerate(zip(pictures, inside)):
            records.append(
                Record(
                    filename=f"{stem}_z{number:03d}.png" if len(pictures) > 1 else f"{stem}.png",
                    patient=who,
                    label=("Unknown" if label == "Normal" else label) if lesion.any() else "Normal",
                    image=encode_png(picture),
                    masks=(encode_png(lesion.astype(np.uint8) * np.uint8(255)),) if lesion.any() else (),
                    mask_format="binary",
                )
            )
    if problems:
        raise DataError(directory, problems)
    if scaled:
        warnings.warn(
            f"{directory}: {len(scaled)} file(s) whose values are not whole numbers from 0 to 255 were scaled from their least to their greatest value: "
            f"{', '.join(scaled[:5])}{' ...' if len(scaled) > 5 else ''}",
            DataWarning,
            stacklevel=2,
        )
    if fringes:
        warnings.warn(
            f"{directory}: {len(fringes)} slice(s) of masks have values between background and lesion, each taken to the nearer: "
            f"{'; '.join(fringes[:5])}{' ...' if len(fringes) > 5 else ''}",
            MixedColourWarning,
            stacklevel=2,
        )
    return sorted(records, key=lambda record: record.filename)


def _stem(path):
    return CHANNEL.sub("", ENDINGS.sub("", os.path.basename(path)))


def _array(nibabel, path):
    """The values, and the directions of the axes, such as LPS; 0 where the file does not know them."""
    try:
        # Scaling of the header is part of the values; colours have none.
        image = nibabel.load(path)
        known = image.header["sform_code"] or image.header["qform_code"]
        return np.asanyarray(image.dataobj), known and "".join(nibabel.aff2axcodes(image.affine))
    except Exception as error:  # nibabel raises what gzip, struct and itself do
        raise ImageError(f"{path}: no NIfTI file that can be read ({error}); export it again.") from None


def _slices(array, name):
    """[Z, H, W], or [Z, H, W, 3] of colours, from [X, Y] or [X, Y, Z] with axes of one element behind."""
    if array.dtype.names:
        array = np.stack([array[channel] for channel in array.dtype.names[:3]], -1)
        array = array[:, :, None] if array.ndim == 3 else array
        return np.ascontiguousarray(array.transpose(2, 1, 0, 3))
    while array.ndim > 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or not array.size:
        raise ImageError(
            f"{name} has shape {array.shape}; expected [X, Y] or [X, Y, Z]. Save each time or channel as a file."
        )
    return np.ascontiguousarray(array.transpose(2, 1, 0))


def _eight_bits(slices, name):
    """uint8 [Z, H, W, 3], and whether values were scaled."""
    if slices.ndim == 4:
        return slices.astype(np.uint8), False
    values = slices.astype(np.float64)
    if not np.isfinite(values).all():
        raise ImageError(f"{name}: values that are not finite; expected numbers. Save it again without NaN.")
    eight = values.min() >= 0 and values.max() <= 255 and (values == np.rint(values)).all()
    if not eight:
        low, high = values.min(), values.max()
        values = np.rint((values - low) / max(high - low, 1e-12) * 255)
    return np.repeat(values.astype(np.uint8)[..., None], 3, -1), not eight
