"""DICOM Segmentation objects (PS3.3, A.51) that refer to the picture they were drawn on.

FOLDER/
  PICTURE_mask.dcm      one segment for each label, empty where nothing is marked
  PICTURE_f7_mask.dcm   of frame 7 of a file of several, counted from 0, which the object names counted from 1
"""

import importlib.metadata
import io

from panet_keras.errors import PANetError
from panet_keras.files import write_whole
from panet_keras.pictures.rules import dicom_seg as rules
from panet_keras.pictures.rules.dicom import is_dicom
from panet_keras.pictures.rules.rgb import Refused
from panet_keras.writers.plan import WRITTEN, plan

ENDINGS = ("_mask.dcm",)


def write(annotations, folder, overwrite=False):
    """Writes an object for each picture or frame that is annotated or confirmed to be without lesion.

    It belongs to the patient and the study of its source and repeats their attributes, the name among them:
    keep it where the source may be kept. Provenance: `SegmentAlgorithmName`, `SegmentAlgorithmType`
    (AUTOMATIC as a model made it, SEMIAUTOMATIC corrected by a person, MANUAL without a model), version and
    parameters (id of the mask, supports) in the identification of the algorithm, `ContentCreatorName` (the
    author, if there is one), and a tracking identifier, the mask's id, for each segment. The same mask with
    the same provenance, whatever its id, has the same SOPInstanceUID.

    Args:
        annotations: list of `Annotation`. folder: where to.
        overwrite: whether older files may be replaced.

    Returns:
        List of `pathlib.Path`.

    Raises:
        PANetError: as `plan`; pictures that are no DICOM; after all others are written, those that lack what
            a reference needs; names them.
        ImportError: highdicom is missing. OSError: a file that cannot be written.
    """
    require_dicom([annotation.source for annotation in annotations if annotation.state in WRITTEN])
    written, _ = plan(annotations, folder, ENDINGS, overwrite)
    paths, problems = [], []
    for number, (annotation, [path]) in enumerate(written, 1):
        stream = io.BytesIO()
        try:
            made = rules.segmentation(
                annotation.source,
                annotation.read_mask(),
                str(annotation.source),
                annotation.labels,
                annotation.frame,
                annotation.state == "normal",
                annotation.provenance,
                number,
                _version(),
            )
        except Refused as error:
            problems.append(str(error))
            continue
        made.save_as(stream)
        write_whole(path, stream.getvalue())
        paths.append(path)
    if problems:
        raise PANetError("; ".join([*problems, f"{len(paths)} other DICOM SEG(s) are written"]))
    return paths


def require_dicom(paths):
    """Refuses pictures without an identity that an object could refer to.

    Raises:
        PANetError: names them, and the mend.
    """
    foreign = [str(path) for path in paths if not is_dicom(path)]
    if foreign:
        more = f" and {len(foreign) - 20} more" if len(foreign) > 20 else ""
        raise PANetError(
            f"{', '.join(foreign[:20])}{more}: no DICOM; a DICOM SEG refers to the DICOM file that it was drawn "
            "on. Give the DICOM files themselves, or choose another format (png, nifti, coco, labelme, cvat)."
        )


def _version():
    try:
        return importlib.metadata.version("panet-bus")
    except importlib.metadata.PackageNotFoundError:  # a checkout that is not installed
        return "checkout"
