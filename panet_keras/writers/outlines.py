"""Masks as single lesions, and lesions as polygons whose filling gives back every pixel."""

import numpy as np
from scipy import ndimage


def lesions(mask):
    """The connected regions of each label (4-neighbourhood, as `Sample.lesion_count` counts).

    Args:
        mask: uint8 [H, W] of label numbers.

    Yields:
        (label number, rows and columns as two slices, bool [h, w] within them), by label, then from above.
    """
    for label in np.unique(mask[mask > 0]):
        numbers, _ = ndimage.label(mask == label)
        for number, place in enumerate(ndimage.find_objects(numbers), 1):
            yield int(label), place, numbers[place] == number


def polygons(inside, place):
    """A lesion as polygons along the edges of its pixels: corners are whole numbers, x = 0 is the left edge
    of the frame.

    A polygon knows no hole. A lesion with holes is cut from top to bottom at the left end of each, into
    pieces without any, which touch and do not overlap: who fills them all has the lesion.

    Args:
        inside: bool [h, w], one region. place: its rows and columns in the frame, as two slices.

    Returns:
        List of int [P, 2], x and y of the corners, clockwise on the screen.
    """
    found, todo = [], [(inside, place[0].start, place[1].start)]
    while todo:
        piece, top, left = todo.pop()
        cut = _hole(piece)
        if cut is None:
            found.append(_outline(piece) + (left, top))
            continue
        for part, start in ((piece[:, :cut], left), (piece[:, cut:], left + cut)):
            numbers, _ = ndimage.label(part)
            for number, (rows, columns) in enumerate(ndimage.find_objects(numbers), 1):
                todo.append((numbers[rows, columns] == number, top + rows.start, start + columns.start))
    return sorted(found, key=lambda corners: corners.min(0).tolist())


def _hole(piece):
    """Column where a hole begins, or None without one; of several one in the middle, so that pieces halve."""
    outside, count = ndimage.label(~np.pad(piece, 1), np.ones((3, 3)))
    if count == 1:
        return None
    # The frame of one pixel is number 1: it comes first.
    starts = sorted(columns.start for _, columns in ndimage.find_objects(outside)[1:])
    return starts[len(starts) // 2] - 1


def _outline(piece):
    """int [P, 2] of the one closed line around a region without holes."""
    padded = np.pad(piece, 1)
    here, up, left = padded[1:, 1:], padded[:-1, 1:], padded[1:, :-1]
    steps = {}

    def add(mask, start, end):
        for y, x in np.argwhere(mask).tolist():
            steps.setdefault((x + start[0], y + start[1]), []).append((x + end[0], y + end[1]))

    add(here & ~up, (0, 0), (1, 0))  # along an upper edge to the right
    add(~here & up, (1, 0), (0, 0))  # along a lower edge to the left
    add(here & ~left, (0, 1), (0, 0))  # along a left edge upwards
    add(~here & left, (0, 0), (0, 1))  # along a right edge downwards
    first = min(steps, key=lambda corner: corner[::-1])
    corners, corner, direction = [], first, None
    while True:
        ahead = steps[corner]
        # Where two pixels touch at a corner, a turn to the right stays with the pixel at hand.
        right = direction and (corner[0] - direction[1], corner[1] + direction[0])
        following = right if right in ahead else ahead[0]
        ahead.remove(following)
        turned = (following[0] - corner[0], following[1] - corner[1])
        if turned != direction:
            corners.append(corner)
        corner, direction = following, turned
        if corner == first and not steps[first]:
            return np.array(corners)
