"""Headers of DICOM files that contradict themselves or their pixels, and would be shown wrongly in silence."""

import math

COLOURLESS = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")
STARTS = ((0, b"\xff\xd8"), (0, b"\xff\x4f\xff\x51"), (4, b"\x40\0\0\0"))
"""Place and bytes by which the first fragment of a frame is known: JPEG (ITU T.81, B.1.1.3), JPEG 2000 (ISO
15444-1, A.4.1), RLE (PS3.5, G.5)."""


def header_problem(dataset, kind, frames):
    """What is wrong with a header, as a part of a message with the tag, what came and what was expected; None
    where nothing is.

    Args:
        dataset: `pydicom.Dataset`. kind: its photometric interpretation. frames: its number of frames.
    """
    samples = int(dataset.get("SamplesPerPixel", 1) or 1)
    expected = 1 if kind in COLOURLESS else 3
    if samples != expected:
        return f"SamplesPerPixel is {samples} and PhotometricInterpretation {kind}; expected {expected}"
    stored, high = int(dataset.get("BitsStored", 0) or 0), dataset.get("HighBit")
    if stored and high is not None and int(high) != stored - 1:
        return f"HighBit is {high} and BitsStored {stored}; expected {stored - 1} (PS3.5, 8.1.1)"
    found = _frames_found(dataset, samples, frames)
    if found > frames:
        return f"the pixels are those of {found} frames and NumberOfFrames says {frames}"
    return None


def _frames_found(dataset, samples, frames):
    """Number of frames that the pixels fill."""
    from pydicom.encaps import generate_fragments

    if "PixelData" not in dataset:
        return frames
    content, syntax = dataset.PixelData, dataset.file_meta.get("TransferSyntaxUID")
    bits = int(dataset.Rows) * int(dataset.Columns) * samples * int(dataset.get("BitsAllocated", 8) or 8)
    if not syntax or not syntax.is_compressed:
        return max(frames, 8 * len(content) // bits) if bits else frames
    # In a clip a frame may have several fragments, and to go through all for each frame would take long.
    if frames > 1 or not dataset["PixelData"].is_undefined_length:
        return frames
    fragments = list(generate_fragments(content))
    return max(sum(part.startswith(start, place) for part in fragments) for place, start in STARTS)


def rescale_problem(slope, intercept):
    """What is wrong with a rescale that would leave no picture; None where nothing is."""
    if slope and math.isfinite(slope) and math.isfinite(intercept):
        return None
    return f"RescaleSlope is {slope:g} and RescaleIntercept {intercept:g}; expected finite numbers, the first not 0"
