"""One frame of a DICOM file as a viewer shows it (DICOM PS3.3, C.7.6.3, C.11.1, C.11.2; PS3.4, N.2), or the mask
that it stands for (A.51)."""

import io
import os
import warnings

import numpy as np
from PIL import Image

from . import jpeg_extended
from .dicom_checks import header_problem, rescale_problem
from .kinds import kind_of
from .regions import array_levels, lesion
from .rgb import MAX_PIXELS, Refused

JPEG_EXTENDED = "1.2.840.10008.1.2.4.51"
JPEG_8_BIT = ("1.2.840.10008.1.2.4.50", JPEG_EXTENDED)
"""Transfer syntaxes JPEG Baseline and JPEG Extended."""
JPEG_2000 = tuple(f"1.2.840.10008.1.2.4.{number}" for number in (90, 91, 92, 93, 201, 202, 203))
COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
"""Photometric interpretations of colour that pydicom brings to RGB."""
GROUPS = {
    "RescaleSlope": "PixelValueTransformationSequence",
    "RescaleIntercept": "PixelValueTransformationSequence",
    "WindowCenter": "FrameVOILUTSequence",
    "WindowWidth": "FrameVOILUTSequence",
    "VOILUTFunction": "FrameVOILUTSequence",
}
"""Where enhanced multi-frame files keep an attribute (PS3.3, C.7.6.16)."""
ENDINGS = (".dcm", ".dicom", ".ima")
SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
"""SOP classes of segmentations and of label maps: masks, and no pictures."""
LOSSY = (*JPEG_8_BIT, "1.2.840.10008.1.2.4.81", "1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.203")
"""Transfer syntaxes that may lose levels."""


def decode_dicom(source, name, frame=None, max_pixels=MAX_PIXELS):
    """Decodes a DICOM file as a picture.

    Args:
        source: path or the bytes of a file.
        name: what to call it in an error.
        frame: number from 0; None: the only one, and a file with more is refused.
        max_pixels: limit on the pixels of a frame.

    Returns:
        uint8 [H, W, 3].

    Raises:
        Refused: no DICOM image, several frames where one is expected, or pixels that cannot be decoded.
    """
    dataset = read_dicom(source, name, max_pixels)
    frames = frame_count(dataset)
    if is_segmentation(dataset):
        raise Refused(
            f"{name}: a DICOM SEG, which is a mask; expected a picture. Give it as the mask of the picture that it refers to."
        )
    if frame is None and frames > 1:
        raise Refused(
            f"{name}: DICOM of {frames} frames; expected a picture of one. Name it: decode_image(path, page=0); load_dicom reads those "
            "that have a mask x_f0_mask.png."
        )
    if not 0 <= (frame or 0) < frames:
        raise Refused(f"{name}: frame {frame}; the file has {frames}, counted from 0.")
    return decode_frame(dataset, frame or 0, name)


def decode_mask(source, name, max_pixels=MAX_PIXELS):
    """Decodes a DICOM file as a mask.

    The segments of a SEG are united; all must be of one picture or frame. Of a picture, what it stores counts
    and not the window: not black is lesion (`regions.lesion`), black as MONOCHROME1 or 2 has it.

    Args:
        source: path or the bytes of a file. name: what to call it in an error.
        max_pixels: limit on the pixels of all frames.

    Returns:
        bool [H, W], and the number of pixels that were decided by nearness.

    Raises:
        Refused: a SEG of probabilities or of several pictures, a picture of several frames, levels that stand
            for nothing certain, or as `decode_dicom`.
    """
    dataset = read_dicom(source, name, max_pixels)
    frames = frame_count(dataset)
    if frames * int(dataset.Rows) * int(dataset.Columns) > max_pixels:
        raise Refused(
            f"{name}: {frames} frames of {dataset.Rows} x {dataset.Columns}; the limit is {max_pixels:,} pixels."
        )
    if is_segmentation(dataset):
        return _segments(dataset, frames, name), 0
    if frames > 1:
        raise Refused(
            f"{name}: DICOM of {frames} frames as a mask; expected one. Save the mask of each frame as a file of its own."
        )
    syntax = str(dataset.file_meta.TransferSyntaxUID)
    if str(dataset.get("PhotometricInterpretation", "")) not in ("MONOCHROME1", "MONOCHROME2"):
        levels = decode_frame(dataset, 0, name).max(-1)
    else:
        levels = _stored(dataset, 0, name)
        if dataset.PhotometricInterpretation == "MONOCHROME1":
            levels = (
                2 ** (int(dataset.BitsStored) - int(dataset.PixelRepresentation))
                - 1
                - levels.astype(np.int64)
            )
    return lesion(array_levels(levels, name), name, "JPEG" if syntax in LOSSY else False)


