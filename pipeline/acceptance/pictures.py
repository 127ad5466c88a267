"""A hospital's annotated pictures, decoded once."""

import pathlib

import numpy as np

from pipeline.errors import PipelineError


class Pictures:
    """Frames at model size, masks at the pictures' own, and plain facts of each.

    Args:
        records: of `panet_keras.data.Record`. size: (height, width) of the model. note: function of (done,
            total), or None.

    Attributes:
        frames: list of uint8 [H, W, 3]; masks: list of bool [H, W] at model size; truths: list of bool at the
            picture's size. digests: [F] SHA-256 of the decoded pixels, as `image/digest` of Examples.
        patients, labels, devices: [F] of text. lesion: [F] bool. facts: dictionary of feature name, as in
            Examples, to [F] numbers or text.
        supports: dictionary of the digests of a support that was added to file names; its patients nobody tells.

    Raises:
        DataError: pictures that cannot be read, all of them named.
    """

    def __init__(self, records, size, note=None):
        import tensorflow as tf

        from panet_keras.data import decode_all
        from panet_keras.pictures.resize import resize_images, resize_mask

        self.records, self.size, self.supports = list(records), tuple(size), {}
        self.frames, self.masks, self.truths, digests = [], [], [], []
        facts = {name: [] for name in FACTS}
        for number, sample in enumerate(decode_all(self.records), 1):
            scaled = resize_images(tf.constant(sample.image, tf.float32) / 255.0, self.size).numpy()
            self.frames.append(np.round(scaled * 255).astype(np.uint8))
            self.truths.append(sample.mask > 0)
            self.masks.append(resize_mask(sample.mask > 0, self.size) > 0)
            digests.append(sample.digest)
            for name, read in FACTS.items():
                facts[name].append(read(sample))
            if note:
                note(number, len(self.records))
        self.digests = np.array(digests)
        self.patients = np.array([record.patient for record in self.records])
        self.labels = [record.label for record in self.records]
        self.devices = [record.device or record.source for record in self.records]
        self.lesion = np.array([mask.any() for mask in self.masks], bool)
        self.facts = {name: np.array(values) for name, values in facts.items()}

    def add_support(self, support):
        """Appends annotated frames that are not scored: those of a `panet_keras.commands.arguments.Support`.

        Raises:
            PANetError: a mask of another size than its picture, or an empty one; an unreadable picture.
        """
        import tensorflow as tf

        from panet_keras.commands.model import support_masks
        from panet_keras.data.records import digests
        from panet_keras.errors import PANetError
        from panet_keras.pictures.decode import read_image
        from panet_keras.pictures.masks import read_mask
        from panet_keras.pictures.resize import resize_images, resize_mask

        images = [*support.images, *support.normals]
        masks = [*support_masks(support), *[None] * len(support.normals)]
        for path, mask in zip(images, masks):
            picture = read_image(path, path)
            truth = np.zeros(picture.shape[:2], bool) if mask is None else read_mask(mask, f"mask of {path}")
            if truth.shape != picture.shape[:2]:
                raise PANetError(f"{path} is {picture.shape[:2]}, its mask {truth.shape}; expected one size.")
            if mask is not None and not truth.any():
                raise PANetError(
                    f"{path}: its mask has no foreground pixel; mark the lesion or move it into normals/."
                )
            scaled = resize_images(tf.constant(picture, tf.float32) / 255.0, self.size).numpy()
            self.frames.append(np.round(scaled * 255).astype(np.uint8))
            self.masks.append(resize_mask(truth, self.size) > 0)
            [digest] = digests([picture])
            self.digests = np.append(self.digests, digest)
            self.supports[str(digest)] = pathlib.Path(path).name


FACTS = {
    "image/brightness": lambda sample: sample.brightness,
    "image/contrast": lambda sample: sample.contrast,
    "image/height": lambda sample: sample.mask.shape[0],
    "image/width": lambda sample: sample.mask.shape[1],
    "lesion/area_fraction": lambda sample: sample.area_fraction,
    "lesion/count": lambda sample: sample.lesion_count,
    "label": lambda sample: sample.record.label,
}
"""What is compared with the training statistics, by its name there."""


def layout_of(path):
    """The layout that a data set seems to have; `folder` where nothing tells another.

    Raises:
        PipelineError: no such file or folder.
    """
    path = pathlib.Path(path)
    if path.is_file():
        return "coco" if path.suffix.lower() == ".json" else "csv"
    if not path.is_dir():
        raise PipelineError(f"--data {path}: no such file or folder; expected annotated pictures.")
    for mark, layout in (("INFO.csv", "bus_uclm"), ("bus_data.csv", "bus_bra")):
        if (path / mark).is_file():
            return layout
    endings = {"".join(file.suffixes[-2:]).lower() for file in path.rglob("*") if file.is_file()}
    for ending, layout in ((".nii.gz", "nifti"), (".nii", "nifti"), (".dcm", "dicom"), (".json", "labelme")):
        if any(found.endswith(ending) for found in endings):
            return layout
    return "folder"
