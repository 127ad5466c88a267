"""DICOM by the rules of `pictures.rules.dicom`, with the library's errors and its limit on pixels."""

import contextlib

from panet_keras.errors import ImageError, MaskColourError
from panet_keras.pictures import limits
from panet_keras.pictures.rules import dicom as rules
from panet_keras.pictures.rules.dicom import frame_count, is_segmentation
from panet_keras.pictures.rules.regions import MaskRefused
from panet_keras.pictures.rules.rgb import Refused

__all__ = ["decode_dicom", "decode_frame", "frame_count", "is_segmentation", "read_dicom"]


@contextlib.contextmanager
def _refusals():
    try:
        yield
    except MaskRefused as error:
        raise MaskColourError(str(error)) from None
    except Refused as error:
        raise ImageError(str(error)) from None


def decode_dicom(source, name, frame=None):
    """uint8 [H, W, 3] of a path or bytes, see `rules.decode_dicom`.

    Raises:
        ImageError: no DICOM image, several frames where one is expected, or pixels that cannot be decoded.
    """
    with _refusals():
        return rules.decode_dicom(source, name, frame, limits.MAX_PIXELS)


def read_dicom(source, name):
    """`pydicom.Dataset` of a path or bytes, see `rules.read_dicom`.

    Raises:
        ImageError: no DICOM image, or one beyond `pictures.limits.MAX_PIXELS`.
    """
    with _refusals():
        return rules.read_dicom(source, name, limits.MAX_PIXELS)


def decode_frame(dataset, frame, name):
    """uint8 [H, W, 3] of a frame, counted from 0, as a viewer shows it, see `rules.decode_frame`.

    Raises:
        ImageError: pixels that cannot be decoded, a decoder that is missing, or another photometric
            interpretation.
    """
    with _refusals():
        return rules.decode_frame(dataset, frame, name)
