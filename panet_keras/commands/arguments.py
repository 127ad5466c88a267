"""Options that `segment`, `check`, `explain` and `python -m pipeline infer` share, and the support that they
name."""

import argparse
import dataclasses
import pathlib
import re
import unicodedata

from panet_keras.commands.queries import DICOM, PICTURES, find_queries, is_picture, stem_of
from panet_keras.errors import PANetError

MASK = re.compile(r"^(?P<stem>.+)_mask(_\d+)?$", re.IGNORECASE)
"""Name of a mask without its ending; a picture with several lesions may have `x_mask_1`, `x_mask_2` ..."""
NORMALS = "normals"
"""Sub-folder of a support folder with frames without lesion."""


def add_model(command):
    """Adds `--model` and `--size`."""
    command.add_argument(
        "--model", help="a .keras file, or a preset's name or folder; the shipped preset without it"
    )
    command.add_argument(
        "--size", type=_pixels, nargs=2, metavar=("H", "W"), help="model size; a preset's own, else 256 256"
    )


def add_support(command):
    """Adds the options that name annotated pictures."""
    command.add_argument(
        "--support",
        action="append",
        default=[],
        metavar="IMAGE=MASK",
        help="annotated pair; repeat for more shots",
    )
    command.add_argument(
        "--support-dir",
        metavar="DIR",
        help=f"folder of x.png with x_mask.png, and of frames without lesion in {NORMALS}/",
    )


def add_queries(command, recursive):
    """Adds `--query`, `--recursive`, `--out` and `--overwrite`.

    Args:
        command: parser. recursive: whether sub-folders are taken where the option is not given.
    """
    command.add_argument(
        "--query", required=True, nargs="+", metavar="IMAGE", help="pictures, or folders of them"
    )
    command.add_argument(
        "--recursive",
        action=argparse.BooleanOptionalAction,
        default=recursive,
        help=f"take sub-folders too, and keep them in --out (default: {'yes' if recursive else 'no'})",
    )
    command.add_argument("--out", required=True, help="folder for the pictures")
    command.add_argument(
        "--overwrite", action="store_true", help="replace older outputs; inputs are never replaced"
    )


def add_normals(command):
    """Adds `--normal` and `--adapt`."""
    command.add_argument(
        "--normal",
        nargs="+",
        action="extend",
        default=[],
        metavar="FILE",
        help="frames without lesion, or folders of them",
    )
    command.add_argument(
        "--adapt",
        action="store_true",
        help="fine-tune a copy of the model on the annotated pictures first, where that helps",
    )


def add_answers(command):
    """Adds what changes the masks of `segment` and `infer`, and `--csv`."""
    add_normals(command)
    command.add_argument(
        "--presence-threshold",
        type=_probability,
        metavar="P",
        help="from 0 to 1; a picture whose presence is below it gets an empty mask; without it calibrated on two or more annotated "
        "pictures with normal frames, else the model's own",
    )
    command.add_argument(
        "--csv", metavar="FILE", help="table of file, presence, area, error and answer's id of every picture"
    )


@dataclasses.dataclass(frozen=True)
class Support:
    """Annotated pictures, as files.

    Attributes:
        images: K paths.
        masks: for each image a tuple of paths; several are united.
        normals: paths of frames without lesion.
    """

    images: tuple
    masks: tuple
    normals: tuple = ()

    @property
    def files(self):
        """All paths."""
        return [*self.images, *(mask for masks in self.masks for mask in masks), *self.normals]


def split_pair(text):
    """(image, mask) of `IMAGE=MASK`.

    A `=` may be part of a name: of several, the first counts that parts two files which exist, else the
    first.

    Raises:
        PANetError: no `=`, or nothing on one side of it.
    """
    places = [place for place, sign in enumerate(text) if sign == "=" and 0 < place < len(text) - 1]
    if not places:
        raise PANetError(f"--support {text}: expected IMAGE=MASK, two files joined by '='.")
    pairs = [(text[:place], text[place + 1 :]) for place in places]
    return next((pair for pair in pairs if all(pathlib.Path(path).is_file() for path in pair)), pairs[0])


def read_support(arguments):
    """The support that `--support`, `--support-dir` and `--normal` name.

    Args:
        arguments: namespace of `add_support`, with or without `add_answers`.

    Returns:
        `Support`.

    Raises:
        PANetError: none, a pair that is no pair, or a folder with pictures whose masks are missing; all of
            them named.
    """
    pairs = [(image, (mask,)) for image, mask in map(split_pair, arguments.support)]
    normals = []
    if getattr(arguments, "normal", None):
        normals = [str(query.path) for query in find_queries(arguments.normal, option="--normal")[0]]
    if arguments.support_dir:
        found, frames = read_support_folder(arguments.support_dir)
        pairs, normals = pairs + found, normals + frames
    if not pairs:
        raise PANetError(
            "no annotated picture; expected --support IMAGE=MASK, or --support-dir with a folder of x.png and x_mask.png."
        )
    return Support(tuple(image for image, _ in pairs), tuple(masks for _, masks in pairs), tuple(normals))


def read_support_folder(folder):
    """Pairs (image, tuple of masks) of a folder, and the frames in its `normals/`.

    Args:
        folder: of `x.png` with `x_mask.png`, or `x_mask_1.png` ...; both of any picture's ending, in any
            case; a mask may be a DICOM SEG.

    Raises:
        PANetError: no such folder, no pair, pictures without mask or masks without picture; names them all.
    """
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        raise PANetError(
            f"--support-dir {folder}: no such folder; expected one with pictures x.png and masks x_mask.png."
        )
    masks, images, problems = {}, [], []
    for path in sorted(folder.iterdir()):
        if path.is_symlink() and not path.exists() and not path.name.startswith("."):
            problems.append(f"{path.name} is a link that leads nowhere")
        if path.name.startswith(".") or not path.is_file():
            continue
        match = MASK.match(path.stem)
        if match and path.suffix.lower() in PICTURES | DICOM:
            masks.setdefault(_composed(match["stem"]), []).append(str(path))
        elif is_picture(path):
            images.append(path)
    pairs = []
    for path in images:
        own = masks.pop(_composed(stem_of(path.name)), None)
        if own:
            pairs.append((str(path), tuple(own)))
        else:
            problems.append(f"{path.name} has no mask ({stem_of(path.name)}_mask.png)")
    problems += [f"{pathlib.Path(mask).name} has no picture" for own in masks.values() for mask in own]
    if problems:
        raise PANetError(
            f"--support-dir {folder}: {'; '.join(problems)}. Add what is missing, take the file out, or move a frame without lesion "
            f"into {folder / NORMALS}."
        )
    if not pairs:
        raise PANetError(f"--support-dir {folder}: no picture in it; expected x.png with x_mask.png.")
    normals = folder / NORMALS
    filled = normals.is_dir() and any(not path.name.startswith(".") for path in normals.iterdir())
    frames = (
        [str(query.path) for query in find_queries([normals], option="--support-dir")[0]] if filled else []
    )
    return pairs, frames


def _composed(name):
    """A name with its accents composed: two programs may write one name in two ways."""
    return unicodedata.normalize("NFC", name)


def _pixels(text):
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no size; expected pixels, at least 1")
    return int(text)


def _probability(text):
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is no probability; expected a number from 0 to 1")
    return value
