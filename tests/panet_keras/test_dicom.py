import io

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit, generate_uid

from panet_keras import DataError, DataWarning, ImageError
from panet_keras.data import Record, decode_image, load_dicom

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
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = (
        (8 if bits == 8 else 16),
        bits,
        bits - 1,
        0,
    )
    if colours == 3:
        data.PlanarConfiguration = 0
    for name, value in tags.items():
        setattr(data, name, value)
    content = pixels.tobytes()
    if syntax == JPEGBaseline8Bit:
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
        (
            RAMP,
            "MONOCHROME2",
            {"WindowCenter": 100, "WindowWidth": 101},
            np.clip((RAMP - 49.5) / 100 * 255, 0, 255),
        ),
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
    with pytest.raises(
        DataError, match=r"clip.dcm: masks for the frames \[5\]; the file has 5, counted from 0"
    ):
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


TRANSFER_SYNTAXES = {
    "JPEG Lossless": "JPEGLosslessProcess14_1",
    "JPEG-LS": "JPEGLSLossless",
    "JPEG 2000": "JPEG2000Lossless",
    "RLE": "RLELossless",
    "deflated": "DeflatedExplicitVRLittleEndian",
}


def transcode(path, syntax):
    """Compresses a file in place, with GDCM."""
    import gdcm

    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(path))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax)))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFileName(str(path))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()


@pytest.mark.parametrize("syntax", TRANSFER_SYNTAXES)
@pytest.mark.parametrize(("pixels", "kind"), [(RAMP, "MONOCHROME2"), (COLOUR, "RGB")], ids=["grey", "colour"])
def test_every_packaged_decoder_is_used(tmp_path, syntax, pixels, kind):
    write(tmp_path / "a.dcm", pixels, kind)
    transcode(tmp_path / "a.dcm", TRANSFER_SYNTAXES[syntax])
    assert pydicom.dcmread(tmp_path / "a.dcm").file_meta.TransferSyntaxUID != ExplicitVRLittleEndian
    expected = pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, -1)
    np.testing.assert_array_equal(decode_image(tmp_path / "a.dcm"), expected)


