"""Which files are queries: the code of panet_keras/commands/queries.py."""

import collections
import dataclasses
import pathlib
import re

PICTURES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp"})
DICOM = frozenset({".dcm", ".dicom", ".ima"})
OURS = re.compile(r".+(_mask(_\d+)?|_overlay|_gradcam(\+\+)?)$", re.IGNORECASE)
"""Names, without ending, of masks and of what the commands write."""
MASKS = frozenset({"mask", "masks"})
"""Sub-folders that lie beside `images/` and hold no picture to segment."""
SYSTEM = frozenset({"thumbs.db", "desktop.ini", "__macosx", "dicomdir"})


@dataclasses.dataclass(frozen=True)
class Query:
    """A picture to segment.

    Attributes:
        path: `pathlib.Path`, as the user wrote it.
        name: its place in the folder that was named, with `/`; the file's name if it was named itself.
        stem: `name` without the ending; names of outputs begin with it.
    """

    path: pathlib.Path
    name: str

    @property
    def stem(self):
        return stem_of(self.name)


def stem_of(name):
    """A file's name without its ending; 1.2.840.113 has none: it is a DICOM file's whole name."""
    path = pathlib.PurePosixPath(name)
    return str(path.with_suffix("")) if path.suffix.lower() in PICTURES | DICOM else str(name)


def is_picture(path):
    """Whether a file is a picture: by its ending, or, as DICOM often has none, by its first bytes."""
    if path.suffix.lower() in PICTURES | DICOM:
        return True
    with open(path, "rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def find_queries(paths, recursive=False, out=None, option="--query"):
    """The pictures that are meant by files and folders.

    Hidden files, system files, masks, sub-folders of masks, and what the commands write themselves are no
    queries where a folder is named; what is named itself always is.

    Args:
        paths: files and folders.
        recursive: whether sub-folders are searched.
        out: folder of the outputs, which is left out where it lies inside a folder of `paths`.
        option: the option's name, for messages.

    Returns:
        (list of `Query`, sorted within each folder and each file once; dictionary of reason to the names that
        were skipped).

    Raises:
        ValueError: paths that do not exist (all named), or a folder without a picture (says what was in it).
        OSError: a folder that cannot be read.
    """
    missing = [str(path) for path in paths if not pathlib.Path(path).exists()]
    if missing:
        raise ValueError(f"{option} {', '.join(missing)}: no such file or folder. Check the path.")
    queries, skipped = {}, collections.defaultdict(list)
    for path in map(pathlib.Path, paths):
        if not path.is_dir():
            found, left = [Query(path, path.name)], {}
        else:
            found, left = _search(path, recursive, out)
            if not found:
                raise ValueError(_nothing(option, path, recursive, left))
        for query in found:
            queries.setdefault((query.name, query.path.resolve()), query)
        for reason, names in left.items():
            skipped[reason] += names
    return list(queries.values()), dict(skipped)


def describe(skipped):
    """One line of what was skipped: reasons with number and example; empty if nothing was."""
    parts = [
        f"{len(names)} {reason} ({names[0]}{', ...' if len(names) > 1 else ''})"
        for reason, names in sorted(skipped.items())
    ]
    return ", ".join(parts)


def _search(folder, recursive, out):
    out = out and pathlib.Path(out).resolve()
    found, skipped, seen = [], collections.defaultdict(list), {folder.resolve()}

    def visit(directory):
        for path in sorted(directory.iterdir()):
            name = path.relative_to(folder).as_posix()
            if path.name.startswith(".") or path.name.lower() in SYSTEM:
                skipped["hidden or system file"].append(name)
            elif path.is_dir():
                place = path.resolve()
                if place == out:
                    skipped["folder of the outputs"].append(name)
                elif path.name.lower() in MASKS:
                    skipped["folder of masks"].append(name)
                elif not recursive:
                    skipped["sub-folder"].append(name)
                elif place not in seen:  # a link may lead back up
                    seen.add(place)
                    visit(path)
            elif not path.is_file():
                skipped["broken link or special file"].append(name)
            elif OURS.match(path.stem) and path.suffix.lower() in PICTURES | DICOM:
                skipped["mask, overlay or map"].append(name)
            elif is_picture(path):
                found.append(Query(path, name))
            else:
                skipped[path.suffix.lower() or "other file"].append(name)

    visit(folder)
    return sorted(found, key=lambda query: query.name), skipped


def _nothing(option, folder, recursive, skipped):
    endings = ", ".join(sorted(PICTURES | DICOM))
    mend = " Give --recursive for its sub-folders." if "sub-folder" in skipped and not recursive else ""
    return f"{option} {folder}: no picture in it; expected {endings}, or DICOM files of any name. In it: {describe(skipped) or 'nothing'}.{mend}"
