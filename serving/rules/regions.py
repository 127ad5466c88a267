"""Masks as regions: which pixels are lesion, and what of them is left at another size."""

import numpy as np

from .rgb import LOSSY, Refused, to_rgb, whole_array

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
FAINTEST = 32
"""A brightest level below it is a label; one from it on may have noise around it."""
SOLID = 0.1
"""Share of a label's pixels that have all their neighbours in it (a square of 3 x 3: 0.11); of noise they are
scattered."""


class MaskRefused(Refused):
    """A mask whose levels stand for nothing certain."""


def page_levels(image, name):
    """Levels [H, W] of a page of a mask: what it stores, 0 for black, at every bit depth; of colours the
    strongest channel, weakened by transparency.

    Raises:
        MaskRefused: colours of 16 bits; a palette that shows different indices as black alone, or lacks one.
    """
    if image.info.get("deep_colour"):
        raise MaskRefused(
            f"{name}: a mask in colours of 16 bits, of which small values would be lost. Save it as grey, or as 8 bit."
        )
    if image.mode == "F" or image.mode.startswith("I"):
        levels, grey = array_levels(np.asarray(image), name), image.info.get("transparency")
        return levels if grey is None else _seen(levels, (levels != grey).astype(np.int64), 1, name)
    if image.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
        return to_rgb(image, name).max(-1).astype(np.int64)
    pixels = np.asarray(image.convert("RGBA")).astype(np.int64)
    levels = _seen(pixels[..., :3].max(-1), pixels[..., 3], 255, name)
    if image.mode == "P":
        _check_palette(np.unique(np.asarray(image)), len(image.getpalette() or ()) // 3, levels, name)
    return levels


def _check_palette(indices, colours, levels, name):
    """Refuses a palette that hides what the indices tell apart."""
    if indices[-1] >= colours:
        raise MaskRefused(
            f"{name}: a palette of {colours} colours, and pixels of index {indices[-1]}. Save the mask as grey, 0 and 255."
        )
    if len(indices) > 1 and not levels.any():
        raise MaskRefused(
            f"{name}: a palette that shows the indices {_list(indices)} as black, all of them; black is background. Save the indices "
            "as grey."
        )


def _seen(levels, alpha, opaque, name):
    """Levels as they are seen over black: none becomes black but where nothing is seen at all.

    Args:
        levels, alpha: int64 [H, W]. opaque: alpha of what hides the ground.

    Raises:
        MaskRefused: only the transparency differs from pixel to pixel, which tells not what is lesion.
    """
    seen = -(-levels * alpha // opaque)
    if not seen.any() and alpha.min() != alpha.max():
        raise MaskRefused(
            f"{name}: all that is seen is black, and only the transparency differs from pixel to pixel; expected black for background, all else "
            "lesion. Save it without transparency, as 0 and 255."
        )
    return seen


def array_levels(array, name):
    """Levels int64 [H, W] of an array [H, W] or [H, W, C] of bool or any number; 0 stays 0, and nothing else
    becomes 0 but, of fractions, what a resampling leaves: less than 1 / 510 of the greatest.

    Raises:
        MaskRefused: another shape or type, or a value that is not finite.
    """
    array = whole_array(array, name)
    if array.ndim == 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim == 3 and array.shape[-1] in (2, 3, 4) and array.dtype.kind in "bu":
        colours = array[..., :3] if array.shape[-1] > 2 else array[..., :1]
        strongest = colours.max(-1).astype(np.int64)
        if array.shape[-1] != 3:
            alpha = array[..., -1].astype(np.int64)
            opaque = {"b": 1, "u": 255 if array.dtype.itemsize == 1 else 65535}[array.dtype.kind]
            strongest = _seen(strongest, np.minimum(alpha, opaque), opaque, name)
        array = strongest
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
            array = np.rint(array / array.max() * 255)
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
        lossy: what it was compressed with, where that loses (`"JPEG"`); else False.

    Returns:
        bool [H, W], and the number of pixels that were decided by nearness.

    Raises:
        MaskRefused: no black at all, a photograph, a level that loss cannot be told from, black and white in
            exchanged places, or an outline.
    """
    inside, decided = _lesion(levels, name, lossy)
    _check_shape(inside, name)
    return inside, decided


def _lesion(levels, name, lossy):
    levels, noise = (levels, 0) if lossy else _without_noise(levels, name)
    inside = levels > 0
    values, counts = _counted(levels)
    above = values[values > 0]
    if not len(above):
        return inside, 0
    top = int(above[-1])
    if lossy and top < FAINTEST:
        raise MaskRefused(
            f"{name}: a {lossy} whose brightest value is {top}; {lossy} loses labels as small as that. Save the mask as PNG."
        )
    if len(above) == 1 and not lossy:
        return inside, noise
    labels, support = np.unique(levels[inside & _filled(levels)], return_counts=True)
    drawn = not lossy and (np.isin(above, labels).all() or len(above) > FEW and _one_level_each(levels))
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
        return inside, noise
    numbers, own = _own_labels(levels, labels, tolerance, top)
    return (numbers > 0) & (2 * levels >= own), noise + int((inside & (levels != own)).sum())


def _counted(levels):
    """The levels that there are, and how many pixels have each."""
    if levels.max() >= levels.size:
        return np.unique(levels, return_counts=True)
    counts = np.bincount(levels.ravel())
    values = counts.nonzero()[0]
    return values, counts[values]


def _without_noise(levels, name):
    """Levels without the scattered ones that lie beside black or a label, as of a JPEG of high quality that was saved
    as PNG (0, 1, 254, 255); and how many pixels changed. A level that fills a region is a label, however dark.

    Raises:
        MaskRefused: such a dark label among such noise.
    """
    values, counts = _counted(levels)
    top = int(values[-1])
    if top < FAINTEST or not 2 < len(values) <= FEW or values[0]:
        return levels, 0
    tolerance = int(NOISE * top)
    solid = levels[_filled(levels)]
    filled = np.array([(solid == value).sum() for value in values])
    labels = values[(filled >= SOLID * counts) & (values > 0)]
    faint = (values > 0) & (values <= tolerance) & ~np.isin(values, labels)
    kept = np.array([0, *labels, *([] if top in labels else [top])])
    nearest = kept[np.abs(values[:, None] - kept).argmin(1)]
    near = np.abs(values - nearest) <= tolerance
    # Many instances of a few pixels each are no noise: most of their levels lie beside nothing.
    if not faint.any() or len(labels) > MOST_LABELS or counts[~near].sum() * 4 > counts[values > 0].sum():
        return levels, 0
    dark = labels[labels <= tolerance]
    if len(dark):
        raise MaskRefused(
            f"{name}: levels {_list(values)}; {_list(dark)} may be a lesion or what compression with loss left around one. Save the mask as "
            "0 and 255."
        )
    clean = np.where(near & ~np.isin(values, labels), nearest, values)[np.searchsorted(values, levels)]
    return clean, int((clean != levels).sum())


def _check_shape(inside, name):
    """Refuses what no lesion looks like: one that is all of the frame's border around black, and a line around
    black."""
    border = np.concatenate([inside[0], inside[-1], inside[:, 0], inside[:, -1]])
    if border.all() and not inside.all():
        raise MaskRefused(
            f"{name}: its whole border is lesion, and {1 - inside.mean():.1%} within is background: black and white in exchanged places, or the "
            "white margin of a figure. Expected black for background: invert it, or cut the margin."
        )
    rows, columns = (np.flatnonzero(inside.any(axis)) for axis in (1, 0))
    if not len(rows):
        return
    inside = inside[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    core = inside & _filled(np.pad(inside, 1))[1:-1, 1:-1]
    if (core & _filled(np.pad(core, 1))[1:-1, 1:-1]).any():
        return
    # Background goes around corners that touch; a line of such corners is closed all the same, once it is
    # grown by a pixel to each side.
    padded = np.pad(inside, 2)
    grown = padded.copy()
    for axis in (0, 1):
        for step in (-1, 1):
            grown |= np.roll(padded, step, axis)
    numbers, _ = regions(~grown)
    enclosed = int(((numbers > 0) & (numbers != numbers[0, 0])).sum())
    if enclosed > 2 * inside.sum():
        raise MaskRefused(
            f"{name}: an outline, with {enclosed} black pixels inside; expected an area. Fill it (scipy.ndimage.binary_fill_holes)."
        )


def _one_level_each(levels):
    """Whether every region has a level of its own from edge to edge: instances, which no filter has seen."""
    numbers, count = regions(levels > 0)
    least, most = np.full(count + 1, np.iinfo(np.int64).max), np.zeros(count + 1, np.int64)
    np.minimum.at(least, numbers.ravel(), levels.ravel())
    np.maximum.at(most, numbers.ravel(), levels.ravel())
    return bool((least[1:] == most[1:]).all())


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
        lossy = page.info.get("lossy") or ("JPEG" if page.format in LOSSY else False)
        inside, count = lesion(page_levels(page, where), where, lossy)
        if united is not None and united.shape != inside.shape:
            raise MaskRefused(
                f"{where} is {inside.shape[1]} x {inside.shape[0]}, the first {united.shape[1]} x {united.shape[0]}. Save it alone."
            )
        united = inside if united is None else united | inside
        decided += count
    return united, decided
