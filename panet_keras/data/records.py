"""One annotated ultrasound frame, wherever it comes from."""

import dataclasses
import hashlib
import warnings

import numpy as np
from scipy import ndimage

from panet_keras.errors import (
    DataError,
    ImageError,
    MaskColourError,
    MaskSizeWarning,
    MixedColourWarning,
    PANetError,
)
from panet_keras.pictures.decode import colours_to_classes, decode_image
from panet_keras.pictures.masks import decode_mask, mixed_text, sides_problem
from panet_keras.pictures.rules.regions import resize_mask

LABELS = ("Normal", "Benign", "Malignant", "Unknown")
MASK_FORMATS = ("colour", "binary", "index")
CLASS_OF_LABEL = {"Benign": 1, "Malignant": 2, "Unknown": 1}
"""Class index of a lesion in a mask: 0 = background, 1 = benign or not graded, 2 = malignant."""
MASK_COLOURS = ((0, 0, 0), (0, 255, 0), (255, 0, 0))
"""BUS-UCLM: black background, green benign, red malignant (Vallez et al., Scientific Data 2025)."""


@dataclasses.dataclass(frozen=True)
class Record:
    """An image, its mask or masks, and what is known about it.

    Attributes:
        filename: name of the image file; unique in a data set.
        patient: identifier that every image of one patient shares; splits go by it.
        label: one of `LABELS`.
        image: path, or the bytes of a picture.
        masks: paths or bytes; several are united, none means no lesion.
        mask_format: `"colour"` (`MASK_COLOURS`), `"binary"` (not black = lesion), or `"index"` (grey = class
            index).
        doppler, marks, combined: acquisition flags of BUS-UCLM: colour Doppler, calliper marks, two views in
            one frame.
        source: hospital or device; episodes are of one source.
        device: the scanner, where it is known beside the hospital.

    Raises:
        PANetError: another label or mask format, a name that is no text, or masks that are no tuple.
    """

    filename: str
    patient: str
    label: str
    image: str | bytes
    masks: tuple = ()
    mask_format: str = "colour"
    doppler: bool = False
    marks: bool = False
    combined: bool = False
    source: str = ""
    device: str = ""

    def __post_init__(self):
        # A lesion of an unknown label would be read as benign.
        for name, known in (("label", LABELS), ("mask_format", MASK_FORMATS)):
            if getattr(self, name) not in known:
                raise PANetError(
                    f"record {self.filename}: {name}={getattr(self, name)!r}; expected one of {', '.join(known)}."
                )
        for name in ("filename", "patient", "source", "device"):
            # 007 and 7 are two patients, and a table's reader makes one of them.
            if not isinstance(getattr(self, name), str):
                raise PANetError(
                    f"record {self.filename}: {name}={getattr(self, name)!r}; expected text. Read the table with dtype=str, or "
                    "say str(...)."
                )
        if isinstance(self.masks, (str, bytes)):
            raise PANetError(
                f"record {self.filename}: masks is one {type(self.masks).__name__}; expected (mask,)."
            )

    def decode(self):
        """Decodes image and mask.

        Returns:
            `Sample`.

        Raises:
            ImageError: a picture that cannot be decoded exactly, a mask with an illegal colour, or one of
                another picture's shape.

        Warns:
            DataWarning: the mask was stretched to the image's size, or had mixed colours.
        """
        sample, repairs = self.decode_with_repairs()
        for repair in repairs:
            warnings.warn(repair, stacklevel=2)
        return sample

    def decode_with_repairs(self):
        """As `decode`, but gives the warnings instead of issuing them: (`Sample`, list of `DataWarning`)."""
        image = decode_image(self.image, name=self.image if isinstance(self.image, str) else self.filename)
        mask, repairs = np.zeros(image.shape[:2], np.uint8), []
        for source in self.masks:
            name = source if isinstance(source, str) else f"mask of {self.filename}"
            part, mixed = self._decode_mask(source, name)
            if mixed:
                repairs.append(MixedColourWarning(mixed_text(name, mixed)))
            if part.shape != mask.shape:
                sizes = f"{name}: mask is {part.shape[1]} x {part.shape[0]}, image {self.filename} is {mask.shape[1]} x {mask.shape[0]}; "
                problem = sides_problem(part.shape, mask.shape)
                if problem:
                    raise ImageError(sizes + problem)
                repairs.append(
                    MaskSizeWarning(f"{sizes}the mask was stretched to the image (nearest neighbour).")
                )
                part = resize_mask(part, mask.shape)
            mask = np.maximum(mask, part)
        return Sample(self, image, mask), repairs

    def _decode_mask(self, source, name):
        """Class indices, and the number of pixels with mixed colours."""
        if self.mask_format == "binary":
            inside, mixed = decode_mask(source, name)
            return inside * np.uint8(CLASS_OF_LABEL.get(self.label, 1)), mixed
        picture = decode_image(source, name)
        if self.mask_format == "index":
            classes = picture[..., 0]
            if classes.max() >= len(MASK_COLOURS):
                raise MaskColourError(
                    f"{name}: class index {classes.max()}; expected 0 to {len(MASK_COLOURS) - 1}."
                )
            return classes, 0
        return colours_to_classes(picture, MASK_COLOURS, name)


@dataclasses.dataclass(frozen=True)
class Sample:
    """A decoded record: `image` uint8 [H, W, 3], `mask` uint8 [H, W] of class indices."""

    record: Record
    image: np.ndarray
    mask: np.ndarray

    @property
    def lesion_count(self):
        """Number of connected regions of the mask (4-neighbourhood)."""
        return int(ndimage.label(self.mask > 0)[1])

    @property
    def brightness(self):
        """Mean grey of the frame, 0 to 1."""
        return float(self.image.mean() / 255.0)

    @property
    def contrast(self):
        """Standard deviation of the frame's grey, 0 (flat) to 0.5 (half black, half white): RMS contrast (Peli,
        1990, Contrast in complex images, J. Opt. Soc. Am. A 7, equation 3)."""
        return float(self.image.std() / 255.0)

    @property
    def digest(self):
        """SHA-256 of the decoded pixels, hexadecimal: the same for the same picture in another file or
        format."""
        return str(digests([self.image])[0])

    @property
    def mask_classes(self):
        """Classes that the mask shows: 1 for benign, plus 2 for malignant."""
        return int((self.mask == 1).any()) + 2 * int((self.mask == 2).any())

    @property
    def area_fraction(self):
        """Share of the frame that is lesion, 0 to 1."""
        return float((self.mask > 0).mean())


def digests(images):
    """Array of SHA-256 of the pixels of each of `images` (arrays): equal where pictures are."""
    return np.array(
        [hashlib.sha256(repr(image.shape).encode() + image.tobytes()).hexdigest() for image in images]
    )


def decode_all(records, where="data set"):
    """Decodes records one after the other, and names all broken ones at the end instead of stopping at the
    first.

    Args:
        records: of `Record`.
        where: the data set's name in the error.

    Yields:
        `Sample`, in order.

    Raises:
        DataError: after the last record, if any could not be decoded.
    """
    problems = []
    for record in records:
        try:
            sample = record.decode()
        except ImageError as error:
            problems.append(str(error))
        else:
            yield sample
    if problems:
        raise DataError(where, problems)
