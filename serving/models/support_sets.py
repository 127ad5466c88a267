"""Named support sets: folders of annotated images that the server encodes itself, so that a client sends its
query only."""

import logging
import pathlib
import unicodedata

import numpy as np
import tensorflow as tf

from serving.api.provenance import pixels
from serving.api.tensors import size_problem
from serving.commands.arguments import NORMALS, read_support_folder
from serving.errors import RpcError, status_of
from serving.pictures import open_rgb, shrink, shrink_mask, unite_masks

log = logging.getLogger("serving")
ALIAS = "support_set"
"""Input by which a request names a set instead of sending its state."""


class SupportSets:
    """The sub-folders of a folder, each as `--support-dir` of the client takes one: pictures `x.png` with
    their masks `x_mask.png` (or several, `x_mask_1.png` ...), and frames without lesion in `normals/`.

    Args:
        folder: of the sets; a set's name is its folder's.
        size: (height, width) to which they are brought; None takes each model's own.
    """

    def __init__(self, folder, size=None):
        self.folder = pathlib.Path(folder)
        self.size = None if size is None else tuple(size)
        self._refused = None

    def encode(self, version):
        """Encodes every set with a version's `encode_support`, into its `supports`.

        A set that cannot be read, such as one that is being copied, stays as it was encoded before, or is left
        out if it never was; with a line in the log that names the file, once until the folder changes. A folder
        of sets that cannot be listed leaves what was encoded before.
        """
        try:
            folders = sorted(
                path for path in self.folder.iterdir() if path.is_dir() and not path.name.startswith(".")
            )
        except OSError as error:
            if str(error) != self._refused:
                self._refused = str(error)
                log.error("--support_dir %s: %s; the sets of before serve on", self.folder, error)
            return
        self._refused = None
        if "encode_support" not in version.signatures:
            return  # a model of another kind beside ours
        supports = {}
        for path in folders:
            name, print_ = name_of(path), None
            kept = version.supports.get(name)
            if kept:
                supports[name] = kept
            try:
                print_ = _print(path)
                if not (kept and kept[0] == print_) and version.refused.get(name) != print_:
                    images, masks = read_set(path, self._size(version))
                    state = version.signatures["encode_support"](support_images=images, support_masks=masks)
                    supports[name] = (print_, state, set_digests(path))
                    normal = int((~masks.numpy().any((0, 1, 3, 4, 5))).sum())
                    message = "support set %s: %d shots, %d of them without lesion, encoded for version %d"
                    log.info(message, name, images.shape[2], normal, version.number)
            except Exception as error:  # a picture of any kind may lie there
                if version.refused.get(name) == str(error):
                    continue
                # What a machine lacks for a moment is no fault of the files.
                passing = isinstance(error, (OSError, MemoryError, tf.errors.ResourceExhaustedError))
                version.refused[name] = str(error) if passing or print_ is None else print_
                then = "; it serves on as it was before" if kept else ""
                log.error("support set %s: %s%s", name, status_of(error)[1], then)
        version.supports = supports

    def _size(self, version):
        size = self.size or version.image_size
        if size is None:
            raise ValueError(
                f"version {version.number} does not say its image size (it was exported by an older version); give --support_size H W"
            )
        return size


def name_of(path):
    """A set's name: its folder's, accents composed, for file systems and clients differ in how they write
    them."""
    return unicodedata.normalize("NFC", path.name)


def _print(folder):
    """What changes when a set does."""
    files = [
        file
        for place in (folder, folder / NORMALS)
        if place.is_dir()
        for file in sorted(place.iterdir())
        if file.is_file()
    ]
    told = [(str(file.relative_to(folder)), file.stat()) for file in files]
    # The time of the last change to an entry cannot be set back, as cp -p and rsync set that of its content.
    return [(name, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns) for name, stat in told]


def newest(kept):
    """When the newest file of a set was written, in seconds since 1970; None for a set without any.

    Args:
        kept: of `Version.supports`.
    """
    return max((written / 1e9 for _, _, written, _ in kept[0]), default=None)


def read_set(folder, size):
    """Images float32 [1, 1, K, H, W, 3] and masks uint8 [1, 1, K, H, W, 1] of a folder; those of `normals/`
    come last, with empty masks.

    Args:
        folder: `pathlib.Path`, as `serving.commands.arguments.read_support_folder` reads it: several masks of
            a picture are united.
        size: (H, W).

    Raises:
        ValueError: no pair, an image without mask, other sizes, a mask without foreground, or more pictures than
            a request may have; names the file.
    """
    try:
        pairs, normals = read_support_folder(folder)
    except ValueError as error:
        raise ValueError(str(error).removeprefix("--support-dir ")) from None
    shots = len(pairs) + len(normals)
    problem = size_problem({"support_images": [1, 1, shots, *size, 3]})
    if problem:
        raise ValueError(f"{folder}: {shots} pictures of {size[0]} x {size[1]}: {problem}")
    small_images, small_masks = [], []
    for path, masks in pairs:
        image, mask, name = open_rgb(path), unite_masks(masks), " + ".join(masks)
        if image.shape[:2] != mask.shape:
            raise ValueError(f"{name} is {mask.shape}, its image {image.shape[:2]}; expected one size")
        if not mask.any():
            raise ValueError(
                f"{name} has no foreground pixel; mark the lesion, or move the image into {NORMALS}/ without it"
            )
        small_images.append(shrink(image, size))
        small_masks.append(shrink_mask(mask, size))
    for path in normals:
        small_images.append(shrink(open_rgb(path), size))
        small_masks.append(np.zeros(size, np.uint8))
    return tf.constant(np.stack(small_images)[None, None]), tf.constant(
        np.stack(small_masks)[None, None, ..., None]
    )


def set_digests(folder):
    """Digests of a set's annotated pictures and frames without lesion, for the audit log."""
    pairs, normals = read_support_folder(folder)
    return tuple(pixels(open_rgb(path)) for path in [*(path for path, _ in pairs), *normals])


def resolve(version, proto):
    """The set that a request names in place of the state.

    Args:
        version: `Version`. proto: TensorProto of `ALIAS`: string [B], one name for all episodes.

    Returns:
        (dictionary of alias to tensor, each with B = 1; B of the request), to be repeated once its size has
        been checked; and the digests of its pictures. All of one set, for it may change meanwhile.

    Raises:
        RpcError: NOT_FOUND for an unknown set, INVALID_ARGUMENT for anything but one name.
    """
    import grpc

    name = name_in(proto)
    supports = version.supports
    if name not in supports:
        message = f"support set {name!r} is unknown; this server has {sorted(supports)}."
        raise RpcError(grpc.StatusCode.NOT_FOUND, message)
    _, state, digests = supports[name]
    return (state, proto.tensor_shape.dim[0].size), digests


def name_in(proto):
    """The one name in a TensorProto of `ALIAS`.

    Raises:
        RpcError: INVALID_ARGUMENT for anything but one name.
    """
    shape = [dim.size for dim in proto.tensor_shape.dim]
    count = len(proto.string_val)
    if (
        proto.dtype != tf.string.as_datatype_enum
        or len(shape) != 1
        or shape[0] < 1
        or count not in (1, shape[0])
    ):
        raise RpcError.invalid(
            f"input {ALIAS} has shape {shape} and {count} strings; expected a string tensor [B] that names one set for every episode."
        )
    names = {unicodedata.normalize("NFC", value.decode("utf-8", "replace")) for value in proto.string_val}
    if len(names) != 1:
        raise RpcError.invalid(
            f"input {ALIAS} has the values {sorted(names)[:5]}; expected one name, for every episode of the request."
        )
    return names.pop()
