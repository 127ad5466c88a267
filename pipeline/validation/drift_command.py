"""`python -m pipeline drift`: have the pictures that a server was asked about moved away from the training's?"""

import argparse
import dataclasses
import json
import pathlib

from pipeline.errors import PipelineError

MOVED = 3
"""Exit code."""


def add(commands):
    """Adds the command to the subparsers of `python -m pipeline`."""
    drift = commands.add_parser(
        "drift", help="compare what a server was asked (--statistics_dir) with the training statistics"
    )
    add = drift.add_argument
    add(
        "--statistics",
        required=True,
        metavar="DIR",
        help="folder of one model's version under --statistics_dir, or files of it; all periods in it are joined",
    )
    add(
        "--model",
        required=True,
        help="the pushed version's folder, or that of all versions: of them the one that the statistics name",
    )
    add("--root", metavar="DIR", help="run.root that made the model; the one it lies in without it")
    add(
        "--threshold",
        action="append",
        default=[],
        type=_threshold,
        metavar="[FEATURE=]VALUE",
        help="from 0 to 1, of one feature or of all; repeat for more (default: 0.3; label 0.2)",
    )
    add("--json", action="store_true", help="for programs")
    drift.set_defaults(run=run)


def run(arguments):
    """Exit code 0: nothing moved; 3: something did."""
    from pipeline.acceptance.accept import Lineage
    from pipeline.acceptance.models import find_model
    from pipeline.validation import drift

    files = files_of(arguments.statistics)
    own, count = joined([_features(file) for file in files])
    served = _served(files[0])
    place = _version(arguments.model, served, find_model(arguments.model))
    known = Lineage(place, arguments.root)
    if not known.statistics:
        raise PipelineError(f"--model {arguments.model}: {known.without}; there is nothing to compare with.")
    training, _ = drift.features_of(known.statistics)
    given = dict(arguments.threshold)
    unknown = sorted(set(given) - {None, *drift.WORDS})
    if unknown:
        raise PipelineError(
            f"--threshold {unknown[0]}=...: no such feature; expected one of {list(drift.WORDS)}."
        )
    found = drift.compare(training, own, given, given.get(None, drift.THRESHOLD))
    if not found:
        raise PipelineError(
            f"--statistics {arguments.statistics}: {count} answers, and no fact of them that the training statistics have, too (found "
            f"{sorted(own)}); expected some of {list(drift.WORDS)}. Nothing was compared."
        )
    moved = any(one.moved for one in found)
    if arguments.json:
        rows = [{**dataclasses.asdict(one), "moved": one.moved} for one in found]
        told = {"pictures": count, "moved": moved, "features": rows, "served": served, "model": str(place)}
        print(json.dumps(told, indent=1))
    else:
        print(text(found, own, training, count))
        if place.name.isdecimal() and place.name != served.rpartition("/")[2]:
            print(f"NOTE: the statistics are of {served}, the training is that of {place}: two versions?")
    return MOVED if moved else 0


def _features(file):
    from google.protobuf.message import DecodeError

    from pipeline.validation.drift import features_of

    try:
        return features_of(file)
    except (DecodeError, IndexError):
        raise PipelineError(
            f"--statistics {file}: no statistics in it; expected a file that `python -m serving --statistics_dir` wrote."
        ) from None


def _served(file):
    """`MODEL/VERSION` of the server that wrote a file of statistics; empty where it does not say."""
    from pipeline.validation.statistics import read_statistics

    return read_statistics(file).datasets[0].name


def _version(path, served, found):
    """The folder of the version that was served, where a path is that of several versions; else what was found.

    Raises:
        PipelineError: it has no such version any more.
    """
    folder, number = pathlib.Path(path).expanduser(), served.rpartition("/")[2]
    several = found.parent == folder and found.name.isdecimal()
    if not several or not number.isdecimal() or found.name == number:
        return found
    if not (folder / number / "saved_model.pb").is_file():
        raise PipelineError(
            f"--model {path}: no version {number}, of which the statistics are ({served}); name the folder of that model."
        )
    return folder / number


def files_of(path):
    """Files of statistics under a path.

    Raises:
        PipelineError: none, or those of several models or versions.
    """
    path = pathlib.Path(path).expanduser()
    files = [path] if path.is_file() else sorted(path.rglob("*.pb"))
    folders = sorted({str(file.parent) for file in files})
    if not files:
        raise PipelineError(
            f"--statistics {path}: no file of statistics (*.pb); expected a folder that `python -m serving --statistics_dir` writes, "
            "which it does at the end of a period and of the server."
        )
    if len(folders) > 1:
        raise PipelineError(f"--statistics {path}: several versions; name one of {', '.join(folders)}.")
    return files


def joined(parts):
    """Features and number of answers of several periods together."""
    import numpy as np

    from pipeline.validation.drift import Numbers, Texts

    result = {}
    for name in dict.fromkeys(name for features, _ in parts for name in features):
        found = [features[name] for features, _ in parts if name in features]
        if isinstance(found[0], Texts):
            result[name] = _joined_texts([(features[name], n) for features, n in parts if name in features])
            continue
        low, high, counts = (np.concatenate([getattr(one, key) for one in found]) for key in KEYS)
        weights = [one.counts.sum() for one in found]
        result[name] = Numbers(
            low, high, counts, float(np.average([one.mean for one in found], weights=weights))
        )
    return result, sum(count for _, count in parts)


KEYS = ("low", "high", "counts")


def _joined_texts(parts):
    """Shares of several periods together; parts are pairs of `Texts` and number of answers."""
    from pipeline.validation.drift import Texts

    total, shares = sum(count for _, count in parts), {}
    for texts, count in parts:
        for value, share in texts.shares.items():
            shares[value] = shares.get(value, 0.0) + share * count / total
    return Texts(shares)


def text(found, own, training, count):
    """For people."""
    from pipeline.validation.drift import FEWEST, WORDS

    lines = [f"{count} answers; {'moved' if any(one.moved for one in found) else 'nothing moved'}"]
    for one in found:
        numbers = getattr(own[one.feature], "counts", None)
        seen = count if numbers is None else numbers.sum()
        few = f" (only {seen:.0f} pictures: this says little)" if seen < FEWEST else ""
        mark = "MOVED" if one.moved else "  as in training"
        lines.append(f"{mark}: {one.text}; {one.measure} {one.value:.2f}, threshold {one.threshold:g}{few}")
    missing = sorted(name for name in own if name in WORDS and name not in training)
    if missing:
        lines.append(f"not compared, because the training statistics lack them: {', '.join(missing)}")
    for name, told in TOLD.items():
        if name in own:
            lines.append(f"{told}: {own[name].mean:.4g}")
    return "\n".join(lines)


TOLD = {
    "mask/empty": "share of empty masks",
    "presence": "mean presence",
    "mask/area_fraction": "mean share of the frame that was marked",
    "support/age_seconds": "mean age of the support in seconds",
}
"""What has no counterpart in the training."""


def _threshold(text):
    name, equals, value = text.rpartition("=")
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"{text}: expected a number from 0 to 1, or FEATURE=NUMBER")
    return (name if equals else None), number
