"""Masks that lie in a folder already: `x_mask.png` beside `x.png`, `masks/x.png`, COCO and LabelMe."""

import json
import unicodedata

import numpy as np

from panet_keras.commands.arguments import MASK
from panet_keras.commands.queries import PICTURES
from panet_keras.errors import PANetError
from panet_keras.pictures.masks import decode_mask


def find(folder, labels, wanted=lambda frame: True):
    """Masks of the frames of a folder.

    Masks are black and white, and of the first label; a black one is of a normal frame. A category of COCO, or a
    label of LabelMe, that has the name of one of `labels` is that label, any other the first, which is told. A
    picture without an outline is normal where the file says `confirmed_empty`, as ours do; other programs list
    what nobody has looked at yet. Of several files for one frame the first kind counts: PNG, LabelMe, COCO.

    Args:
        folder: `Folder`. labels: names, in the order of their numbers.
        wanted: function of a `Frame`: whether its mask is to be read.

    Returns:
        (iterator of (`Frame`, uint8 [H, W]), list that gets a line for each file that could not be used).
    """
    problems = []
    return _all(folder, _Labels(labels), problems, wanted), problems


class _Labels:
    """Numbers of labels by name.

    Attributes:
        others: names that were asked for and are none.
    """

    def __init__(self, names):
        self.names, self.others = list(names), set()
        self._known = {name.casefold(): number for number, name in enumerate(names, 1)}

    def number(self, name):
        """Number of the label of a name, in any case; 1 where there is none."""
        number = self._known.get(str(name).casefold())
        if number is None and name:
            self.others.add(str(name))
        return number or 1


def _all(folder, labels, problems, wanted):
    seen = set()
    for kind in (_pictures, _labelme, _coco):
        for frame, read in kind(folder, labels, problems):
            if frame.id in seen or frame.error is not None or not wanted(frame):
                continue
            try:
                mask = read((frame.height, frame.width))
            except ImportError:
                raise
            except Exception as error:  # files by other programs break in every way
                problems.append(f"{frame.name}: its mask cannot be used ({error})")
                continue
            if mask.shape != (frame.height, frame.width):
                problems.append(
                    f"{frame.name}: its mask is {mask.shape[1]} x {mask.shape[0]} pixels, the picture {frame.width} x "
                    f"{frame.height}; it is not used"
                )
                continue
            seen.add(frame.id)
            yield frame, mask
    if labels.others:
        problems.insert(
            0,
            f"marked as {', '.join(sorted(labels.others))} in the files, which are none of the labels here "
            f"({', '.join(labels.names)}): taken for {labels.names[0]}. To keep them apart, name all by --labels and give a new "
            "--output.",
        )


def _pictures(folder, labels, problems):
    """`x_mask.png` and `x_mask_1.png` beside `x`, and `x.png` in `masks/` beside it or beside its `images/`."""
    listed = {}

    def files(place):
        if place not in listed:
            found = listed[place] = {}
            for path in sorted(place.iterdir()) if place.is_dir() else ():
                if path.suffix.lower() in PICTURES:
                    match = MASK.match(path.stem)
                    stem = unicodedata.normalize("NFC", match["stem"] if match else path.stem)
                    found.setdefault((stem, bool(match)), []).append(path)
        return listed[place]

    around = {}
    for frame in folder.frames.values():
        parent, stem = frame.path.parent, unicodedata.normalize("NFC", frame.stem.rpartition("/")[2])
        if parent not in around:
            masks = [parent / "masks"]
            if parent.name.lower() in ("images", "image", "imgs"):
                masks.append(parent.parent / "masks")
            around[parent] = [(files(parent), True)] + [
                (files(m), named) for m in masks for named in (False, True)
            ]
        own = next((found[stem, named] for found, named in around[parent] if (stem, named) in found), None)
        if own:
            yield frame, lambda size, own=own: _united([decode_mask(path)[0] for path in own])


def _united(masks):
    if len({mask.shape for mask in masks}) > 1:
        raise PANetError("several masks of different sizes")
    return np.logical_or.reduce(masks).astype(np.uint8)


def _json(folder):
    """(path, contents) of each JSON file that may hold annotations."""
    for place in sorted({frame.path.parent for frame in folder.frames.values()}):
        for path in sorted(place.glob("*.json")):
            try:
                data = json.loads(path.read_text("utf-8-sig"))
            except (OSError, ValueError):
                continue
            if isinstance(data, dict):
                yield path, data


def _labelme(folder, labels, problems):
    whole = {
        (frame.path.parent, frame.path.name): frame
        for frame in folder.frames.values()
        if frame.number is None
    }
    by_stem = {(frame.path.parent, frame.path.stem): frame for frame in whole.values()}
    for path, data in _json(folder):
        if "shapes" not in data:
            continue
        named = str(data.get("imagePath") or "").replace("\\", "/").rpartition("/")[2]
        frame = whole.get((path.parent, named)) or by_stem.get((path.parent, path.stem))
        if frame is None:
            problems.append(f"{path.name}: LabelMe of {named or 'no picture'}, which is not in the folder")
            continue
        if data["shapes"] or _confirmed(data.get("flags")):
            yield frame, lambda size, data=data: _filled(data, size, labels)


def _confirmed(told):
    return isinstance(told, dict) and bool(told.get("confirmed_empty"))


def _size(height, width):
    """(height, width) of the picture that somebody drew on, or None where the file does not say; on a picture of another
    size the outlines would lie elsewhere."""
    from panet_keras.data.readers.outlines import drawn_size

    return drawn_size(height, width) if height and width else None


def _filled(data, size, labels):
    from panet_keras.data.readers.labelme import region

    size = _size(data.get("imageHeight"), data.get("imageWidth")) or size
    mask = np.zeros(size, np.uint8)
    for shape in data["shapes"]:
        mask[region(shape, size)] = labels.number(shape.get("label"))
    return mask


def _coco(folder, labels, problems):
    from panet_keras.data.readers.coco import check_entries

    by_name = {}
    for frame in folder.frames.values():
        if frame.number is None:
            by_name.setdefault(frame.path.name, frame)
            by_name[frame.name] = frame
    for path, data in _json(folder):
        if not {"images", "annotations"} <= set(data):
            continue
        try:
            check_entries(data)
        except ValueError as error:
            problems.append(f"{path.name}: {error}")
            continue
        names = {one.get("id"): one.get("name") for one in data.get("categories", [])}
        of_image = {}
        for annotation in data["annotations"]:
            of_image.setdefault(annotation.get("image_id"), []).append(annotation)
        ids = [repr(image.get("id")) for image in data["images"]]
        for image in data["images"]:
            if ids.count(repr(image.get("id"))) > 1:
                problems.append(
                    f"{path.name}: several images have the id {image.get('id')!r}; none of them is used"
                )
                continue
            name = str(image.get("file_name", "")).replace("\\", "/")
            frame = by_name.get(name) or by_name.get(name.rpartition("/")[2])
            if frame is None:
                problems.append(f"{path.name}: COCO of {name}, which is not in the folder")
                continue
            mine = of_image.get(image.get("id"), [])
            if not mine and not _confirmed(image.get("attributes")):
                continue
            yield (
                frame,
                lambda size, mine=mine, names=names, image=image: _painted(mine, image, size, labels, names),
            )


def _painted(annotations, image, size, labels, names):
    from panet_keras.data.readers.coco import region

    size = _size(image.get("height"), image.get("width")) or size
    mask = np.zeros(size, np.uint8)
    for annotation in annotations:
        mask[region(annotation, size)] = labels.number(names.get(annotation.get("category_id")))
    return mask
