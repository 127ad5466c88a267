"""`python -m pipeline accept`."""

import argparse

from pipeline.config import LAYOUTS


def add(commands):
    """Adds the command to the subparsers of `python -m pipeline`."""
    accept = commands.add_parser(
        "accept", help="judge a model on your own annotated pictures, against limits that you wrote down"
    )
    add = accept.add_argument
    add(
        "--model",
        required=True,
        help="a pushed version's folder, a SavedModel, a Model artifact, a preset's name or folder, or a .keras file",
    )
    add("--data", required=True, metavar="DIR", help="annotated pictures: a folder, or a CSV or JSON file")
    add("--layout", choices=LAYOUTS, help="how they are laid out; seen from the files without it")
    add(
        "--support-dir",
        metavar="DIR",
        help="one fixed support set (x.png, x_mask.png, normals/) in place of drawn ones",
    )
    add(
        "--limits", metavar="FILE", help="YAML; pipeline/configs/limits.yaml has them all with their defaults"
    )
    add("--output", required=True, metavar="DIR", help="new folder for report, worst pictures and blessing")
    add("--root", metavar="DIR", help="run.root that made the model; the one it lies in without it")
    add(
        "--shots",
        type=_counts,
        default=(1, 5, 10, 20),
        metavar="N,N,...",
        help="numbers of annotated pictures (default: 1,5,10,20)",
    )
    add("--repeats", type=_count, default=2, help="how often the patients are dealt (default: %(default)s)")
    add("--seed", type=int, default=0, help="of that")
    add(
        "--most",
        type=int,
        default=400,
        metavar="N",
        help="pictures that are scored at most, spread evenly; 0 for all (default: %(default)s)",
    )
    accept.set_defaults(run=run)


def run(arguments):
    """Exit code 0: accepted, 3: not accepted."""
    from pipeline.acceptance.accept import Request, accept

    given = {name: value for name, value in vars(arguments).items() if name not in ("command", "run")}
    accepted, reasons, output = accept(Request(**given))
    print(*reasons, sep="\n")
    print(f"{'ACCEPTED' if accepted else 'NOT ACCEPTED'}: {output / 'report.html'}")
    return 0 if accepted else 3


def _count(text):
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no number; expected a whole one of at least 1")
    return int(text)


def _counts(text):
    return tuple(dict.fromkeys(_count(part.strip()) for part in text.split(",")))
