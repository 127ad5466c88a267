"""The pictures of a data set that is written whole: bytes as they are, or the one decoder's pixels as PNG."""

from panet_keras.files import write_whole
from panet_keras.pictures.decode import decode_image, encode_png
from panet_keras.pictures.rules.dicom import is_dicom


def picture_names(annotations, names):
    """Names of the pictures in a folder of copies: the own ones, and `STEM.png` of a frame or of DICOM.

    Args:
        annotations: list of `Annotation`. names: their `plan.stems`.
    """
    return [
        f"{stem}.png" if is_decoded(annotation) else annotation.name
        for annotation, stem in zip(annotations, names)
    ]


def is_decoded(annotation):
    """Whether a copy of the picture must be made of its pixels: a frame, or DICOM, whose tags name the
    patient."""
    return annotation.frame is not None or is_dicom(annotation.source)


def copy_picture(annotation, path):
    """Writes an annotation's picture; the source is only read.

    Raises:
        ImageError: it cannot be decoded. OSError: it cannot be read or written.
    """
    if is_decoded(annotation):
        content = encode_png(decode_image(annotation.source, annotation.title, page=annotation.frame))
    else:
        content = annotation.source.read_bytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, content)