def jpeg(pixels, jfif=True, **options):
    """A JPEG stream; without its JFIF segment nothing but its components says that it is YCbCr."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=95, **options)
    content = stream.getvalue()
    return content if jfif else content[:2] + content[20:]


RED = np.full((48, 64, 3), (255, 0, 0), np.uint8)


@pytest.mark.parametrize("kind", ["RGB", "YBR_FULL", "YBR_FULL_422"])
@pytest.mark.parametrize(
    "options", [{}, {"jfif": False}, {"keep_rgb": True}], ids=["JFIF", "no JFIF", "RGB in Adobe's way"]
)
def test_the_stream_of_a_jpeg_says_what_its_colours_are(tmp_path, kind, options):
    """What the tag says is not looked at: a red frame stays red."""
    write(tmp_path / "a.dcm", RED, kind, syntax=JPEGBaseline8Bit)
    data = pydicom.dcmread(tmp_path / "a.dcm")
    data.PixelData = pydicom.encaps.encapsulate([jpeg(RED, **options)])
    data.save_as(tmp_path / "a.dcm")
    assert np.abs(decode_image(tmp_path / "a.dcm").astype(int) - RED).max() <= 2


@pytest.mark.parametrize("kind", ["RGB", "YBR_FULL", "YBR_RCT"])
@pytest.mark.parametrize("transformed", [True, False])
def test_the_stream_of_a_jpeg_2000_says_whether_it_was_transformed(tmp_path, kind, transformed):
    stream = io.BytesIO()
    stored = COLOUR if transformed or not kind == "YBR_FULL" else ybr(COLOUR)
    Image.fromarray(stored).save(stream, "JPEG2000", no_jp2=True, mct=int(transformed), irreversible=False)
    write(tmp_path / "a.dcm", COLOUR, kind)
    data = pydicom.dcmread(tmp_path / "a.dcm")
    data.file_meta.TransferSyntaxUID = pydicom.uid.JPEG2000Lossless
    data.PixelData = pydicom.encaps.encapsulate([stream.getvalue()])
    data["PixelData"].VR = "OB"
    data.save_as(tmp_path / "a.dcm")
    error = np.abs(decode_image(tmp_path / "a.dcm").astype(int) - COLOUR)
    assert error.max() <= (3 if kind == "YBR_FULL" and not transformed else 0)


LEVELS = np.array([[0, 250, 500, 750, 1000]], np.uint16)


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        # 2 v - 1000 is -1000 to 1000; a window of width 2000 about 0 shows -1000 to 999 (PS3.3, C.11.2.1.2).
        ({}, [0, 64, 128, 191, 255]),
        ({"VOILUTFunction": "LINEAR_EXACT"}, [0, 64, 128, 191, 255]),
        # 1 / (1 + exp(-4 x / 2000)) of -1000, -500, 0, 500, 1000, times 255
        ({"VOILUTFunction": "SIGMOID"}, [30, 69, 128, 186, 225]),
        ({"WindowCenter": [0, 40], "WindowWidth": [2000, 80]}, [0, 64, 128, 191, 255]),
        # Without a window the 12 bits are shown: 0 to 4095.
        ({"WindowCenter": None, "WindowWidth": None}, [0, 16, 31, 47, 62]),
    ],
)
@pytest.mark.parametrize("kind", ["MONOCHROME2", "MONOCHROME1"])
def test_rescaled_then_windowed(tmp_path, tags, expected, kind):
    tags = {"RescaleSlope": 2, "RescaleIntercept": -1000, "WindowCenter": 0, "WindowWidth": 2000} | tags
    write(
        tmp_path / "a.dcm",
        LEVELS,
        kind,
        bits=12,
        **{name: value for name, value in tags.items() if value is not None},
    )
    shown = decode_image(tmp_path / "a.dcm")[0, :, 0].astype(int)
    np.testing.assert_allclose(shown, expected if kind == "MONOCHROME2" else 255 - np.array(expected), atol=1)


def test_windows_of_enhanced_files_and_luts(tmp_path):
    def item(**tags):
        dataset = pydicom.Dataset()
        for name, value in tags.items():
            setattr(dataset, name, value)
        return dataset

    groups = item(
        PixelValueTransformationSequence=[item(RescaleSlope="2", RescaleIntercept="-1000")],
        FrameVOILUTSequence=[item(WindowCenter="0", WindowWidth="2000")],
    )
    write(tmp_path / "enhanced.dcm", LEVELS, "MONOCHROME2", bits=12, SharedFunctionalGroupsSequence=[groups])
    np.testing.assert_array_equal(decode_image(tmp_path / "enhanced.dcm")[0, :, 0], [0, 64, 128, 191, 255])
    table = (np.arange(1001) * 255 // 1000).astype(np.uint8)
    lut = item(LUTDescriptor=[1001, 0, 16], LUTData=(table.astype(np.uint16) * 257).tobytes())
    write(tmp_path / "lut.dcm", LEVELS, "MONOCHROME2", bits=12, VOILUTSequence=[lut])
    np.testing.assert_array_equal(decode_image(tmp_path / "lut.dcm")[0, :, 0], table[LEVELS[0]])


@pytest.mark.parametrize("bits", [8, 16])
def test_palettes(tmp_path, bits):
    table = np.random.default_rng(0).integers(0, 256, (256, 3)).astype(np.uint8)
    tags = {}
    for channel, name in enumerate(("Red", "Green", "Blue")):
        entries = table[:, channel] if bits == 8 else table[:, channel].astype(np.uint16) * 257
        tags[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, bits]
        tags[f"{name}PaletteColorLookupTableData"] = entries.tobytes()
    write(tmp_path / "a.dcm", RAMP, "PALETTE COLOR", **tags)
    np.testing.assert_array_equal(decode_image(tmp_path / "a.dcm"), table[RAMP])


@pytest.mark.parametrize(
    ("pixels", "kind", "tags", "message"),
    [
        (
            RAMP,
            "MONOCHROME2",
            {"RescaleSlope": 0},
            "RescaleSlope is 0 and RescaleIntercept 0; expected finite",
        ),
        (
            RAMP,
            "MONOCHROME2",
            {"WindowCenter": 9, "WindowWidth": 0},
            "WindowWidth is 0; expected more than 0",
        ),
        (
            RAMP,
            "MONOCHROME2",
            {"WindowCenter": 9, "WindowWidth": 0, "VOILUTFunction": "SIGMOID"},
            "WindowWidth is 0; expected more than 0",
        ),
        (
            RAMP.astype(np.uint16),
            "MONOCHROME2",
            {"bits": 12, "HighBit": 15},
            "HighBit is 15 .*12; expected 11",
        ),
        (RAMP, "RGB", {}, "SamplesPerPixel is 1 and PhotometricInterpretation RGB; expected 3"),
        (
            COLOUR,
            "MONOCHROME2",
            {},
            "SamplesPerPixel is 3 and PhotometricInterpretation MONOCHROME2; expected 1",
        ),
        (
            np.stack([RAMP] * 2),
            "MONOCHROME2",
            {"NumberOfFrames": None},
            "those of 2 frames and Number.* says 1",
        ),
    ],
)
def test_headers_that_contradict_the_pixels_are_refused(tmp_path, pixels, kind, tags, message):
    """Each of them was a black, scrambled or shortened picture."""
    write(tmp_path / "a.dcm", pixels, kind, **tags)
    with pytest.raises(ImageError, match=f"a.dcm: .*{message}"):
        decode_image(tmp_path / "a.dcm")


def test_frames_that_nobody_counted_are_not_dropped(tmp_path):
    write(tmp_path / "a.dcm", RED, "YBR_FULL_422", syntax=JPEGBaseline8Bit)
    data = pydicom.dcmread(tmp_path / "a.dcm")
    stream = pydicom.encaps.get_frame(data.PixelData, 0, number_of_frames=1)
    data.PixelData = pydicom.encaps.encapsulate([stream, stream], has_bot=False)
    data.save_as(tmp_path / "a.dcm")
    with pytest.raises(ImageError, match="the pixels are those of 2 frames and NumberOfFrames says 1"):
        decode_image(tmp_path / "a.dcm")


def test_jpeg_extended_of_twelve_bits(tmp_path, capfd):
    from pydicom.data import get_testdata_file

    from panet_keras.pictures.rules import dicom

    # Values of pydicom's own tests (tests/pixels/pixels_reference.py, JPGE_BAD).
    file = get_testdata_file("JPEG-lossy.dcm", download=False)
    values = dicom._pixels(dicom.read_dicom(file, file), 0)
    assert values.shape == (1024, 256) and (values[420, 140], values[230, 120]) == (244, 95)

    ramp = RAMP.astype(np.uint16) * 16
    write(tmp_path / "a.dcm", ramp, "MONOCHROME2", bits=12)
    transcode(tmp_path / "a.dcm", "JPEGExtendedProcess2_4")
    assert pydicom.dcmread(tmp_path / "a.dcm").file_meta.TransferSyntaxUID == dicom.JPEG_EXTENDED
    error = np.abs(decode_image(tmp_path / "a.dcm")[..., 0].astype(int) - RAMP)
    assert error.max() <= 1
    signed = dicom.read_dicom(tmp_path / "a.dcm", "a.dcm")
    signed.PixelRepresentation = 1
    values = dicom._pixels(signed, 0)
    assert values.dtype == np.int16 and abs(values[0, -1] - (int(ramp[0, -1]) - 4096)) <= 16

    data = pydicom.dcmread(tmp_path / "a.dcm")
    stream = pydicom.encaps.get_frame(data.PixelData, 0, number_of_frames=1)
    data.PixelData = pydicom.encaps.encapsulate([stream.replace(b"\xff\xc4", b"\xff\xfe")])
    data.save_as(tmp_path / "a.dcm")
    with pytest.raises(
        ImageError,
        match=r"\(the JPEG stream is damaged; transfer syntax JPEG Extended \(Process 2 and 4\)\).*, or unc",
    ):
        decode_image(tmp_path / "a.dcm")


def test_decoders_that_are_missing_are_named(tmp_path):
    write(tmp_path / "a.dcm", RAMP, "MONOCHROME2")
    for uid, message in (
        ("1.2.840.10008.1.2.4.102", "MPEG-4.*which no decoder here knows.*save the frame"),
        ("1.2.840.10008.1.2.4.201", "need a decoder: pip install"),
    ):
        data = pydicom.dcmread(tmp_path / "a.dcm")
        data.file_meta.TransferSyntaxUID = uid
        data.PixelData = pydicom.encaps.encapsulate([b"\0" * 20])
        data["PixelData"].VR = "OB"
        data.save_as(tmp_path / "b.dcm")
        with pytest.raises(ImageError, match=f"b.dcm: pixels in the transfer syntax .*{message}"):
            decode_image(tmp_path / "b.dcm")


def test_files_are_known_by_content_and_hidden_ones_left_alone(tmp_path):
    """As PACS, CD and a Mac write them: no ending, digits and dots as a name, `._` files, reports, a
    DICOMDIR."""
    write(tmp_path / "IM000001", RAMP, "MONOCHROME2")
    write(tmp_path / "1.2.840.7", COLOUR, "RGB")
    for name in ("IM000001_mask.PNG", "1.2.840.7_mask.tif"):
        pixels = np.zeros((48, 64), np.uint8)
        pixels[10:20, 10:30] = 1
        Image.fromarray(pixels).save(tmp_path / name)
    (tmp_path / "._a.dcm").write_bytes(b"\0\5\x16\7" + bytes(200))
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "__MACOSX" / "a.dcm").write_bytes(b"\0\5\x16\7" + bytes(200))
    (tmp_path / "README.txt").write_text("a CD")
    records = load_dicom(tmp_path)
    assert [int((record.decode().mask > 0).sum()) for record in records] == [200, 200]
    write(tmp_path / "report", RAMP, "MONOCHROME2")
    report = pydicom.dcmread(tmp_path / "report")
    for name in ("Rows", "Columns", "PixelData"):
        delattr(report, name)
    report.save_as(tmp_path / "report")
    with pytest.warns(DataWarning, match=r"1 file\(s\) hold no pixels.*report"):
        assert len(load_dicom(tmp_path)) == 2


def test_the_same_instance_twice(tmp_path):
    write(tmp_path / "a.dcm", RAMP, "MONOCHROME2", SOPInstanceUID="1.2.3")
    write(tmp_path / "b.dcm", RAMP, "MONOCHROME2", SOPInstanceUID="1.2.3")
    mask(tmp_path / "b_mask.png")
    with pytest.warns(DataWarning, match=r"1 file\(s\) repeat a SOPInstanceUID.*a.dcm"):
        [record] = load_dicom(tmp_path)
    assert record.masks and record.label == "Unknown"
    write(tmp_path / "c.dcm", 255 - RAMP, "MONOCHROME2", SOPInstanceUID="1.2.3")
    with pytest.warns(DataWarning, match=r"2 file\(s\) repeat"):
        records = load_dicom(tmp_path)
    assert len({record.filename for record in records}) == 2


def test_one_file_is_a_picture_at_every_door(tmp_path):
    from panet_keras.pictures.decode import read_image
    from serving.pictures import open_rgb

    write(tmp_path / "study", RAMP, "MONOCHROME2")
    content = (tmp_path / "study").read_bytes()
    record = Record("study", "p", "Normal", str(tmp_path / "study"))
    for picture in (decode_image(content), read_image(tmp_path / "study", "image"), record.decode().image):
        np.testing.assert_array_equal(picture[..., 0], RAMP)
    np.testing.assert_array_equal(open_rgb(tmp_path / "study")[..., 0], RAMP)
    # Without its preamble the standard's own readers accept a file, too.
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "a.dcm").write_bytes(content[132:])
    np.testing.assert_array_equal(load_dicom(tmp_path / "bare")[0].decode().image[..., 0], RAMP)
    np.testing.assert_array_equal(decode_image(content[132:])[..., 0], RAMP)
    clip = np.stack([RAMP // (frame + 1) for frame in range(3)])
    write(tmp_path / "clip.dcm", clip, "MONOCHROME2")
    with pytest.raises(ImageError, match="clip.dcm: DICOM of 3 frames; expected a picture of one.*page=0"):
        decode_image(tmp_path / "clip.dcm")
    np.testing.assert_array_equal(decode_image(tmp_path / "clip.dcm", page=2)[..., 0], clip[2])
    with pytest.raises(ImageError, match="frame 3; the file has 3, counted from 0"):
        decode_image(tmp_path / "clip.dcm", page=3)


def test_an_annotation_beside_a_file_is_named(tmp_path):
    write(tmp_path / "a.dcm", RAMP, "MONOCHROME2")
    (tmp_path / "a.json").write_text('{"version": "5.4", "shapes": []}')
    with pytest.raises(
        DataError, match="no mask a_mask.png, but a.json, which is a LabelMe annotation.*load_labelme"
    ):
        load_dicom(tmp_path)


@pytest.mark.parametrize(
    "image, other",
    [
        ("a.dcm", "a_seg.png"),
        ("a", "a-label.PNG"),
        ("a.dcm", "masks/a.png"),
        ("images/a.dcm", "masks/a_gt.png"),
    ],
)
def test_a_mask_of_another_name_does_not_make_a_normal_frame(tmp_path, image, other):
    """`load_folder` reads these; without a word the lesion would be trained as none."""
    for name in (image, other):
        (tmp_path / name).parent.mkdir(exist_ok=True)
    write(tmp_path / image, RAMP, "MONOCHROME2")
    mask(tmp_path / other)
    write(tmp_path / "b.dcm", RAMP, "MONOCHROME2")
    with pytest.raises(DataError, match=f"no mask a_mask.png, but .*{other}, which looks like it") as error:
        load_dicom(tmp_path)
    assert len(error.value.problems) == 1


def test_masks_that_may_be_of_two_files_are_refused(tmp_path):
    write(tmp_path / "a.dcm", RAMP, "MONOCHROME2")
    write(tmp_path / "a.ima", RAMP[:, ::-1].copy(), "MONOCHROME2", patient="Another")
    mask(tmp_path / "a_mask.png")
    with pytest.raises(DataError, match="a.ima: a.dcm has the same name, and a_mask may be of either"):
        load_dicom(tmp_path)
    (tmp_path / "a.ima").write_bytes((tmp_path / "a.dcm").read_bytes())
    with pytest.warns(DataWarning, match="repeat a SOPInstanceUID"):
        [record] = load_dicom(tmp_path)
    assert record.masks
