"""The tables of README.md and BUILD_NOTES.md, printed from results/*.json.

    python -m benchmarks.tables        writes them into their places, after a benchmark has run again

A place is what stands between `<!-- table NAME -->` and `<!-- end -->`.
"""

import json
import pathlib
import re
import textwrap

from benchmarks import record
from panet_keras.files import write_whole

PROJECT = pathlib.Path(__file__).parent.parent
PAGES = ("README.md", "BUILD_NOTES.md")
PLACE = re.compile(r"^( *)(<!-- table (\w+) -->)\n.*?(<!-- end -->)", re.DOTALL | re.MULTILINE)


def protocols(entries):
    """Rows of one model: entries by protocol, as `panet_keras.evaluation.summarise` makes them; others are left out."""
    lines = [
        [
            name,
            interval(entry["dice"]),
            f"{entry['over_patients']:.3f}",
            f"{entry['miss_rate']:.0%}",
            f"{entry['inside']['mean']:.2f} / {entry['outside']['mean']:.3f}",
            f"{entry['n']}, {entry['patients']}",
        ]
        for name, entry in entries.items()
        if isinstance(entry, dict) and "dice" in entry
    ]
    heads = ["protocol", "Dice (95 % interval)", "over patients", "missed", "inside / outside", "images, patients"]
    return markdown(heads, lines)


def models(table):
    """Rows of `benchmarks.headline`: several models on the same episodes."""
    asked = [
        name for name in ("same-patient", "moved-support", "superpixel") if any(f"{name}, 1 shot" in e for e in table.values())
    ]
    lines = []
    for row, entry in table.items():
        one = entry["cross-patient, 1 shot"]
        against = one["against ours"]
        columns = ["cross-patient, 1 shot", "cross-patient, 5 shots", *(f"{name}, 1 shot" for name in asked)]
        dice = [f"{entry[name]['dice']['mean']:.3f}" if name in entry else "" for name in columns]
        normal = f"{one['normal']['false_any']:.0%}, {one['normal']['false_any_at_threshold']:.0%}"
        lines.append([row, *dice, f"{one['miss_rate']:.0%}", normal, interval(against, "+.3f") if against else ""])
    return markdown(["", "1 shot", "5 shots", *asked, "missed", "normal frames marked, at 0.01", "minus ours, 1 shot"], lines)


def changed_pictures(table):
    """Rows of `benchmarks.robustness`, the first model's."""
    scores = next(iter(table.values()))
    return markdown(list(scores), [[f"{entry['dice']:.3f}" for entry in scores.values()]])


def interval(found, form=".3f"):
    return f"{found['mean']:{form}} ({found['low']:{form}} to {found['high']:{form}})"


def markdown(heads, lines):
    return "\n".join(f"| {' | '.join(line)} |" for line in (heads, ["---"] * len(heads), *lines))


def all_tables():
    """Every table by its name."""

    def table(name):
        return json.loads((record.RESULTS / f"{name}.json").read_text("utf-8"))["table"]

    headline = table("headline")
    return {
        "protocols": protocols(headline["ours"]),
        "headline": models(headline),
        "ablation": models(table("ablation")),
        "robustness": changed_pictures(table("robustness")),
    }


def filled(text):
    """The page with today's tables in it.

    Raises:
        KeyError: a place for a table that there is none of.
    """
    tables = all_tables()
    return PLACE.sub(lambda place: textwrap.indent(f"{place[2]}\n{tables[place[3]]}\n{place[4]}", place[1]), text)


if __name__ == "__main__":
    for page in PAGES:
        write_whole(PROJECT / page, filled((PROJECT / page).read_text("utf-8")))
