"""Masks in another tool's format, beside the PNG files that are always written."""

import os

FILES = {
    "png": ((), ()),
    "dicom-seg": (("_mask.dcm",), ()),
    "coco": ((), ("annotations.json",)),
    "nifti": (("_mask.nii.gz", ".nii.gz"), ()),
    "labelme": ((".json",), ()),
    "cvat": ((), ("annotations.xml",)),
}
"""Of each format the endings of the files of a picture, and the names of the files of all."""


def add_format(command):
    """Adds `--format`."""
    command.add_argument(
        "--format",
        choices=list(FILES),
        default="png",
        help="a format to write the masks in, too: docs/how-to/formats.md (default: PNG alone)",
    )


def check_format(name, queries):
    """Refuses, before anything is done, pictures that cannot be written in a format.

    Raises:
        PANetError: pictures that are no DICOM, for dicom-seg; names them. ImportError: its package is missing.
    """
    if name == "dicom-seg":
        from panet_keras.writers.dicom_seg import require_dicom

        require_dicom([query.path for query in queries])
    package = {"dicom-seg": "highdicom", "coco": "pycocotools", "nifti": "nibabel"}.get(name)
    try:
        if package:
            __import__(package)
    except ImportError as error:
        raise ImportError(f"--format {name} needs {package}: pip install {package}") from error


def write_format(name, queries, rows, out):
    """Writes the masks of a run, which lie in its PNG files, in another format.

    Args:
        name: of the format; nothing is written for png. queries: list of `Query`.
        rows: the run's table; pictures with an `error` are left out. out: the run's folder, in which
            `plan_outputs` has allowed the format's files.

    Returns:
        List of `pathlib.Path`.

    Raises:
        PANetError, ImageError, OSError: as the format's writer.
    """
    if name == "png":
        return []
    import numpy as np
    from PIL import Image

    from panet_keras.pictures.provenance import read_provenance
    from panet_keras.writers import WRITERS, Annotation

    read = {row["file"] for row in rows if not row["error"]}
    annotations = []
    for query in (query for query in queries if query.name in read):
        mask = os.path.join(out, f"{query.stem}_mask.png")
        with Image.open(mask) as image:
            size = image.size[::-1]
        annotations.append(
            Annotation(
                name=query.name,
                source=query.path,
                frame=None,
                image_size=size,
                mask=lambda mask=mask: (np.asarray(Image.open(mask)) > 0).astype(np.uint8),
                provenance=read_provenance(mask),
            )
        )
    return WRITERS[name](annotations, out, overwrite=True)
