"""Which files of a folder are pictures, which are masks, and which are annotations in another format."""

import re
import unicodedata

from panet_keras.errors import DataError
from panet_keras.pictures.rules.kinds import kind_of
from panet_keras.walk import files_under

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".gif", ".webp"}
MASK = re.compile(r"^(?P<stem>.+?)(_f(?P<frame>\d+))?_mask(_\d+)?$", re.IGNORECASE)
"""The name of a mask, without its ending; `_f7` names a frame."""
OTHER_MASK = re.compile(
    r"^(?P<stem>.+?)[_-](mask|masks|seg|segmentation|label|labels|gt|ground_?truth|tumou?r|lesion|annotation)([_-]?\d+)?$",
    re.IGNORECASE,
)
"""Names that other tools give to masks; they count where the image of that stem lies beside them."""
ANNOTATIONS = (".json", ".xml", ".csv", ".nii", ".nii.gz")
IMAGE_FOLDERS = {"images", "image", "imgs", "img", "imagestr", "imagests", "jpegimages"}
MASK_FOLDERS = {
    "masks",
    "mask",
    "labels",
    "label",
    "annotations",
    "segmentations",
    "gt",
    "groundtruth",
    "ground_truth",
    "labelstr",
    "labelsts",
    "segmentationclass",
}
"""Folders side by side whose files have equal names."""


def visible_files(directory):
    """Sorted files of a folder and its sub-folders, without hidden ones (`.x`, `._x`) and those of
    `__MACOSX`; links are followed.

    Raises:
        DataError: links that lead nowhere, all of them named, or a folder that cannot be read.
    """
    try:
        found = files_under(directory)
    except OSError as error:
        raise DataError(
            directory,
            [f"{error.filename}: cannot be read ({error.strerror}). Let it be read, or move it away."],
        ) from None
    lost = [path for path in found if not path.exists()]
    if lost:
        raise DataError(
            directory,
            [
                f"{path}: a link to {path.readlink()}, where nothing is. Bring the file, or delete the link."
                for path in lost
            ],
        )
    return [path for path in found if path.is_file()]


def pictures(directory):
    """The files with the ending of a picture, in any case."""
    return [path for path in visible_files(directory) if path.suffix.lower() in SUFFIXES]


def annotation_kind(path):
    """Name and mend of an annotation's format (LabelMe, COCO, CVAT, VIA, NIfTI), or None for any other
    file."""
    if not path.name.lower().endswith(ANNOTATIONS):
        return None
    with open(path, "rb") as file:
        name, mend = kind_of(file.read(50_000_000))
    return (name, mend) if "annotation" in name or name.startswith("NIfTI") else None


def annotation_problems(image, stem):
    """A line for each annotation that lies beside an image where its mask is expected."""
    problems = []
    for ending in ANNOTATIONS:
        path = image.with_name(stem + ending)
        kind = annotation_kind(path) if path.is_file() else None
        if kind:
            problems.append(
                f"{image}: no mask {stem}_mask.png, but {path.name}, which is {kind[0]}. {kind[1]}"
            )
    return problems


def pair(directory, files, stem_of):
    """Sorts files into images and their masks, by the names and folders that people use.

    A mask is `x_mask`, `x_mask_1` beside `x`; `x_seg`, `x_label`, `x_gt`, `x_tumor` ... where an image `x`
    lies beside it; or a file of the image's name in a folder `masks/` (`MASK_FOLDERS`) where the image lies
    in `images/` beside it, or above it.

    Args:
        directory: the root. files: paths under it. stem_of: function of a path to its name without ending.

    Returns:
        List of (image, its masks), sorted by path, and the masks that have no image.
    """
    images, masks = {}, []
    for path in files:
        in_masks = any(part.lower() in MASK_FOLDERS for part in path.relative_to(directory).parts[:-1])
        if in_masks or MASK.match(stem_of(path)):
            masks.append(path)
        else:
            images.setdefault(_key(directory, path, stem_of(path)), []).append(path)
    for key in list(images):
        match = OTHER_MASK.match(key[-1])
        if match and (*key[:-1], match["stem"]) in images:
            masks += images.pop(key)
    of_image, orphans = {path: [] for members in images.values() for path in members}, []
    for mask in sorted(masks):
        stem = stem_of(mask)
        names = [stem] + [match["stem"] for match in (MASK.match(stem), OTHER_MASK.match(stem)) if match]
        owners = next(
            (images[key] for key in (_key(directory, mask, name) for name in names) if key in images), None
        )
        if owners:
            for owner in owners:
                of_image[owner].append(mask)
        else:
            orphans.append(mask)
    return sorted(of_image.items()), orphans


def _key(directory, path, stem):
    """Where a file lies, without the folders that tell images and masks apart, and its stem; accents composed,
    for two programs may write one name in two ways."""
    folders = path.relative_to(directory).parts[:-1]
    kept = (part for part in folders if part.lower() not in IMAGE_FOLDERS | MASK_FOLDERS)
    return tuple(unicodedata.normalize("NFC", part) for part in (*kept, stem))
