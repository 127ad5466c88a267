"""What a file is, by its content: for a message that helps whoever gave the wrong one."""

import re
import zlib

PICTURES = "PNG, JPEG, BMP, TIFF, GIF or WebP"
CONVERT = "Convert it to PNG."
AS_COCO = "Export it as COCO and read it with load_coco (data.layout: coco), or as masks in PNG."
MASK_OF = "Draw it as a mask in PNG, or read the data set with"
DICOM = "Convert it to PNG (panet_keras reads DICOM itself)."
MAGIC = (
    (0, b"\x89PNG\r\n\x1a\n", "PNG", ""),
    (0, b"\xff\xd8\xff", "JPEG", ""),
    (0, b"BM", "BMP", ""),
    (0, b"II*\0", "TIFF", ""),
    (0, b"MM\0*", "TIFF", ""),
    (0, b"II+\0", "TIFF", ""),
    (0, b"MM\0+", "TIFF", ""),
    (0, b"GIF8", "GIF", ""),
    (8, b"WEBP", "WebP", ""),
    (128, b"DICM", "DICOM", DICOM),
    # Without its preamble: group 2 or 8 comes first (PS3.10, 7.1; PS3.5, 7.1).
    *((0, start, "DICOM", DICOM) for start in (b"\2\0\0\0UL", b"\2\0\x10\0UI")),
    *((0, bytes([8, 0, tag, 0]), "DICOM", DICOM) for tag in (0, 1, 5, 8, 0x16, 0x18)),
    (0, b"\0\x05\x16\x07", "a side file of macOS (._name)", "Name the file without '._'."),
    (0, b"%PDF", "PDF", "Export the picture from it as PNG."),
    (0, b"PK\x03\x04", "a ZIP archive", "Unpack it."),
    (0, b"\x93NUMPY", "a numpy array (.npy)", "Load it with numpy.load and pass the array."),
    (0, b"\x89HDF\r\n\x1a\n", "HDF5", "Save its pictures as PNG."),
    (0, b"MATLAB", "a MATLAB file", "Save its pictures as PNG."),
    (0, b"NRRD", "NRRD", CONVERT),
    (0, b"ObjectType", "MetaImage (.mhd)", CONVERT),
    (0, b"8BPS", "Photoshop", CONVERT),
    (0, b"%!PS", "PostScript", CONVERT),
    (
        0,
        b"version https://git-lfs",
        "a pointer of Git LFS, not the file itself",
        "Fetch it with 'git lfs pull'.",
    ),
    (4, b"ftypheic", "HEIC", CONVERT),
    (4, b"ftypheix", "HEIC", CONVERT),
    (4, b"ftypmif1", "HEIC", CONVERT),
    (4, b"ftypavif", "AVIF", CONVERT),
    (4, b"ftyp", "a video (MP4, MOV)", "Save the frame that you mean as PNG."),
    (8, b"AVI ", "a video (AVI)", "Save the frame that you mean as PNG."),
    (4, b"n+2\0", "NIfTI", f"{MASK_OF} load_nifti (data.layout: nifti)."),
    (344, b"n+1\0", "NIfTI", f"{MASK_OF} load_nifti (data.layout: nifti)."),
    (344, b"ni1\0", "NIfTI", f"{MASK_OF} load_nifti (data.layout: nifti)."),
)
"""(place, bytes there, name, mend)."""
TEXTS = (
    (
        rb"^\s*(<!doctype html|<html)",
        "HTML (a page of a server, perhaps of its login)",
        "Download the picture itself.",
    ),
    (rb"<svg\b", "SVG", CONVERT),
    (rb"<annotations?>.*<(polygon|box|mask|meta|version|image)\b", "a CVAT annotation (.xml)", "COCO"),
    (rb"<annotation>.*<object>", "a Pascal VOC annotation (.xml)", "COCO"),
    (rb"^\s*<", "XML", CONVERT),
    (rb'^\s*\{.*"(_via_settings|_via_img_metadata|shape_attributes)"', "a VIA annotation (.json)", "COCO"),
    (rb"^\W*filename,file_size,file_attributes", "a VIA annotation (.csv)", "COCO"),
    (
        rb'^\s*\{.*"shapes"\s*:',
        "a LabelMe annotation (.json)",
        f"{MASK_OF} load_labelme (data.layout: labelme).",
    ),
    (rb'^\s*\{.*"annotations"\s*:', "a COCO annotation (.json)", f"{MASK_OF} load_coco (data.layout: coco)."),
    (rb'^\s*[\[{].*["\]}]\s*$', "JSON", "Name the picture that it belongs to."),
)
"""(pattern, name, mend); "COCO" is for formats that their own tool exports as COCO."""


def kind_of(content):
    """What the bytes of a file are.

    Args:
        content: bytes; the whole file, or its beginning.

    Returns:
        Name and mend, both text; the mend is empty for a picture.
    """
    if not content:
        return "an empty file", "Copy or export it again."
    for place, magic, name, mend in MAGIC:
        if content[place : place + len(magic)] == magic:
            return name, mend
    if content[:2] == b"\x1f\x8b":
        start = zlib.decompressobj(31)
        try:
            inside = start.decompress(content, 512)
        except zlib.error:
            inside = b""
        name, mend = kind_of(inside)
        return (f"{name} (.nii.gz)", mend) if name == "NIfTI" else ("gzip", "Unpack it.")
    return _text_kind(content)


def _text_kind(content):
    unknown = f"of an unknown kind (it begins with {content[:8].hex(' ')})", CONVERT
    if b"\0" in content[:1024]:
        return unknown
    for pattern, name, mend in TEXTS:
        if re.search(pattern, content, re.DOTALL | re.IGNORECASE):
            return name, AS_COCO if mend == "COCO" else mend
    line = content[:200].decode("utf-8", "replace").strip().split("\n")[0].strip()[:20]
    return (
        (f"text (it begins with {line!r})", "Name the picture itself.")
        if line.isprintable() and "\ufffd" not in line
        else unknown
    )
