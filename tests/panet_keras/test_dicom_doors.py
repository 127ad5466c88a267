"""DICOM at every door: the same pixels and masks, or the same refusal, in the library and in the client, which
may not import it."""

import subprocess
import sys

import numpy as np
import pydicom
import pytest

from panet_keras.commands.arguments import read_support_folder
from panet_keras.data import Record, decode_image, load_dicom
from panet_keras.pictures.decode import encode_png, read_image
from panet_keras.pictures.masks import decode_mask
from panet_keras.writers import WRITERS, Annotation
from serving.commands import arguments as client
from serving.models.support_sets import read_set
from serving.pictures import open_mask, open_rgb, query_bytes
from tests.conftest import PROJECT
from tests.panet_keras.test_dicom import COLOUR, RAMP, write

MASK = np.zeros(RAMP.shape, np.uint8)
MASK[5:20, 8:30] = 1
MASK[30:41, 40:57] = 2
MASK[47, 63] = 3
TAGS = {"StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.4", "SOPInstanceUID": "1.2.5"}


@pytest.fixture
def source(tmp_path):
    write(tmp_path / "a.dcm", RAMP, "MONOCHROME2", **TAGS)
    return tmp_path / "a.dcm"


def seg(source, mask=MASK, **changes):
    """`a_mask.dcm`, with attributes changed."""
    annotation = Annotation("a.dcm", source, None, mask.shape, mask, ("Benign", "Malignant", "Cyst"))
    [path] = WRITERS["dicom-seg"]([annotation], source.parent, overwrite=True)
    data = pydicom.dcmread(path)
    for name, value in changes.items():
        setattr(data, name, value)
    data.save_as(path)
    return path


def label_map(source):
    """A SEG of the other class, which stores the labels themselves, by highdicom alone."""
    import highdicom
    from pydicom.sr.codedict import codes

    data = pydicom.dcmread(source)
    for name in ("PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate", "StudyTime"):
        setattr(data, name, "")
    described = [
        highdicom.seg.SegmentDescription(number, str(number), codes.SCT.Lesion, codes.SCT.Lesion, "MANUAL")
        for number in (1, 2, 3)
    ]
    made = highdicom.seg.Segmentation(
        [data], MASK, "LABELMAP", described, "1.2.8", 1, "1.2.9", 1, "other", "tool", "1", "1"
    )
    made.save_as(source.with_name("a_mask.dcm"))
    return source.with_name("a_mask.dcm")


def doors(path):
    picture = encode_png(np.zeros(RAMP.shape, np.uint8))
    return {
        "segmenter": lambda: decode_mask(str(path))[0],
        "segmenter, bytes": lambda: decode_mask(path.read_bytes(), str(path))[0],
        "reader": lambda: Record("a", "a", "Benign", picture, (str(path),), "binary").decode().mask > 0,
        "client": lambda: open_mask(str(path)),
    }


def picture_of(pixels, kind, **tags):
    def make(source):
        path = source.with_name("a_mask.dcm")
        write(path, pixels, kind, bits=16 if pixels.dtype == np.uint16 else 8, **tags)
        return path

    return make


@pytest.mark.parametrize(
    "make",
    [
        seg,
        label_map,
        # What is stored counts: a viewer shows 0 to 3 of 65535, or below the window, as black.
        picture_of(MASK.astype(np.uint16), "MONOCHROME2"),
        picture_of(MASK * np.uint8(80), "MONOCHROME2", WindowCenter=250, WindowWidth=2),
        picture_of(255 - MASK * np.uint8(80), "MONOCHROME1"),
        picture_of(np.stack([MASK * 0, MASK * 80, MASK * 0], -1).astype(np.uint8), "RGB"),
    ],
    ids=["SEG", "label map", "16 bit", "window", "MONOCHROME1", "RGB"],
)
def test_a_mask_at_every_door(source, make):
    path = make(source)
    for name, door in doors(path).items():
        np.testing.assert_array_equal(door(), MASK > 0, err_msg=name)
    [record] = load_dicom(source.parent)
    np.testing.assert_array_equal(record.decode().mask > 0, MASK > 0)
    for read in (read_support_folder, client.read_support_folder):
        assert read(source.parent) == ([(str(source), (str(path),))], [])
    images, masks = read_set(source.parent, RAMP.shape)
    np.testing.assert_array_equal(masks[0, 0, 0, ..., 0], MASK > 0)
    np.testing.assert_allclose(images[0, 0, 0, ..., 0], RAMP / 255, atol=1e-6)


