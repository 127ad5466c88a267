"""Masks as regions: which pixels are lesion, and what of them is left at another size."""

import numpy as np

from .rgb import LOSSY, Refused, to_rgb

FEW = 16
"""A mask of so many levels or fewer was drawn; one of more was filtered, or compressed with loss."""
NOISE = 0.1
"""How far, of the brightest level, a filter or compression with loss moves a level."""
MOST_LABELS = 5
"""Levels that fill regions in a mask of many levels; with more it is a photograph or a map of
probabilities."""
MOST_DRAWN = 64
"""Levels that fill regions in a mask that was drawn: one for each lesion at most."""
MOST_UNCERTAIN = 0.25
"""Share of the frame that may be neither black nor of a level that fills a region."""


class MaskRefused(Refused):
    """A mask whose levels stand for nothing certain."""


def page_levels(image, name):
    """Levels [H, W] of a page of a mask: what it stores, 0 for black, at every bit depth; of colours the
    strongest channel."""
    if image.mode == "F" or image.mode.startswith("I"):
        return array_levels(np.asarray(image), name)
    if image.info.get("deep_colour"):
        raise MaskRefused(
            f"{name}: a mask in colours of 16 bits, of which small values would be lost. Save it as grey, or as 8 bit."
        )
    return to_rgb(image, name).max(-1).astype(np.int64)


def array_levels(array, name):
    """Levels int64 [H, W] of an array [H, W] or [H, W, C] of bool or any number; 0 stays 0, and nothing else
    becomes 0.

    Raises:
        MaskRefused: another shape or type, or a value that is not finite.
    """
    array = np.asarray(array)
    if array.ndim == 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim == 3 and array.shape[-1] in (2, 3, 4) and array.dtype.kind in "bu":
        opaque = array[..., -1] > 0 if array.shape[-1] != 3 else True
        array = array[..., :3].max(-1) * opaque if array.shape[-1] > 2 else array[..., 0] * opaque
    if array.ndim != 2 or array.dtype.kind not in "buif" or not array.size:
        raise MaskRefused(
            f"{name} has shape {array.shape} and dtype {array.dtype}; expected numbers or bool [H, W]."
        )
    if array.dtype.kind == "f":
        if not np.isfinite(array).all():
            y, x = np.argwhere(~np.isfinite(array))[0]
            raise MaskRefused(
                f"{name}: pixel x={x}, y={y} is {array[y, x]}; expected finite numbers. Write 0 for background."
            )
        array = np.abs(array.astype(np.float64))
        if (array != np.rint(array)).any():
            array = np.ceil(array / array.max() * 255)
    return np.abs(array.astype(np.int64))


def lesion(levels, name, lossy=False):
    """Which pixels of a mask are lesion: not black.

    A level that fills a region somewhere (a pixel and its eight neighbours have it) is a label, however dark:
    1, 2, 3; 85, 170, 255. Other levels are the edges that a smooth filter or JPEG left; each goes to the
    nearer of black and its own region's label, and is counted. A region too small to be filled keeps its
    pixels.

    Args:
        levels: int [H, W], 0 for black.
        name: what to call it in an error.
        lossy: whether it comes from a file that was compressed with loss.

    Returns:
        bool [H, W], and the number of pixels that were decided by nearness.

    Raises:
        MaskRefused: no black at all, a photograph, or a level that loss cannot be told from.
    """
    inside = levels > 0
    values, counts = np.unique(levels, return_counts=True)
    above = values[values > 0]
    if not len(above):
        return inside, 0
    top = int(above[-1])
    if lossy and top < 32:
        raise MaskRefused(
            f"{name}: a JPEG whose brightest value is {top}; JPEG loses labels as small as that. Save the mask as PNG."
        )
    if len(above) == 1 and not lossy:
        return inside, 0
    labels, support = np.unique(levels[inside & _filled(levels)], return_counts=True)
    drawn = not lossy and np.isin(above, labels).all()
    tolerance = NOISE * top if lossy or not drawn and len(above) > FEW else 0
    if values[0] > tolerance:
        raise MaskRefused(
            f"{name}: no black pixel, values {_list(values)}; black is background, all else lesion. Save it as 0 and 255."
        )
    if tolerance:
        labels = _distinct(labels[labels > tolerance], support[labels > tolerance], tolerance)
    distance = np.abs(values[:, None] - np.array([0, *labels])).min(1)
    uncertain = counts[distance > tolerance].sum() / levels.size
    if len(labels) > (MOST_LABELS if tolerance else MOST_DRAWN) or uncertain > MOST_UNCERTAIN:
        raise MaskRefused(
            f"{name}: {len(values)} levels all over the frame ({_list(values)}): a photograph, or a map of probabilities; expected "
            "black and few labels. Did image and mask change places? Save the mask as 0 and 255."
        )
    if drawn:
        return inside, 0
    numbers, own = _own_labels(levels, labels, tolerance, top)
    return (numbers > 0) & (2 * levels >= own), int((inside & (levels != own)).sum())


def _list(values):
    return ", ".join(map(str, values[:8])) + (f" ... {values[-1]}" if len(values) > 8 else "")


