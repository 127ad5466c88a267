"""DICOM Segmentation objects (PS3.3, A.51) that refer to the picture they were drawn on.

FOLDER/
  PICTURE_mask.dcm      one segment for each label, empty where nothing is marked
  PICTURE_f7_mask.dcm   of frame 7 of a file of several, counted from 0, which the object names counted from 1
"""

import copy
import io
import json
import uuid
import warnings

from panet_keras.errors import PANetError
from panet_keras.files import write_whole
from panet_keras.writers.pictures import is_dicom
from panet_keras.writers.plan import WRITTEN, plan

ENDINGS = ("_mask.dcm",)
SOFTWARE = "PANet-BUS"
SERIES_NUMBER = 9000
PATIENT = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID"),
    *("StudyDate", "StudyTime", "ReferringPhysicianName"),
)
"""Attributes that every object has, though they may be empty (type 2)."""
UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
PLANE = (
    "FrameOfReferenceUID",
    "PositionReferenceIndicator",
    "ImagePositionPatient",
    "ImageOrientationPatient",
)
FRAMES = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "NumberOfFrames")


def write(annotations, folder, overwrite=False):
    """Writes an object for each picture or frame that is annotated or confirmed to be without lesion.

    It belongs to the patient and the study of its source and repeats their attributes, the name among them:
    keep it where the source may be kept. Provenance: `SegmentAlgorithmName`, `SegmentAlgorithmType`
    (AUTOMATIC as a model made it, SEMIAUTOMATIC corrected by a person, MANUAL without a model), version and
    parameters (id of the mask, supports) in the identification of the algorithm, `ContentCreatorName` (the
    author, if there is one), and a tracking identifier, the mask's id, for each segment. The same mask with
    the same provenance has the same SOPInstanceUID.

    Args:
        annotations: list of `Annotation`. folder: where to.
        overwrite: whether older files may be replaced.

    Returns:
        List of `pathlib.Path`.

    Raises:
        PANetError: as `plan`, or pictures that are no DICOM or lack what a reference needs; names them.
        ImportError: highdicom is missing. OSError: a file that cannot be written.
    """
    require_dicom([annotation.source for annotation in annotations if annotation.state in WRITTEN])
    written, _ = plan(annotations, folder, ENDINGS, overwrite)
    for number, (annotation, [path]) in enumerate(written, 1):
        stream = io.BytesIO()
        segmentation(annotation, number).save_as(stream)
        write_whole(path, stream.getvalue())
    return [path for _, [path] in written]


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


def segmentation(annotation, number=1):
    """`highdicom.seg.Segmentation` of an `Annotation` whose source is DICOM.

    Args:
        annotation: of one picture or frame. number: of the object in its series.

    Raises:
        PANetError: a source that lacks what a reference needs. ImportError: highdicom is missing.
    """
    try:
        import highdicom
    except ImportError as error:
        raise ImportError("the format dicom-seg needs highdicom: pip install highdicom") from error
    source = _source(annotation)
    mask, about = annotation.read_mask(), annotation.provenance
    identity = json.dumps([dict(about), annotation.frame, list(annotation.labels), annotation.state])
    entropy = [source.SOPInstanceUID, identity, mask.tobytes().hex()]
    version = _version()
    with warnings.catch_warnings():
        # A person's name is taken as it was typed, without the carets of DICOM.
        warnings.simplefilter("ignore", UserWarning)
        try:
            made = highdicom.seg.Segmentation(
                source_images=[source],
                pixel_array=mask,
                segmentation_type="BINARY",
                segment_descriptions=_descriptions(annotation, entropy, version),
                series_instance_uid=_uid(source.SeriesInstanceUID, SOFTWARE),
                series_number=SERIES_NUMBER,
                sop_instance_uid=_uid(*entropy),
                instance_number=number,
                manufacturer=SOFTWARE,
                manufacturer_model_name=SOFTWARE,
                software_versions=version,
                device_serial_number="1",
                content_label="LESION",
                content_description=_description(annotation),
                content_creator_name=about.get("author") or None,
                omit_empty_frames=bool(mask.any()),
                series_description=f"{SOFTWARE} lesions",
                specific_character_set="ISO_IR 192",
            )
        except (ValueError, TypeError, AttributeError) as error:
            raise PANetError(
                f"{annotation.source}: no DICOM SEG can refer to it ({error}); expected an ultrasound image. "
                "Export it again, or choose another format."
            ) from None
    if annotation.frame is not None:
        _name_frame(made, annotation.frame + 1)
    return made


