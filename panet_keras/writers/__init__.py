"""Masks in the formats that other tools read; docs/how-to/formats.md says which is for what."""

import types

from panet_keras.writers import coco, cvat, dataset, dicom_seg, labelme, nifti, png
from panet_keras.writers.annotation import Annotation

WRITERS = types.MappingProxyType(
    {
        "png": png.write,
        "coco": coco.write,
        "labelme": labelme.write,
        "nifti": nifti.write,
        "dicom-seg": dicom_seg.write,
        "cvat": cvat.write,
        "dataset": dataset.write,
    }
)
"""Name of a format to its function: `write(annotations, folder, overwrite=False, ...)`, a list of paths."""

__all__ = ["WRITERS", "Annotation"]
