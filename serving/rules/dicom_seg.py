"""DICOM Segmentation objects (PS3.3, A.51) that refer to the picture they were drawn on."""

import copy
import json
import uuid
import warnings

from .dicom import frame_count, read_dicom
from .rgb import MAX_PIXELS, Refused

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
ULTRASOUND = "1.2.840.10008.5.1.4.1.1.6.1"
"""SOP class of an image of one frame without a position in space."""


def segmentation(
    source, mask, name, labels=("Lesion",), frame=None, confirmed=False, about=None, number=1, version=""
):
    """A SEG of one picture or frame, with one segment for each label, empty where nothing is marked.

    It belongs to the patient and the study of its source and repeats their attributes, the name among them.
    The same mask with the same provenance, whatever its id, has the same SOPInstanceUID: a picture that is
    asked about again has no second object.

    Args:
        source: path or the bytes of a DICOM image, or what `rules.dicom.read_dicom` made of it.
        mask: uint8 [H, W], i for `labels[i - 1]`.
        name: what to call the source in an error.
        labels: names of the labels.
        frame: number from 0 in a file of several frames, which the object names counted from 1; else None.
        confirmed: whether a person confirmed that there is no lesion.
        about: dictionary of provenance, with any of `id`, `model`, `model_version`, `supports`, `author`,
            `changed_pixels`, `presence`.
        number: of the object in its series. version: of the software that makes it.

    Returns:
        `highdicom.seg.Segmentation`.

    Raises:
        Refused: a source that lacks what a reference needs, or is of another size.
        ImportError: highdicom is missing.
    """
    try:
        import highdicom
    except ImportError as error:
        raise ImportError("the format dicom-seg needs highdicom: pip install highdicom") from error
    about = dict(about or {})
    dataset, sop_class = _source(source, mask, name, frame)
    told = {key: value for key, value in about.items() if key != "id"}
    entropy = [
        dataset.SOPInstanceUID,
        json.dumps([told, frame, list(labels), confirmed], default=str),
        mask.tobytes().hex(),
    ]
    version = version or "unknown"
    with warnings.catch_warnings():
        # A person's name is taken as it was typed, without the carets of DICOM.
        warnings.simplefilter("ignore", UserWarning)
        try:
            made = highdicom.seg.Segmentation(
                source_images=[dataset],
                pixel_array=mask,
                segmentation_type="BINARY",
                segment_descriptions=_descriptions(labels, confirmed, about, entropy, version),
                series_instance_uid=_uid(dataset.SeriesInstanceUID),
                series_number=SERIES_NUMBER,
                sop_instance_uid=_uid(*entropy),
                instance_number=number,
                manufacturer=SOFTWARE,
                manufacturer_model_name=SOFTWARE,
                software_versions=version,
                device_serial_number="1",
                content_label="LESION",
                content_description=_description(confirmed, about),
                content_creator_name=about.get("author") or None,
                omit_empty_frames=bool(mask.any()),
                series_description=f"{SOFTWARE} lesions",
                specific_character_set="ISO_IR 192",
            )
        except (ValueError, TypeError, AttributeError) as error:
            raise Refused(
                f"{name}: no DICOM SEG can refer to it ({error}); expected an ultrasound image. Export it again, or choose another "
                "format."
            ) from None
    _name_source(made, sop_class, frame)
    return made


def _source(source, mask, name, frame):
    """The source's attributes as of an image of one frame, in Unicode, and its SOP class."""
    import pydicom

    # A clip of gigabytes is not read again for each of its frames.
    dataset = source if isinstance(source, pydicom.Dataset) else read_dicom(source, name, MAX_PIXELS)
    missing = [keyword for keyword in UIDS if not dataset.get(keyword)]
    if missing:
        raise Refused(
            f"{name}: without {', '.join(missing)}; expected what a DICOM SEG refers to. Export it again."
        )
    frames = frame_count(dataset)
    if frame is None and frames > 1 or frame is not None and frame >= frames:
        raise Refused(f"{name}: frame {frame} of a file of {frames}; expected a number from 0.")
    size = int(dataset.Rows), int(dataset.Columns)
    if size != mask.shape:
        raise Refused(
            f"{name}: the mask is {mask.shape}, the DICOM image {size}; expected the same height and width."
        )
    dataset.decode()
    copied = pydicom.Dataset()
    placed = frames == 1 and "ImagePositionPatient" in dataset
    left_out = {*FRAMES, "PixelData"} | (set() if placed else {*PLANE})
    for element in dataset:
        if element.keyword not in left_out:
            copied.add(copy.copy(element))
    for keyword in PATIENT:
        if keyword not in copied:
            setattr(copied, keyword, "")
    if not placed:
        # highdicom wants positions of everything that may have several frames; what it makes names the true
        # class again (`_name_source`).
        copied.SOPClassUID = ULTRASOUND
    if "Modality" not in copied:
        copied.Modality = "US"
    copied.file_meta = dataset.file_meta
    return copied, dataset.SOPClassUID


def _descriptions(labels, confirmed, about, entropy, version):
    import highdicom
    from pydicom.sr.codedict import codes

    kind, algorithm = "MANUAL", None
    if about.get("model"):
        kind = "SEMIAUTOMATIC" if about.get("changed_pixels") or confirmed else "AUTOMATIC"
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
            tracking_id=f"{about.get('id') or 'mask'}: {label}"[:64],
            anatomic_regions=[codes.SCT.Breast],
        )
        for number, label in enumerate(labels, 1)
    ]


def _description(confirmed, about):
    """What a person reads in a list of objects: at most 64 characters."""
    said = "no lesion, confirmed" if confirmed else "lesions"
    return f"{said}; mask {about['id']}"[:64] if about.get("id") else said


def _name_source(made, sop_class, frame):
    """Says of every reference its SOP class and which frame it means (PS3.3, table 10-3), counted from 1."""
    series = made.get("ReferencedSeriesSequence", [])
    references = [item for one in series for item in one.get("ReferencedInstanceSequence", [])]
    images = list(made.get("SourceImageSequence", []))
    for groups in made.PerFrameFunctionalGroupsSequence:
        for derivation in groups.get("DerivationImageSequence", []):
            images += derivation.SourceImageSequence
    for item in [*references, *images]:
        item.ReferencedSOPClassUID = sop_class
    for item in images if frame is not None else []:
        item.ReferencedFrameNumber = frame + 1


def _uid(*entropy):
    """A UID made of a UUID (PS3.5, B.2), the same for the same text."""
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, json.dumps([SOFTWARE, *map(str, entropy)])).int}"