def _source(annotation):
    """The source's attributes as of an image of one frame, in Unicode."""
    import pydicom

    from panet_keras.pictures.dicom import frame_count, read_dicom

    dataset = read_dicom(annotation.source, str(annotation.source))
    missing = [name for name in UIDS if not dataset.get(name)]
    if missing:
        raise PANetError(
            f"{annotation.source}: without {', '.join(missing)}; expected what a DICOM SEG refers to. Export it again."
        )
    frames = frame_count(dataset)
    if annotation.frame is None and frames > 1 or annotation.frame is not None and annotation.frame >= frames:
        raise PANetError(
            f"{annotation.title}: frame {annotation.frame} of a file of {frames}; expected a number from 0."
        )
    if (int(dataset.Rows), int(dataset.Columns)) != annotation.image_size:
        raise PANetError(
            f"{annotation.title}: the mask is {annotation.image_size}, the DICOM image "
            f"{(int(dataset.Rows), int(dataset.Columns))}; expected the same height and width."
        )
    dataset.decode()
    source = pydicom.Dataset()
    left_out = {*FRAMES, "PixelData"} | (
        {*PLANE} if frames > 1 or "ImagePositionPatient" not in dataset else set()
    )
    for element in dataset:
        if element.keyword not in left_out:
            source.add(copy.copy(element))
    for name in PATIENT:
        if name not in source:
            setattr(source, name, "")
    if "Modality" not in source:
        source.Modality = "US"
    source.file_meta = dataset.file_meta
    return source


def _descriptions(annotation, entropy, version):
    import highdicom
    from pydicom.sr.codedict import codes

    about, kind, algorithm = annotation.provenance, "MANUAL", None
    if about.get("model"):
        changed = about.get("changed_pixels") or annotation.state == "normal"
        kind = "SEMIAUTOMATIC" if changed else "AUTOMATIC"
        told = {key: about[key] for key in ("id", "supports", "changed_pixels", "presence") if key in about}
        algorithm = highdicom.AlgorithmIdentificationSequence(
            name=str(about["model"])[:64],
            family=codes.DCM.ArtificialIntelligence,
            version=str(about.get("model_version") or version)[:64],
            source=SOFTWARE,
            parameters={key: json.dumps(value, ensure_ascii=False) for key, value in told.items()},
        )
    return [
        highdicom.seg.SegmentDescription(
            segment_number=number,
            segment_label=label[:64],
            segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
            segmented_property_type=codes.SCT.Lesion,
            algorithm_type=kind,
            algorithm_identification=algorithm,
            tracking_uid=_uid(*entropy, label),
            tracking_id=f"{about.get('id') or annotation.title}: {label}"[:64],
            anatomic_regions=[codes.SCT.Breast],
        )
        for number, label in enumerate(annotation.labels, 1)
    ]


def _description(annotation):
    """What a person reads in a list of objects: at most 64 characters."""
    said = "no lesion, confirmed" if annotation.state == "normal" else "lesions"
    mask = annotation.provenance.get("id")
    return f"{said}; mask {mask}"[:64] if mask else said


def _name_frame(made, frame):
    """Says which frame of the source every reference means (PS3.3, table 10-3), counted from 1."""
    for groups in made.PerFrameFunctionalGroupsSequence:
        for derivation in groups.get("DerivationImageSequence", []):
            for image in derivation.SourceImageSequence:
                image.ReferencedFrameNumber = frame
    for image in made.get("SourceImageSequence", []):
        image.ReferencedFrameNumber = frame


def _uid(*entropy):
    """A UID made of a UUID (PS3.5, B.2), the same for the same text."""
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, json.dumps([SOFTWARE, *map(str, entropy)])).int}"


def _version():
    import importlib.metadata

    try:
        return importlib.metadata.version("panet-bus")
    except importlib.metadata.PackageNotFoundError:  # a checkout that is not installed
        return "checkout"
