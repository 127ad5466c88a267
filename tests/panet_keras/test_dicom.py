import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit, generate_uid

from panet_keras import DataError, DataWarning
from panet_keras.data import load_dicom

RAMP = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (48, 1))


def write(path, pixels, kind, patient="Jane Doe 1970", bits=8, syntax=ExplicitVRLittleEndian, **tags):
    """A DICOM ultrasound file; pixels [H, W] or [F, H, W] or with colours last."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = "1.2.840.10008.5.1.4.1.1.6.1", syntax
    meta.MediaStorageSOPInstanceUID = generate_uid()
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    colours = 3 if pixels.shape[-1] == 3 else 1
    size = pixels.shape[:-1] if colours == 3 else pixels.shape
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.PatientID, data.PatientName, data.Modality = patient, patient, "US"
    data.Rows, data.Columns = size[-2:]
    if len(size) == 3:
        data.NumberOfFrames = size[0]
    data.SamplesPerPixel, data.PhotometricInterpretation = colours, kind
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = (8 if bits == 8 else 16), bits, bits - 1, 0
    if colours == 3:
        data.PlanarConfiguration = 0
    for name, value in tags.items():
        setattr(data, name, value)
    content = pixels.tobytes()
    if syntax == JPEGBaseline8Bit:
        import io

        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "JPEG", quality=95)
        content = pydicom.encaps.encapsulate([stream.getvalue()])
    data.PixelData = content
    data.save_as(path, enforce_file_format=True)


def mask(path):
    pixels = np.zeros((48, 64), np.uint8)
    pixels[10:20, 10:30] = 255
    Image.fromarray(pixels).save(path)


def ybr(rgb):
    return np.asarray(Image.fromarray(rgb).convert("YCbCr"))


COLOUR = np.stack([RAMP, RAMP[:, ::-1], np.full_like(RAMP, 40)], -1)


@pytest.mark.parametrize(
    ("pixels", "kind", "options", "expected"),
    [
        (RAMP, "MONOCHROME2", {}, RAMP),
        (RAMP, "MONOCHROME1", {}, 255 - RAMP),
        (RAMP.astype(np.uint16) * 16, "MONOCHROME2", {"bits": 12}, RAMP),
        # Of 0 to 255 a window of width 101 about 100 shows 50 to 150.
        (RAMP, "MONOCHROME2", {"WindowCenter": 100, "WindowWidth": 101}, np.clip((RAMP - 49.5) / 100 * 255, 0, 255)),
        (COLOUR, "RGB", {}, COLOUR),
        (ybr(COLOUR), "YBR_FULL", {}, COLOUR),
        (COLOUR, "YBR_FULL_422", {"syntax": JPEGBaseline8Bit}, COLOUR),
    ],
)
def test_frames_look_as_in_a_viewer(tmp_path, pixels, kind, options, expected):
    write(tmp_path / "a.dcm", pixels, kind, **options)
    mask(tmp_path / "a_mask.png")
    [record] = load_dicom(tmp_path)
    sample = record.decode()
    expected = expected if expected.ndim == 3 else np.repeat(expected[..., None], 3, -1)
    error = np.abs(sample.image.astype(float) - expected)
    assert error.mean() < (4 if "syntax" in options else 1.5), error.mean()
    assert (sample.mask > 0).sum() == 200 and record.label == "Unknown"


def test_nothing_tells_who_it_is(tmp_path):
    """Two files of one patient, one of another: pseudonyms, and no tag, name or file name in what goes on."""
    for name, patient in (("DOE_JANE_1", "4711"), ("DOE_JANE_2", "4711"), ("ROE_RICHARD", "0815")):
        write(tmp_path / f"{name}.dcm", RAMP, "MONOCHROME2", patient)
        mask(tmp_path / f"{name}_mask.png")
    records = load_dicom(tmp_path, salt="secret", labels={"4711": "Benign"})
    assert len({record.patient for record in records}) == 2
    assert sorted(record.label for record in records) == ["Benign", "Benign", "Unknown"]
    from panet_keras.data import to_example

    content = b"".join(to_example(record.decode()) for record in records)
    for telling in (b"4711", b"0815", b"DOE", b"ROE", b"JANE"):
        assert telling not in content
    assert {r.patient for r in load_dicom(tmp_path, salt="other")}.isdisjoint(r.patient for r in records)


def test_marked_frames_of_a_clip(tmp_path):
    clip = np.stack([RAMP // (frame + 1) for frame in range(5)])
    write(tmp_path / "clip.dcm", clip, "MONOCHROME2")
    mask(tmp_path / "clip_f0_mask.png")
    mask(tmp_path / "clip_f3_mask.png")
    first, second = load_dicom(tmp_path)
    np.testing.assert_allclose(first.decode().image[..., 0], clip[0], atol=1)
    np.testing.assert_allclose(second.decode().image[..., 0], clip[3], atol=1)
    mask(tmp_path / "clip_f5_mask.png")
    with pytest.raises(DataError, match=r"clip.dcm: masks for the frames \[5\]; the file has 5, counted from 0"):
        load_dicom(tmp_path)


def test_problems_are_named_together(tmp_path):
    write(tmp_path / "palette.dcm", RAMP, "PALETTE COLOR")
    write(tmp_path / "hsv.dcm", RAMP, "HSV")
    write(tmp_path / "nobody.dcm", RAMP, "MONOCHROME2", "")
    write(tmp_path / "cut.dcm", RAMP, "MONOCHROME2")
    content = (tmp_path / "cut.dcm").read_bytes()
    (tmp_path / "cut.dcm").write_bytes(content[:-500])
    (tmp_path / "text.dcm").write_text("no DICOM")
    mask(tmp_path / "lost_mask.png")
    with pytest.raises(DataError) as caught:
        load_dicom(tmp_path)
    for message in (
        "hsv.dcm: PhotometricInterpretation is 'HSV'; expected MONOCHROME1",
        "palette.dcm: frame 0 cannot be decoded (PALETTE COLOR without its lookup tables)",
        "nobody.dcm: the tag PatientID (0010,0020) is empty",
        "cut.dcm: frame 0 cannot be decoded",
        "text.dcm: no DICOM image that can be read",
        "lost: masks without their DICOM file",
    ):
        assert message in str(caught.value), caught.value


def test_burned_in_text_is_reported(tmp_path):
    write(tmp_path / "a.dcm", RAMP, "MONOCHROME2", BurnedInAnnotation="YES")
    with pytest.warns(DataWarning, match="1 file.* say BurnedInAnnotation YES"):
        [record] = load_dicom(tmp_path)
    assert record.label == "Normal"
