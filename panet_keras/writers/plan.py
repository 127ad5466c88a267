"""Which files a writer makes, and what it may not replace."""

import collections
import pathlib

from panet_keras.commands.queries import stem_of
from panet_keras.errors import PANetError

WRITTEN = ("annotated", "normal")
"""States that say what is true of a picture; nothing is written of one that is unseen or was rejected."""


def plan(annotations, folder, endings, overwrite=False, shared=()):
    """The files that will be written, before the first is.

    Args:
        annotations: list of `Annotation`.
        folder: where to; it and its sub-folders are made.
        endings: of the files of each picture, such as `("_mask.png",)`.
        overwrite: whether older files of these names may be replaced.
        shared: names of the files that hold all pictures together.

    Returns:
        List of (`Annotation`, paths in the order of `endings`) of what will be written, and the paths of
        `shared`.

    Raises:
        PANetError: a name given twice or leading out of the folder, files that are there already, a source
            that would be replaced, or an older file of a picture that is unseen or rejected now; names them.
    """
    folder = pathlib.Path(folder)
    if folder.exists() and not folder.is_dir():
        raise PANetError(f"{folder} is a file; expected a folder, or the name of a new one.")
    names = stems(annotations)
    targets = [[folder / f"{stem}{ending}" for ending in endings] for stem in names]
    together = [folder / name for name in shared]
    sources = {annotation.source.resolve() for annotation in annotations}
    everything = [*together, *(path for paths in targets for path in paths)]
    lost = [str(path) for path in everything if path.resolve() in sources]
    if lost:
        raise PANetError(f"{_some(lost)}: a picture, which would be replaced. Name another folder.")
    stale = [
        f"{path} (its picture is {annotation.state})"
        for annotation, paths in zip(annotations, targets)
        for path in paths
        if annotation.state not in WRITTEN and path.exists()
    ]
    if stale:
        raise PANetError(
            f"{_some(stale)}: an older file, which would be taken for the present answer. Move it away, or "
            "name another folder; nothing was written."
        )
    old = [str(path) for path in everything if path.exists()]
    if old and not overwrite:
        raise PANetError(
            f"{_some(old)}: there already. Say that it may be replaced (overwrite), or name another folder; "
            "nothing was written."
        )
    written = [pair for pair in zip(annotations, targets) if pair[0].state in WRITTEN]
    for path in [*together, *(path for _, paths in written for path in paths)]:
        path.parent.mkdir(parents=True, exist_ok=True)
    return written, together


def stems(annotations):
    """Names of the annotations' files without ending, none twice.

    `ward/a.png` is `ward/a`, its frame 7 `ward/a_f7`. Where two would be one, as `a.png` and `a.jpg`, both
    keep their ending: `a.png`, `a.jpg`.

    Raises:
        PANetError: the same name and frame twice, or a name that leads out of its folder.
    """
    whole, short = [], []
    for annotation in annotations:
        path = pathlib.PurePosixPath(annotation.name)
        if path.is_absolute() or ".." in path.parts or not path.name:
            raise PANetError(f"{annotation.name!r}: leads out of its folder; expected a name within it.")
        frame = "" if annotation.frame is None else f"_f{annotation.frame}"
        whole.append(f"{annotation.name}{frame}")
        short.append(f"{stem_of(annotation.name)}{frame}")
    twice = [name for name, count in collections.Counter(whole).items() if count > 1]
    if twice:
        raise PANetError(f"{_some(twice)}: given more than once; expected one mask for each picture.")
    chosen = short
    while True:
        counts = collections.Counter(chosen)
        longer = [full if counts[name] > 1 else name for name, full in zip(chosen, whole)]
        if longer == chosen:
            return chosen
        chosen = longer


def _some(names, most=20):
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
