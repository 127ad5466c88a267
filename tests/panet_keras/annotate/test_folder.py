"""Frames of a folder: names, sizes, patients, and what cannot be read."""

import os
import struct

import numpy as np
import pytest
from PIL import Image

from panet_keras.annotate.folder import Folder
from panet_keras.errors import ImageError


@pytest.fixture
def mixed(tmp_path):
    """A turned JPEG, a TIFF of two pages, a DICOM of three frames, one in a sub-folder, and text as PNG."""
    import pydicom
    from pydicom.dataset import FileMetaDataset

    folder = tmp_path / "mixed"
    (folder / "ward").mkdir(parents=True)
    rng = np.random.default_rng(0)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(rng.integers(0, 255, (20, 30), np.uint8)).save(folder / "x10.jpg", exif=exif)
    Image.fromarray(rng.integers(0, 255, (20, 30), np.uint8)).save(folder / "x9.png")
    pages = [Image.fromarray(np.full((8, 9), 50 * page, np.uint8)) for page in range(2)]
    pages[0].save(folder / "pages.tif", save_all=True, append_images=pages[1:])
    Image.fromarray(rng.integers(0, 255, (6, 7), np.uint8)).save(folder / "ward" / "p_1.png")
    (folder / "text.png").write_text("no picture")
    dataset = pydicom.Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.3.1", "1.2.3"
    dataset.PatientID, dataset.NumberOfFrames = "secret", 3
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = 10, 12, 1
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.PixelData = np.repeat(np.arange(3, dtype=np.uint8) * 100, 120).tobytes()
    dataset.save_as(folder / "cine.dcm", enforce_file_format=True)
    return folder


def test_every_frame_has_the_size_that_its_pixels_have(mixed):
    folder = Folder(mixed, recursive=True, salt="s")
    frames = list(folder.frames.values())
    assert [(frame.name, frame.number) for frame in frames] == [
        ("cine.dcm", 0),
        ("cine.dcm", 1),
        ("cine.dcm", 2),
        ("pages.tif", 0),
        ("pages.tif", 1),
        ("text.png", None),
        ("ward/p_1.png", None),
        ("x9.png", None),
        ("x10.jpg", None),
    ]
    for frame in frames:
        if frame.error is None:
            told = frame.height, frame.width
            assert folder.picture(frame).shape[:2] == told
            assert folder.picture(frame) is folder.picture(frame)
    assert "it is text" in frames[5].error
    with pytest.raises(ImageError):
        folder.picture(frames[5])
    assert (frames[8].height, frames[8].width) == (30, 20)
    assert [int(folder.picture(frame).max()) for frame in frames[:3]] == [0, 100, 200]
    assert frames[2].stem == "cine_f2"


def test_patients_and_identifiers(mixed):
    by_name = {(f.name, f.number): f for f in Folder(mixed, recursive=True, salt="s").frames.values()}
    cine = {by_name["cine.dcm", number].patient for number in range(3)}
    assert len(cine) == 1 and "secret" not in cine.pop()
    assert by_name["ward/p_1.png", None].patient == "ward" and by_name["x9.png", None].patient is None
    named = {f.name: f.patient for f in Folder(mixed, patient="^x(.)").frames.values()}
    assert (named["x9.png"], named["x10.jpg"]) == ("9", "1")
    same, other = Folder(mixed, salt="s").frames, Folder(mixed, salt="t").frames
    assert set(same) < {frame.id for frame in by_name.values()} and not set(same) & set(other)


def test_one_file_that_breaks_a_library_or_json_does_not_close_the_folder(tmp_path):
    """A TIFF whose second page has no width, which breaks Pillow by TypeError; Latin-1 in a name, as an old archive
    unpacks it."""
    picture = Image.fromarray(np.full((6, 7), 9, np.uint8))
    picture.save(tmp_path / "a.tif", save_all=True, append_images=[picture])
    width = struct.pack("<HHI", 256, 4, 1)  # the tag ImageWidth, a long
    start, first, second = (tmp_path / "a.tif").read_bytes().split(width)
    (tmp_path / "a.tif").write_bytes(start + width + first + struct.pack("<HHI", 65000, 4, 1) + second)
    with open(os.fsencode(tmp_path) + b"/lat\xe9n.png", "wb") as file:
        picture.save(file, "PNG")
    folder = Folder(tmp_path)
    *broken, latin = folder.frames.values()
    with pytest.raises(ImageError, match="a.tif"):
        folder.picture(broken[-1])
    assert broken[-1].error and latin.error is None
    assert (latin.name, latin.stem) == ("lat%E9n.png", "lat%E9n") and folder.picture(latin).max() == 9
