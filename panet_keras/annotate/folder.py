"""The frames of a folder: what they are called, how large they are, and their pixels."""

import collections
import dataclasses
import functools
import hashlib
import pathlib
import re
import threading

import numpy as np
from PIL import Image

from panet_keras.commands.queries import DICOM, PICTURES, find_queries, stem_of
from panet_keras.errors import ImageError, PANetError
from panet_keras.pictures import decode, limits
from panet_keras.pictures.rules import rgb

KEPT_BYTES = 256 << 20
"""Of decoded pictures that are kept in memory."""
SIDEWAYS = (5, 6, 7, 8)
"""Values of the EXIF tag Orientation that swap height and width."""


@dataclasses.dataclass
class Frame:
    """A picture to annotate; a file of several frames is several.

    Attributes:
        id: 16 hexadecimal digits of the output folder's secret, its name and number: the same after a restart, no
            path, and never that of another folder's picture in a browser's cache.
        name: the file's place in the folder, with `/`.
        path: of the file.
        number: from 0 in a file of several frames, else None.
        patient: identifier that a patient's pictures share, or None where nothing tells.
        width, height: in pixels; 0 where the file cannot be read.
        error: why it cannot be read, else None.
        stamp: text that changes with the file.
    """

    id: str
    name: str
    path: pathlib.Path
    number: int | None
    patient: str | None
    width: int
    height: int
    error: str | None = None
    stamp: str = ""

    @functools.cached_property
    def stem(self):
        """`name` without ending, with `_f7` for frame 7."""
        stem = stem_of(self.name)
        return stem if self.number is None else f"{stem}_f{self.number}"


class Folder:
    """A folder of pictures, which is read and never written.

    Args:
        path: the folder.
        recursive: whether sub-folders are searched.
        out: folder that is left out where it lies inside.
        patient: regular expression that is searched in a frame's name; its first group (or all of it) is the
            patient. Without it DICOM's PatientID under a pseudonym, else the sub-folder, else nothing.
        salt: secret text that is hashed with names and with a PatientID.

    Attributes:
        frames: dictionary of identifier to `Frame`, by name; 10 frames after 9.
        skipped: dictionary of reason to names of files that are no pictures.

    Raises:
        PANetError: no such folder, no picture in it, or a `patient` that is no regular expression.
    """

    def __init__(self, path, recursive=False, out=None, patient=None, salt=""):
        self.path = pathlib.Path(path)
        if self.path.exists() and not self.path.is_dir():
            raise PANetError(f"{path} is a file; expected a folder of pictures. Name the folder it lies in.")
        try:
            self._patient = re.compile(patient) if patient else None
        except re.error as error:
            raise PANetError(
                f"--patient {patient}: {error}; expected a regular expression, such as ^([^_]+)_."
            ) from None
        self._salt, self._lock = salt, threading.Lock()
        self._kept, self._bytes, self._dataset = collections.OrderedDict(), 0, (None, None)
        queries, self.skipped = find_queries([self.path], recursive, out, option="FOLDER")
        frames = [frame for query in queries for frame in self._frames(query)]
        self.frames = {frame.id: frame for frame in sorted(frames, key=natural)}

    def _frames(self, query):
        try:
            sizes, patient = _header(query.path)
        except Exception as error:  # one broken file is no reason to open none
            yield self._frame(query, None, None, (0, 0), _why(error, query.name))
            return
        for number, size in enumerate(sizes):
            yield self._frame(query, number if len(sizes) > 1 else None, patient, size)

    def _frame(self, query, number, patient, size, error=None):
        key = f"{query.name}\n{'' if number is None else number}"
        found = self._patient and self._patient.search(query.name)
        if found:
            patient = found[1] if found.re.groups else found[0]
        elif patient:
            patient = f"P{self._hash(patient)[:10]}"
        else:
            patient = query.name.rpartition("/")[0] or None
        told = query.path.stat()
        return Frame(
            id=self._hash(key)[:16],
            name=_printable(query.name),
            path=query.path,
            number=number,
            patient=patient,
            width=size[1],
            height=size[0],
            error=error,
            stamp=f"{told.st_mtime_ns:x}-{told.st_size:x}",
        )

    def _hash(self, text):
        return hashlib.sha256(f"{self._salt}\n{text}".encode("utf-8", "surrogateescape")).hexdigest()

    def picture(self, frame, keep=True):
        """uint8 [H, W, 3] as the model sees it. The array must not be changed.

        Args:
            frame: `Frame`. keep: whether it will soon be wanted again; the last 256 MB are kept.

        A frame whose header told another size, or whose pixels are broken, is corrected.

        Raises:
            ImageError: it cannot be decoded; `frame.error` says so until it can be.
        """
        with self._lock:
            if frame.id in self._kept:
                self._kept.move_to_end(frame.id)
                return self._kept[frame.id]
        try:
            picture = self._decode(frame)
        except Exception as error:  # libraries raise whatever they do
            frame.error = _why(error, frame.name)
            raise ImageError(frame.error) from None
        frame.error = None
        frame.height, frame.width = picture.shape[:2]
        picture.setflags(write=False)
        if not keep:
            return picture
        with self._lock:
            if frame.id not in self._kept:
                self._kept[frame.id] = picture
                self._bytes += picture.nbytes
            while self._bytes > KEPT_BYTES and len(self._kept) > 1:
                self._bytes -= self._kept.popitem(last=False)[1].nbytes
        return picture

    def _decode(self, frame):
        if frame.number is None or frame.path.suffix.lower() in PICTURES:
            return np.array(decode.decode_image(frame.path, frame.name, frame.number))
        from panet_keras.pictures.dicom import decode_frame, read_dicom

        # A cine loop is hundreds of frames of one file: it is parsed once, not for each.
        with self._lock:
            path, dataset = self._dataset
            if path != frame.path:
                dataset = read_dicom(frame.path, frame.name)
                self._dataset = (frame.path, dataset)
            return np.array(decode_frame(dataset, frame.number, frame.name))