def two_frames(source):
    """A SEG whose second frame is of another frame of the source."""
    path = seg(source)
    data = pydicom.dcmread(path)
    groups = data.PerFrameFunctionalGroupsSequence
    for number, group in enumerate(groups[:2], 1):
        group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber = number
    data.save_as(path)
    return path


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda source: seg(source, SegmentationType="FRACTIONAL"), "type FRACTIONAL.*Export it as BINARY"),
        (two_frames, "a DICOM SEG of 3 pictures or frames; expected one"),
        (
            lambda source: seg(source, PerFrameFunctionalGroupsSequence=[]),
            "a DICOM SEG of 3 pictures or frames",
        ),
        (lambda source: seg(source, PixelData=b"\0" * 9), "frame 0 cannot be decoded"),
        (picture_of(np.stack([RAMP] * 2), "MONOCHROME2"), "DICOM of 2 frames as a mask"),
        (picture_of(RAMP, "MONOCHROME2"), "a photograph, or a map of probabilities"),
        (picture_of(MASK + np.uint8(9), "MONOCHROME2"), "no black pixel"),
    ],
)
def test_the_same_refusal_of_a_mask_at_every_door(source, make, message):
    path, said = make(source), set()
    for door in doors(path).values():
        with pytest.raises(ValueError, match=f"a_mask.dcm: .*{message}") as caught:
            door()
        said.add(str(caught.value))
    assert len(said) == 1, said


def test_a_picture_at_every_door(source, tmp_path):
    write(tmp_path / "colour", COLOUR, "RGB")
    write(tmp_path / "clip.dcm", np.stack([RAMP] * 3), "MONOCHROME2")
    for name, expected in (("a.dcm", np.repeat(RAMP[..., None], 3, -1)), ("colour", COLOUR)):
        path = str(tmp_path / name)
        for door in (decode_image, open_rgb, lambda path: read_image(path, "image")):
            np.testing.assert_array_equal(door(path), expected)
        # What the server gets is a PNG, which it decodes itself.
        np.testing.assert_array_equal(decode_image(query_bytes(path)), expected)
    seg(source)
    (tmp_path / "cut.dcm").write_bytes(source.read_bytes()[:200])
    for name, message in (
        ("clip.dcm", "DICOM of 3 frames; expected a picture of one"),
        ("a_mask.dcm", "a DICOM SEG, which is a mask; expected a picture"),
        ("cut.dcm", "no DICOM image that can be read"),
    ):
        said = set()
        for door in (decode_image, open_rgb, query_bytes):
            with pytest.raises(ValueError, match=f"{name}: {message}") as caught:
                door(str(tmp_path / name))
            said.add(str(caught.value))
        assert len(said) == 1, said


def test_a_seg_of_another_name_is_no_frame_without_lesion(source):
    seg(source).rename(source.with_name("result.dcm"))
    with pytest.raises(
        ValueError, match="result.dcm: a DICOM SEG; expected the name of its picture with _mask"
    ):
        load_dicom(source.parent)


def test_without_pydicom_the_client_says_what_to_install(source):
    code = """
import sys
sys.modules |= dict.fromkeys(("tensorflow", "panet_keras", "pydicom"))  # None: to import them is an error
from serving.pictures import open_mask, open_rgb
for door in (open_rgb, open_mask):
    try:
        door(sys.argv[1])
    except ValueError as error:
        print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(source)], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    message = f"{source}: DICOM, which needs pydicom: pip install pydicom python-gdcm\n"
    assert done.stdout == 2 * message