def is_dicom(path):
    """Whether a file is DICOM by its content; one without the usual preamble is known by its ending."""
    if os.path.splitext(path)[1].lower() in ENDINGS:
        return True
    try:
        with open(path, "rb") as file:
            return kind_of(file.read(512))[0] == "DICOM"
    except OSError:
        return False


def is_segmentation(dataset):
    """Whether a `pydicom.Dataset` is a SEG or a label map."""
    return str(dataset.get("SOPClassUID", "")) in SEGMENTATIONS


def _segments(dataset, frames, name):
    """bool [H, W]: where any segment of a SEG is."""
    if dataset.get("SegmentationType") == "FRACTIONAL":
        raise Refused(
            f"{name}: a DICOM SEG of the type FRACTIONAL; which fraction is lesion is not agreed. Export it as BINARY."
        )
    places = {_place(dataset, frame) for frame in range(frames)}
    if len(places) > 1:
        raise Refused(
            f"{name}: a DICOM SEG of {len(places)} pictures or frames; expected one. Export a SEG for each of them."
        )
    united = np.zeros((int(dataset.Rows), int(dataset.Columns)), bool)
    for frame in range(frames):
        united |= _stored(dataset, frame, name) > 0
    return united


def _place(dataset, frame):
    """What tells a frame of a SEG from those of another picture: the frames of its sources, and its
    position."""
    groups = dataset.get("PerFrameFunctionalGroupsSequence") or []
    if frame >= len(groups):
        return frame  # nothing tells that two frames are of one picture
    sources = [
        (str(image.get("ReferencedSOPInstanceUID")), str(image.get("ReferencedFrameNumber")))
        for derivation in groups[frame].get("DerivationImageSequence") or []
        for image in derivation.get("SourceImageSequence") or []
    ]
    positions = [
        tuple(map(float, plane.get("ImagePositionPatient") or ()))
        for plane in groups[frame].get("PlanePositionSequence") or []
    ]
    return (tuple(sorted(sources)), tuple(positions)) if sources or positions else frame


def _stored(dataset, frame, name):
    """[H, W] as it is stored.

    Raises:
        Refused: pixels that cannot be decoded, or a decoder that is missing.
    """
    _check_decoder(str(getattr(dataset.file_meta, "TransferSyntaxUID", "")), name)
    try:
        return _pixels(dataset, frame)
    except Exception as error:  # its decoders raise whatever theirs do
        raise Refused(
            f"{name}: frame {frame} cannot be decoded ({error}); expected whole pixel data. Export it again."
        ) from None


def read_dicom(source, name, max_pixels=MAX_PIXELS):
    """`pydicom.Dataset` of a path or of bytes, with pixels of a decent number; one without preamble is read,
    too.

    Raises:
        Refused: no DICOM image, one whose frames have more than `max_pixels`, or pydicom is missing.
    """
    try:
        import pydicom
    except ImportError:
        raise Refused(f"{name}: DICOM, which needs pydicom: pip install pydicom python-gdcm") from None

    try:
        content = io.BytesIO(source) if isinstance(source, bytes) else source
        try:
            dataset = pydicom.dcmread(content)
        except pydicom.errors.InvalidDicomError:
            content = io.BytesIO(source) if isinstance(source, bytes) else source
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                dataset = pydicom.dcmread(content, force=True)
            if "SOPClassUID" not in dataset:
                raise
        if "TransferSyntaxUID" not in dataset.file_meta and not _encapsulated(dataset):
            # Of pixels that are not compressed both little endian kinds have the same bytes.
            dataset.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
        if "Rows" not in dataset or "Columns" not in dataset:
            raise ValueError("it has no Rows and Columns: a report, or cut off")
        pixels = int(dataset.Rows) * int(dataset.Columns)
        frame_count(dataset)
    except Exception as error:  # a file may break pydicom anywhere
        raise Refused(
            f"{name}: no DICOM image that can be read ({_what(source, error)}); export it again."
        ) from None
    if pixels > max_pixels:
        raise Refused(
            f"{name}: {dataset.Rows} x {dataset.Columns} = {pixels:,} pixels; the limit is {max_pixels:,}."
        )
    return dataset


def _encapsulated(dataset):
    """Whether pixels are compressed, by how they lie in the file."""
    return "PixelData" in dataset and dataset["PixelData"].is_undefined_length


def _what(source, error):
    """Kind of the file where it is no DICOM, else what pydicom says."""
    if isinstance(source, bytes):
        kind = kind_of(source[:4096])[0]
    else:
        try:
            with open(source, "rb") as file:
                kind = kind_of(file.read(4096))[0]
        except OSError:
            return error
    return error if kind == "DICOM" else f"it is {kind}"


