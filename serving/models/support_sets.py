"""Named support sets: folders of annotated images that the server encodes itself, so that a client sends its query only."""

import logging
import pathlib

import numpy as np
import tensorflow as tf

from serving.errors import RpcError
from serving.pictures import open_mask, open_rgb, shrink, shrink_mask

log = logging.getLogger("serving")
ALIAS = "support_set"
"""Input by which a request names a set instead of sending its state."""
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".gif", ".webp")


class SupportSets:
    """The sub-folders of a folder, each with pairs `x.png` and `x_mask.png` (any kind of picture, in any case).

    Args:
        folder: of the sets; a set's name is its folder's.
        size: (height, width) of the model's images.
    """

    def __init__(self, folder, size=(256, 256)):
        self.folder = pathlib.Path(folder)
        self.size = tuple(size)
        self._prints = {}

    def encode(self, version):
        """Encodes every set with a version's `encode_support`, into its `supports`.

        A set that cannot be read is left out, with a line in the log that names the file; the others serve.
        """
        names = sorted(path.name for path in self.folder.iterdir() if path.is_dir() and not path.name.startswith("."))
        supports = {}
        for name in names:
            print_ = self._print(name)
            kept = version.supports.get(name)
            if kept and kept[0] == print_:
                supports[name] = kept
                continue
            try:
                images, masks = read_set(self.folder / name, self.size)
                state = version.signatures["encode_support"](support_images=images, support_masks=masks)
                supports[name] = (print_, state)
                log.info("support set %s: %d shots, encoded for version %d", name, images.shape[2], version.number)
            except Exception as error:  # a picture of any kind may lie there
                log.error("support set %s: %s", name, error)
        version.supports = supports

    def _print(self, name):
        files = sorted((self.folder / name).iterdir())
        return [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.is_file()]


def read_set(folder, size):
    """Images float32 [1, 1, K, H, W, 3] and masks uint8 [1, 1, K, H, W, 1] of a folder.

    Raises:
        ValueError: no pair, an image without mask, other sizes, or a mask without foreground; names the file.
    """
    images, masks = [], []
    files = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")]
    mask_files = {path.stem[: -len("_mask")]: path for path in files if path.stem.lower().endswith("_mask")}
    for file in files:
        if file in mask_files.values():
            continue
        mask_file = mask_files.get(file.stem)
        if mask_file is None:
            raise ValueError(f"{file} has no {file.stem}_mask.png; expected a mask beside each image")
        image, mask = open_rgb(str(file)), open_mask(str(mask_file))
        if image.shape[:2] != mask.shape:
            raise ValueError(f"{mask_file} is {mask.shape}, its image {image.shape[:2]}; expected one size")
        small = shrink_mask(mask, size)
        if not (small == 1).any():
            raise ValueError(f"{mask_file} has no foreground pixel; mark the lesion or remove the pair")
        images.append(shrink(image, size))
        masks.append(small)
    if not images:
        raise ValueError(f"{folder} has no pair x.png and x_mask.png")
    return tf.constant(np.stack(images)[None, None]), tf.constant(np.stack(masks)[None, None, ..., None])


def resolve(version, inputs):
    """State of the set that a request names in place of the state, as a dictionary of tensors.

    Args:
        version: `Version`. inputs: map of alias to TensorProto with `ALIAS` in it: a string [B] of one name.

    Raises:
        RpcError: NOT_FOUND for an unknown set, INVALID_ARGUMENT for anything but one name.
    """
    import grpc

    names = {value.decode("utf-8", "replace") for value in inputs[ALIAS].string_val}
    if len(names) != 1:
        raise RpcError.invalid(
            f"input {ALIAS} has the values {sorted(names)[:5]}; expected one name, for every episode of the request."
        )
    name = names.pop()
    if name not in version.supports:
        message = f"support set {name!r} is unknown; this server has {sorted(version.supports)}."
        raise RpcError(grpc.StatusCode.NOT_FOUND, message)
    count = len(inputs[ALIAS].string_val)
    return {alias: tf.repeat(tensor, count, 0) for alias, tensor in version.supports[name][1].items()}
