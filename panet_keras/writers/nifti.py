"""NIfTI-1: a picture and its mask as files of the same shape, as `load_nifti`, ITK-SNAP and 3D Slicer read
them.

FOLDER/
  PICTURE.nii.gz        uint8 [W, H, 1], or RGB where the picture has colours
  PICTURE_mask.nii.gz   uint8 [W, H, 1] of label numbers
"""

import gzip
import json

import numpy as np

from panet_keras.files import write_whole
from panet_keras.pictures.decode import decode_image
from panet_keras.writers.plan import plan

ENDINGS = ("_mask.nii.gz", ".nii.gz")
UPRIGHT = np.diag([-1.0, -1.0, 1.0, 1.0])
"""Voxels to millimetres, right, anterior, superior: viewers of slices then show the picture as it is. A pixel
counts as 1 mm: most pictures do not say their scale."""
COLOURS = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])


def write(annotations, folder, overwrite=False):
    """Writes two files for each picture that is annotated or confirmed to be without lesion; the mask of the
    latter is all zero.

    Names of labels, state, patient and provenance are JSON in a comment of the mask's header.

    Args:
        annotations: list of `Annotation`. folder: where to.
        overwrite: whether older files may be replaced.

    Returns:
        List of `pathlib.Path`: of each picture the mask, then the picture.

    Raises:
        PANetError: as `plan`. ImageError: a picture that cannot be decoded. ImportError: nibabel is missing.
        OSError: a file that cannot be written.
    """
    try:
        import nibabel
    except ImportError as error:
        raise ImportError("the format nifti needs nibabel: pip install nibabel") from error
    written, _ = plan(annotations, folder, ENDINGS, overwrite)
    for annotation, [mask_path, path] in written:
        image = nibabel.Nifti1Image(annotation.read_mask().T[..., None], UPRIGHT)
        image.header.set_intent("label")
        about = {
            "labels": dict(enumerate(annotation.labels, 1)),
            "state": annotation.state,
            "patient": annotation.patient,
            "provenance": dict(annotation.provenance),
        }
        comment = json.dumps(about, ensure_ascii=False).encode()
        image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", comment))
        write_whole(mask_path, _packed(image))
        picture = decode_image(annotation.source, annotation.title, page=annotation.frame)
        write_whole(path, _packed(nibabel.Nifti1Image(_voxels(picture), UPRIGHT)))
    return [path for _, paths in written for path in paths]


def _voxels(picture):
    """[W, H, 1] of a picture [H, W, 3]: grey where all colours are."""
    turned = np.ascontiguousarray(picture.transpose(1, 0, 2))
    grey = (picture[..., :1] == picture).all()
    return turned[..., :1].copy() if grey else turned.view(COLOURS)


def _packed(image):
    return gzip.compress(image.to_bytes(), compresslevel=6, mtime=0)