def frame_count(dataset):
    """Number of frames of a `pydicom.Dataset`."""
    return int(dataset.get("NumberOfFrames", 1) or 1)


def decode_frame(dataset, frame, name):
    """A frame as a viewer shows it: rescaled, windowed, MONOCHROME1 inverted, palettes and colours as RGB.

    Without a window the range of the stored bits is shown. Of several windows the first counts.

    Args:
        dataset: `pydicom.Dataset`. frame: number from 0. name: for messages.

    Returns:
        uint8 [H, W, 3].

    Raises:
        Refused: pixels that cannot be decoded, a decoder that is missing, or another photometric
            interpretation.
    """
    kind = str(dataset.get("PhotometricInterpretation", ""))
    syntax = str(getattr(dataset.file_meta, "TransferSyntaxUID", ""))
    jpeg_colours = (
        syntax in JPEG_8_BIT and int(dataset.get("SamplesPerPixel", 1)) == 3 and kind != "PALETTE COLOR"
    )
    if kind not in ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", *COLOURS) and not jpeg_colours:
        raise Refused(
            f"{name}: PhotometricInterpretation is {kind!r}; expected MONOCHROME1 or 2, PALETTE COLOR, or one of {', '.join(COLOURS)}. "
            "Export it as one."
        )
    _check_decoder(syntax, name)
    problem = header_problem(dataset, kind, frame_count(dataset))
    if problem:
        raise Refused(f"{name}: {problem}. Correct the header, or export the file again.")
    try:
        if jpeg_colours:
            return _jpeg(dataset, frame)
        if kind in COLOURS:
            return _eight_bits(_colours(dataset, frame, kind, syntax), int(dataset.BitsStored))
        if kind == "PALETTE COLOR":
            return _palette(dataset, frame)
        grey = _grey(dataset, frame, kind)
    except Exception as error:  # its decoders raise whatever theirs do
        packed, mend = _packed(syntax)
        raise Refused(
            f"{name}: frame {frame} cannot be decoded ({error}{packed}); expected whole pixel data. Export it again{mend}."
        ) from None
    return np.repeat(grey[..., None], 3, -1)


def _check_decoder(syntax, name):
    from pydicom.pixels import get_decoder
    from pydicom.uid import UID

    try:
        decoder = get_decoder(UID(syntax))
    except NotImplementedError:
        raise Refused(
            f"{name}: pixels in the transfer syntax {UID(syntax).name}, which no decoder here knows. Export the file uncompressed; of a "
            "video save the frame that you mean as PNG."
        ) from None
    if not decoder.is_available:
        raise Refused(
            f"{name}: pixels in the transfer syntax {UID(syntax).name} need a decoder: pip install python-gdcm "
            f"({'; '.join(decoder.missing_dependencies)})."
        )


def _packed(syntax):
    """What to add to a message about pixels that are compressed: the transfer syntax, and a mend."""
    from pydicom.uid import UID

    try:
        compressed = UID(syntax).is_compressed
    except ValueError:  # of nobody's list
        return "", ""
    return (f"; transfer syntax {UID(syntax).name}", ", or uncompressed") if compressed else ("", "")


def _pixels(dataset, frame, **options):
    from pydicom.encaps import get_frame
    from pydicom.pixels import pixel_array

    if dataset.file_meta.TransferSyntaxUID == JPEG_EXTENDED:
        stream = get_frame(dataset.PixelData, frame, number_of_frames=frame_count(dataset))
        if jpeg_extended.precision(stream) > 8:
            return jpeg_extended.decode(stream, dataset)
    return pixel_array(dataset, index=frame, **options)


def _jpeg(dataset, frame):
    """Colours of an 8-bit JPEG as its own stream says: files tagged RGB hold YCbCr, and the other way
    round."""
    from pydicom.encaps import get_frame

    stream = get_frame(dataset.PixelData, frame, number_of_frames=frame_count(dataset))
    with Image.open(io.BytesIO(stream), formats=("JPEG",)) as image:
        return np.asarray(image.convert("RGB"))


def _colours(dataset, frame, kind, syntax):
    """[H, W, 3] in RGB, of the stored bits."""
    if syntax in JPEG_2000:
        from pydicom.encaps import get_frame
        from pydicom.pixels import convert_color_space

        pixels = _pixels(dataset, frame, raw=True)
        stream = get_frame(dataset.PixelData, frame, number_of_frames=frame_count(dataset))
        # The marker COD says whether the decoder has changed YCbCr to RGB (ISO 15444-1, A.6.1).
        transformed = stream[stream.index(b"\xff\x52") + 8] == 1
        return (
            pixels
            if transformed or not kind.startswith("YBR_FULL")
            else convert_color_space(pixels, "YBR_FULL", "RGB")
        )
    # pydicom gives YBR as RGB unless it is told to leave it.
    return _pixels(dataset, frame)


