"""JPEG Extended of 12 bits (DICOM PS3.5, A.4.2; ITU T.81, process 4), which Pillow cannot decode and pydicom
does not ask GDCM for."""

import numpy as np


def precision(stream):
    """Bits of a sample, from the start of frame of a JPEG stream (ITU T.81, B.2.2); 8 where none is found."""
    place = 2
    while place + 10 <= len(stream) and stream[place] == 0xFF:
        marker = stream[place + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return stream[place + 4]
        if marker == 0xDA:
            break
        place += 1 if marker == 0xFF else 2 + int.from_bytes(stream[place + 2 : place + 4], "big")
    return 8


def decode(stream, dataset):
    """Stored values of one frame of grey, as `pydicom.pixels.pixel_array` gives them.

    Args:
        stream: bytes of a JPEG Extended frame of more than 8 bits. dataset: its `pydicom.Dataset`.

    Returns:
        uint16 or int16 [H, W].

    Raises:
        ValueError: no GDCM, several samples a pixel, or a stream that is damaged.
    """
    try:
        import gdcm
    except ImportError:
        raise ValueError("12 bits need a decoder: pip install python-gdcm") from None
    bits, rows, columns = precision(stream), int(dataset.Rows), int(dataset.Columns)
    if int(dataset.SamplesPerPixel) != 1 or bits not in (12, 16):
        raise ValueError(f"{dataset.SamplesPerPixel} samples of {bits} bits, for which no decoder is known")
    fragment, fragments = gdcm.Fragment(), gdcm.SequenceOfFragments.New()
    fragment.SetByteStringValue(stream)
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((columns, rows, 1))
    image.SetDataElement(element)
    grey = gdcm.PhotometricInterpretation.MONOCHROME2
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(grey))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGExtendedProcess2_4))
    image.SetPixelFormat(gdcm.PixelFormat(1, 16, int(dataset.BitsStored), int(dataset.HighBit), 0))
    # Bytes come as text, with what is no text escaped.
    buffer = (image.GetBuffer() or "").encode("utf-8", "surrogateescape")
    if len(buffer) != rows * columns * 2:
        raise ValueError("the JPEG stream is damaged")
    values = np.frombuffer(buffer, np.uint16).reshape(rows, columns)
    if not dataset.PixelRepresentation:
        return values
    spare = 16 - int(dataset.BitsStored)
    return (values << spare).astype(np.int16) >> spare