def _why(error, name):
    if isinstance(error, ImageError):
        return str(error)
    return f"{name}: cannot be read ({type(error).__name__}: {error}). Copy or export it again."


def _printable(name):
    """A name that JSON and XML can hold: bytes of a file's name that are no UTF-8 as %E9."""
    return "".join(f"%{ord(char) - 0xDC00:02X}" if "\udc80" <= char <= "\udcff" else char for char in name)


def natural(frame):
    """Key that sorts `x10` after `x9`, and frames of a file by number."""
    return _parts(frame.name), frame.number or 0


@functools.lru_cache(maxsize=1 << 16)
def _parts(name):
    parts = re.split(r"(\d+)", name.casefold())
    return tuple((int(part), "") if part.isdecimal() else (-1, part) for part in parts)


def _header(path):
    """((height, width) of each frame of a file, its PatientID or None), without decoding pixels."""
    kind = path.suffix.lower()
    if kind not in PICTURES:
        try:
            return _dicom_header(path)
        except ImageError:
            if kind in DICOM:
                raise
    try:
        with Image.open(path, formats=rgb.FORMATS) as image:
            count = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
            width, height = image.size
            # Pillow has turned a TIFF's size already; asked for what is not in front of the pixels, it decodes them.
            if image.format != "TIFF" and "exif" in image.info and image.getexif().get(0x0112) in SIDEWAYS:
                width, height = height, width
            if width * height > limits.MAX_PIXELS:
                raise ImageError(
                    f"{path.name}: {width} x {height} pixels; the limit is {limits.MAX_PIXELS:,}. Shrink the picture."
                )
            return [(height, width)] * count, None
    except ImageError:
        raise
    except Exception:  # what Pillow's readers raise is not listed anywhere; the one decoder knows the words
        picture = decode.decode_image(path, path.name)
        return [picture.shape[:2]], None


def _dicom_header(path):
    import pydicom

    from panet_keras.pictures.dicom import frame_count, read_dicom

    try:
        dataset = pydicom.dcmread(path, stop_before_pixels=True)
        size = int(dataset.Rows), int(dataset.Columns)
        frames = frame_count(dataset)
    except Exception:  # files without preamble, and the words for broken ones: the one decoder's business
        dataset = read_dicom(path, path.name)
        size, frames = (int(dataset.Rows), int(dataset.Columns)), frame_count(dataset)
    return [size] * max(1, frames), str(dataset.get("PatientID", "") or "") or None