def _eight_bits(pixels, bits):
    if pixels.dtype == np.uint8 and bits == 8:
        return pixels
    return (
        (pixels >> (bits - 8)).astype(np.uint8)
        if bits > 8
        else (pixels.astype(np.uint16) * 255 // (2**bits - 1)).astype(np.uint8)
    )


def _palette(dataset, frame):
    from pydicom.pixels import apply_color_lut

    if "RedPaletteColorLookupTableDescriptor" not in dataset:
        raise ValueError("PALETTE COLOR without its lookup tables")
    colours = apply_color_lut(_pixels(dataset, frame), dataset)[..., :3]
    # Some devices declare 16 bits and fill 8.
    return (colours >> 8 if colours.max() > 255 else colours).astype(np.uint8)


def _grey(dataset, frame, kind):
    """uint8 [H, W]: stored values, then the modality's rescale, then the window."""
    from pydicom.pixels import apply_modality_lut, apply_voi

    stored = _pixels(dataset, frame)
    if stored.dtype.kind == "f":
        raise ValueError("floating-point pixels, whose white is undefined")
    bits = int(dataset.BitsStored)
    ends = np.array(
        [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] if dataset.PixelRepresentation else [0, 2**bits - 1],
        np.float64,
    )
    if dataset.get("ModalityLUTSequence"):
        values = apply_modality_lut(stored, dataset)
        ends = np.array([0, 2 ** int(dataset.ModalityLUTSequence[0].LUTDescriptor[2]) - 1], np.float64)
    else:
        slope = float(_attribute(dataset, frame, "RescaleSlope", 1))
        intercept = float(_attribute(dataset, frame, "RescaleIntercept", 0))
        problem = rescale_problem(slope, intercept)
        if problem:
            raise ValueError(problem)
        plain = slope == 1 and intercept == int(intercept)
        values = (
            stored.astype(np.int64) + int(intercept)
            if plain
            else stored.astype(np.float64) * slope + intercept
        )
        ends = np.sort(ends * slope + intercept)
    if dataset.get("VOILUTSequence"):
        depth = int(dataset.VOILUTSequence[0].LUTDescriptor[2])
        scaled = apply_voi(np.rint(values).astype(np.int64), dataset) / (2.0**depth - 1)
    elif (
        _attribute(dataset, frame, "WindowCenter") is not None
        and _attribute(dataset, frame, "WindowWidth") is not None
    ):
        scaled = _windowed(
            np.asarray(values, np.float64),
            float(_attribute(dataset, frame, "WindowCenter")),
            float(_attribute(dataset, frame, "WindowWidth")),
            str(_attribute(dataset, frame, "VOILUTFunction", "LINEAR") or "LINEAR").upper(),
        )
    else:
        scaled = (np.asarray(values, np.float64) - ends[0]) / (ends[1] - ends[0])
    scaled = np.clip(scaled, 0.0, 1.0)
    return np.rint(255 * (1 - scaled if kind == "MONOCHROME1" else scaled)).astype(np.uint8)


def _windowed(values, centre, width, function):
    """Values to [0, 1] and beyond (PS3.3, C.11.2.1.2 and C.11.2.1.3)."""
    if not width > 0:
        raise ValueError(f"WindowWidth is {width:g}; expected more than 0")
    if function == "SIGMOID":
        return 1 / (1 + np.exp(-4 * (values - centre) / width))
    if function == "LINEAR_EXACT":
        return (values - centre) / width + 0.5
    if width < 1:
        raise ValueError(f"WindowWidth is {width:g}; expected at least 1")
    return (
        (values > centre - 0.5).astype(np.float64)
        if width == 1
        else (values - (centre - 0.5)) / (width - 1) + 0.5
    )


def _attribute(dataset, frame, keyword, default=None):
    """An attribute of a frame, wherever the file keeps it; the first of several values."""
    holders = [dataset]
    for sequence, place in (
        ("PerFrameFunctionalGroupsSequence", frame),
        ("SharedFunctionalGroupsSequence", 0),
    ):
        groups = dataset.get(sequence) or []
        if place < len(groups):
            holders += groups[place].get(GROUPS[keyword]) or []
    for holder in holders:
        value = holder.get(keyword)
        if value is not None and value != "":
            return value if isinstance(value, (str, int, float)) else value[0]
    return default