def _filled(levels):
    """bool [H, W]: pixels whose eight neighbours have the same level; beyond the frame it goes on."""
    padded = np.pad(levels, 1, mode="edge")
    height, width = levels.shape
    same = np.ones(levels.shape, bool)
    for y in range(3):
        for x in range(3):
            same &= padded[y : y + height, x : x + width] == levels
    return same


def _distinct(labels, support, tolerance):
    """Labels that are no mere noise of a stronger one."""
    kept = []
    for label in labels[np.argsort(-support, kind="stable")]:
        if all(abs(int(label) - other) > tolerance for other in kept):
            kept.append(int(label))
    return np.array(sorted(kept), np.int64)


def _own_labels(levels, labels, tolerance, top):
    """Numbers [H, W] of the regions, and for each pixel the label of its own region that is nearest above it
    (0: none is)."""
    numbers, count = regions(levels > tolerance)
    # A region without a label is a lesion too small to be filled; in a mask with noise it must be bright to
    # be one.
    own = np.full(count + 1, top, np.int64)
    if not tolerance:
        own[:] = 0
        np.maximum.at(own, numbers.ravel(), levels.ravel())
    own = own[numbers]
    owners = {value: np.unique(numbers[np.abs(levels - value) <= tolerance]) for value in labels}
    if owners:
        # Brighter than every label of the region: lesion.
        own[np.isin(numbers, np.concatenate(list(owners.values())))] = 0
    for value in sorted(owners, reverse=True):
        own[np.isin(numbers, owners[value]) & (levels <= value + tolerance)] = value
    return numbers, own


def regions(mask):
    """Numbers the connected regions of a mask; pixels that touch at a corner are one region's.

    Args:
        mask: bool [H, W].

    Returns:
        int64 [H, W], 0 outside and 1..n in the regions, and n.
    """
    height, width = mask.shape
    edges = np.diff(np.pad(mask.astype(np.int8), ((0, 0), (1, 1))), axis=1)
    rows, starts = np.nonzero(edges == 1)
    ends = np.nonzero(edges == -1)[1]
    parent = list(range(len(rows)))

    def root(run):
        while parent[run] != run:
            parent[run] = parent[parent[run]]
            run = parent[run]
        return run

    first = np.searchsorted(rows, np.arange(height + 1))
    start, end = starts.tolist(), ends.tolist()
    for row in range(1, height):
        above, stop_above = int(first[row - 1]), int(first[row])
        below, stop_below = stop_above, int(first[row + 1])
        while above < stop_above and below < stop_below:
            # Runs end before `end`, so equal numbers touch at a corner.
            if start[above] <= end[below] and start[below] <= end[above]:
                one, other = root(above), root(below)
                parent[max(one, other)] = min(one, other)
            if end[above] < end[below]:
                above += 1
            else:
                below += 1
    roots = np.array([root(run) for run in range(len(rows))], np.int64)
    kept, number = np.unique(roots, return_inverse=True)
    numbers = np.zeros((height, width), np.int64)
    numbers[mask] = np.repeat(number.reshape(-1) + 1, ends - starts)
    return numbers, len(kept)


def sampled(old, new):
    """Pixels that nearest neighbour takes from a side of `old` pixels for one of `new`, pixel centres
    aligned."""
    return np.minimum(((np.arange(new) + 0.5) * (old / new)).astype(np.int64), old - 1)


def resize_mask(mask, size):
    """Brings a mask to another size by nearest neighbour; a region that would vanish keeps the cell that
    holds its centre.

    Args:
        mask: [H, W], bool or class indices with 0 for background; regions are connected pixels of one class.
        size: (height, width).

    Returns:
        The same type, [height, width].
    """
    rows, columns = (sampled(old, new) for old, new in zip(mask.shape, size))
    small = mask[rows[:, None], columns[None, :]]
    if size[0] >= mask.shape[0] and size[1] >= mask.shape[1]:
        return small
    for value in np.unique(mask[mask > 0]):
        numbers, count = regions(mask == value)
        kept = np.zeros(count + 1, bool)
        kept[numbers[rows[:, None], columns[None, :]]] = True
        kept[0] = True
        if kept.all():
            continue
        pixels = np.bincount(numbers.ravel())[~kept]
        cells = []
        for old, new, places in zip(mask.shape, size, np.indices(mask.shape)):
            centres = np.bincount(numbers.ravel(), places.ravel() + 0.5)[~kept] / pixels
            cells.append((centres * new / old).astype(np.int64))
        small[tuple(cells)] = value
    return small


def mask_pages(pages, name):
    """bool [H, W] of the united pages of a mask file, and the number of pixels decided by nearness.

    Args:
        pages: of `PIL.Image.Image`, loaded. name: what to call the file in an error.

    Raises:
        Refused: pages of several sizes, or as `lesion`.
    """
    united, decided = None, 0
    for number, page in enumerate(pages):
        where = name if len(pages) == 1 else f"{name}, page {number}"
        inside, count = lesion(page_levels(page, where), where, page.format in LOSSY)
        if united is not None and united.shape != inside.shape:
            raise MaskRefused(
                f"{where} is {inside.shape[1]} x {inside.shape[0]}, the first {united.shape[1]} x {united.shape[0]}. Save it alone."
            )
        united = inside if united is None else united | inside
        decided += count
    return united, decided
