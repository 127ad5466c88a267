"""The tables of README.md and docs/, printed from results/*.json.

    python -m benchmarks.tables        writes them into their places, after a benchmark has run again

A place is what stands between `<!-- table NAME -->` and `<!-- end -->`. A place whose benchmark has not been
run yet stays as it is.
"""

import json
import pathlib
import re
import textwrap

from benchmarks import record
from panet_keras.files import write_whole

PROJECT = pathlib.Path(__file__).parent.parent
PLACE = re.compile(r"^( *)(<!-- table (\w+) -->)\n.*?(<!-- end -->)", re.DOTALL | re.MULTILINE)


def pages():
    """Paths of the pages with a place for a table, relative to the project."""
    files = [PROJECT / "README.md", *sorted((PROJECT / "docs").rglob("*.md"))]
    return tuple(
        file.relative_to(PROJECT).as_posix() for file in files if "<!-- table " in file.read_text("utf-8")
    )


PAGES = pages()


def protocols(entries):
    """Rows of one model: entries by protocol, as `panet_keras.evaluation.summarise` makes them; others are
    left out."""
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
    heads = [
        "protocol",
        "Dice (95 % interval)",
        "over patients",
        "missed",
        "inside / outside",
        "images, patients",
    ]
    return markdown(heads, lines)


def models(table):
    """Rows of `benchmarks.headline`: several models on the same episodes."""
    asked = [
        name
        for name in ("same-patient", "moved-support", "superpixel")
        if any(f"{name}, 1 shot" in e for e in table.values())
    ]
    lines = []
    for row, entry in table.items():
        one = entry["cross-patient, 1 shot"]
        against = one["against ours"]
        columns = ["cross-patient, 1 shot", "cross-patient, 5 shots", *(f"{name}, 1 shot" for name in asked)]
        dice = [f"{entry[name]['dice']['mean']:.3f}" if name in entry else "" for name in columns]
        normal = f"{one['normal']['false_any']:.0%}, {one['normal']['false_any_at_threshold']:.0%}"
        lines.append(
            [row, *dice, f"{one['miss_rate']:.0%}", normal, interval(against, "+.3f") if against else ""]
        )
    return markdown(
        ["", "1 shot", "5 shots", *asked, "missed", "normal frames marked, at 0.01", "minus ours, 1 shot"],
        lines,
    )


def models_in_short(table):
    """The README's rows of `benchmarks.headline`."""
    lines = []
    for row in ("ours", "paper", "supervised U-Net"):
        one, five, moved = (
            table[row][f"{name}"]
            for name in ("cross-patient, 1 shot", "cross-patient, 5 shots", "moved-support, 1 shot")
        )
        dice = [interval(one["dice"]), interval(five["dice"]), f"{moved['dice']['mean']:.3f}"]
        lines.append([row, *dice, f"{one['miss_rate']:.0%}", f"{one['normal']['false_any']:.0%}"])
    return markdown(
        ["", "Dice, 1 shot", "5 shots", "support's mask moved away", "missed", "normal frames marked"], lines
    )


def differences(table):
    """Rows of `benchmarks.headline` for one model: what more shots, and the same patient, are worth, paired
    over images."""
    found = {
        "5 shots minus 1 shot": "5 shots - 1 shot",
        "same-patient minus cross-patient": "same-patient - cross-patient",
    }
    return markdown(
        ["ours, paired", "Dice"],
        [[name, interval(table["ours"][key], "+.3f")] for name, key in found.items()],
    )


def hospitals(table):
    """Rows of `benchmarks.hospitals`: a line for each hospital, number of supports, normal frames and
    adaptation."""
    heads = [
        "hospital",
        "supports",
        "normal frames given",
        "`adapt`",
        "Dice (95 % interval)",
        "minus one support",
        "missed",
    ]
    lines = [
        [
            row["hospital"],
            str(row["supports"]),
            str(row["normals"]),
            "yes" if row["adapted"] else "",
            between(row["dice"], row["interval"]),
            interval(row["minus one support"], "+.3f")
            if row["minus one support"] and row["supports"] > 1
            else "",
            f"{row['missed']:.0%}",
            between(row["marked"], row["marked interval"], ".0%") if "marked" in row else "",
            f"{row['presence AUROC']:.3f}" if "presence AUROC" in row else "",
        ]
        for row in table
    ]
    return markdown([*heads, "normal frames marked", "presence AUROC"], lines)


def hospitals_in_short(table):
    """A line for each hospital: Dice by the number of supports, without and with `adapt`, with normal frames
    where there are any."""
    rows, adapted = {}, {}
    for row in sorted(table, key=lambda row: row["normals"]):
        (adapted if row["adapted"] else rows).setdefault(row["hospital"], {})[row["supports"]] = row
    supports, tuned = (sorted({count for row in kind.values() for count in row}) for kind in (rows, adapted))
    lines = []
    for name, row in rows.items():
        dice = [
            between(row[count]["dice"], row[count]["interval"]) if count in row else "" for count in supports
        ]
        own = adapted.get(name, {})
        dice += [
            between(own[count]["dice"], own[count]["interval"]) if count in own else "" for count in tuned
        ]
        few = row.get(5) or next(iter(row.values()))
        lines.append([name, *dice, f"{few['missed']:.0%}", f"{few['marked']:.0%}" if "marked" in few else ""])
    heads = [f"Dice, {count} support{'s' if count > 1 else ''}" for count in supports]
    heads += [f"`adapt` on {count}" for count in tuned]
    return markdown(["unknown hospital", *heads, "missed, 5 supports", "normal frames marked"], lines)


def changed_pictures(table):
    """Rows of `benchmarks.robustness`, the first model's."""
    scores = next(iter(table.values()))
    return markdown(list(scores), [[f"{entry['dice']:.3f}" for entry in scores.values()]])


def adaptation(table):
    """Rows of `benchmarks.adaptation`: Dice, and the difference to the plain answer with the same three
    supports."""
    ways = list(next(iter(table.values())))
    return markdown(
        ["pictures", *ways],
        [[name, *(paired(row[way], "minus 3 shots") for way in ways)] for name, row in table.items()],
    )


def options(table):
    """Rows of `benchmarks.inference_options`: Dice, and the difference to the plain answer."""
    heads = [name.replace("(s)", "" if name.startswith("cross-patient, 1 ") else "s") for name in table]
    ways = list(dict.fromkeys(way for column in table.values() for way in column))
    return markdown(
        ["", *heads],
        [
            [
                way,
                *(
                    paired(c[way], "minus plain" if way != "plain" else "") if way in c else ""
                    for c in table.values()
                ),
            ]
            for way in ways
        ],
    )


def calibration(table):
    """Rows of `benchmarks.calibration`: before, with the temperature of the other folds, and with the shipped
    one."""
    lines = [
        [
            name,
            kind,
            f"{e['ECE']:.3f}",
            f"{e['cross-entropy']:.3f}",
            f"{e['inside']:.2f} / {e['outside']:.3f}",
        ]
        for name, row in table.items()
        for kind, e in row.items()
    ]
    return markdown(
        ["pictures", "temperature", "calibration error", "cross-entropy", "inside / outside"], lines
    )


def presence(frames):
    """Frames without lesion in `benchmarks.calibration`: share left with a mask at each threshold, and what
    it costs in Dice."""
    levels = list(frames["shipped"]["by_threshold"])
    lines = [
        [
            kind,
            *(
                f"{frames[kind]['by_threshold'][level]['false_any']:.0%}, {frames[kind]['by_threshold'][level]['cost']:.3f}"
                for level in levels
            ),
        ]
        for kind in frames
    ]
    return markdown(["presence threshold", *levels], lines)


def speed(table):
    """Rows of `benchmarks.speed`: seconds, and how many times the limit of the machine's matrix product."""
    lines = [
        [
            name,
            f"{row['training step, s']:.2f} ({row['episodes of a step']}), {row['training step, times the limit']:.1f} x",
            *(
                f"{row[f'{call}, s']:.3f}, {row[f'{call}, times the limit']:.1f} x"
                for call in ("encode_support", "segment")
            ),
            f"{row['peak memory, MB'] / 1000:.1f} GB",
        ]
        for name, row in table.items()
    ]
    return markdown(["", "training step (episodes)", "`encode_support`", "`segment`", "peak memory"], lines)


def cold_start(table):
    """Rows of `benchmarks.cold_start`: seconds, and how many times the import's in the same round."""
    lines = [
        [
            name,
            f"{row['clock, s']:.1f}",
            f"{row['clock, of the import']:.2f}",
            f"{row['processor, s']:.1f}",
            f"{row['processor, of the import']:.2f}",
        ]
        for name, row in table.items()
    ]
    return markdown(["process", "seconds", "of the import", "of the processor", "of the import"], lines)


def request_parts(table):
    """Rows of `benchmarks.request_parts`: milliseconds of the processor."""
    return markdown(
        ["part", "ms of the processor"], [[name, f"{value:.2f}"] for name, value in table.items()]
    )


def devices(table):
    """Rows of `benchmarks.devices`: milliseconds by threads, bytes, Dice; or why a way does not run."""
    threads = list(next(iter(table.values()))["by threads"])
    lines = [
        [
            name,
            *(
                f"{side['clock, ms']:.0f} ({side['times the limit']:.1f} x), {side['processor, ms']:.0f}"
                if "failed" not in side
                else "does not run"
                for side in row["by threads"].values()
            ),
            f"{row['bytes'] / 1e6:.1f} MB" if row["bytes"] else "",
            f"{row['dice']:.3f}" if row["dice"] is not None else "",
        ]
        for name, row in table.items()
    ]
    heads = [f"{n} thread{'s' if n != '1' else ''}: ms (limit), of the processor" for n in threads]
    return markdown(["", *heads, "file", "Dice"], lines)


def loop(totals):
    """Rows of `benchmarks.annotation`: means over the orders, least and most beside them where they differ."""

    def ends(found, form):
        mean, least, most = (format(value, form) for value in found)
        return mean if least == most else f"{mean} ({least} to {most})"

    lines = [
        [
            way,
            ends(row["accepted"], ".0f"),
            ends(row["pixels_share"], ".0%"),
            ends(row["strokes_share"], ".0%"),
        ]
        for way, row in totals.items()
    ]
    return markdown(["way", "accepted as proposed", "pixels, of by hand", "strokes, of by hand"], lines)


def page_proposals(found):
    """Rows of `benchmarks.annotation_speed`, part proposals."""
    lines = [
        [
            name,
            f"{row['proposals']:,}",
            f"{1000 * row['seconds of each']:.0f}",
            f"{1000 * row['processor seconds of each']:.0f}",
            f"{row['in a minute']:,.0f}",
        ]
        for name, row in found.items()
        if isinstance(row, dict)
    ]
    return markdown(["proposals", "number", "ms each", "ms of the processor", "in a minute"], lines)


def latency(seconds):
    """Rows of `benchmarks.serving`: a request's time."""
    return markdown(["request", "ms"], [[name, f"{1000 * value:.0f}"] for name, value in seconds.items()])


def throughput(rates):
    """Rows of `benchmarks.serving`: queries in a second, by the number of clients."""
    clients = list(next(iter(rates.values())))
    return markdown(
        ["clients", *clients], [[name, *(f"{row[n]:.0f}" for n in clients)] for name, row in rates.items()]
    )


def scale(stages):
    """Rows of `benchmarks.scale`: seconds and peak memory at each number of images, and the growth of
    both."""
    sizes = [key for key in next(iter(stages.values())) if key.isdigit()]
    lines = [
        [
            name,
            *(f"{row[n]['seconds']:.0f} s, {row[n]['peak_memory'] / 1e9:.1f} GB" for n in sizes),
            f"{row['growth of time']:.2f}",
        ]
        for name, row in stages.items()
    ]
    return markdown(["stage", *(f"{int(size):,} images" for size in sizes), "growth of time"], lines)


def workers(rows):
    """Rows of `benchmarks.workers`: the mean of each stage, engine and number of workers."""
    groups = {}
    for row in rows:
        groups.setdefault((row["stage"], row["engine"], row["workers"]), []).append(row)

    def mean(group, key):
        found = [row[key] for row in group if key in row]
        return f"{sum(found) / len(found):.2f}" if found else ""

    lines = [
        [
            *(stage, engine, str(count)),
            *(mean(group, key) for key in ("seconds", "start", "each", "load")),
            ", ".join(sorted({row["digest"][:8] for row in group})),
        ]
        for (stage, engine, count), group in sorted(
            groups.items(), key=lambda item: (item[0][0], item[0][1][:1].isupper(), item[0])
        )
    ]
    head = [
        "stage",
        "engine",
        "workers",
        "whole, s",
        "to the first output, s",
        "each, s",
        "load before",
        "SHA-256",
    ]
    return markdown(head, lines)


def million(steps):
    """Rows of `benchmarks.million`: cost of a picture in one process, and of ten million."""
    lines = [
        [
            row["what"],
            f"{row['of a picture']['cpu'] * 1e6:,.0f}",
            f"{row['growth of time']:.2f}",
            f"{row['of a picture']['memory']:,.0f}",
            f"{row['of a picture']['bytes']:,.0f}",
            f"{row['ten million']['cpu'] / 60:,.0f} min, {row['ten million']['memory'] / 1e9:,.1f} GB, "
            f"{row['ten million']['bytes'] / 1e9:,.1f} GB",
        ]
        for name, row in steps.items()
        if name != "lineage"
    ]
    head = [
        "step, one process",
        "CPU a picture, µs",
        "growth",
        "memory a picture, bytes",
        "disk a picture, bytes",
    ]
    return markdown([*head, "10 million: CPU, memory, disk"], lines)


def soak(counts):
    """Rows of `benchmarks.soak`: requests by kind and by what became of them."""
    return markdown(["request: answer", "number"], [[name, f"{count:,}"] for name, count in counts.items()])


def kills(entries):
    """Rows of `benchmarks.crash`: where the process was killed, and what was different afterwards."""
    lines = [
        [
            re.sub(r" \.\.\..*|: .*", "", e["killed in"]),
            str(e["exit code of the second start"]),
            ", ".join(e["different"]) or "none",
        ]
        for e in entries
    ]
    return markdown(["killed in", "exit code of the second start", "different artifacts"], lines)


def at_home(table):
    """Rows of `benchmarks.hospitals home`, each lesion row with its normal frames."""
    lines = []
    for name, entry in table.items():
        normal = table.get(f"{name}, normal")
        if "dice" in entry:
            figures = [interval(entry[key]) for key in ("dice", "dice after the threshold")]
            marked = interval(normal["marked"], ".0%") if normal else ""
            figures += [f"{entry['missed']['mean']:.0%}", f"{entry['emptied']['mean']:.0%}", marked]
            lines.append([name, *figures, f"{entry['n']}, {entry['patients']}"])
    heads = [
        "protocol",
        "Dice (95 % interval)",
        "after the threshold",
        "missed",
        "emptied",
        "normal frames marked",
    ]
    return markdown([*heads, "images, patients"], lines)


def steps(seconds):
    """Rows of `benchmarks.input_pipeline` and `benchmarks.pytorch`: seconds by name."""
    return markdown(
        ["", "seconds"], [[name.replace("_", " "), f"{value:.2f}"] for name, value in seconds.items()]
    )


def paired(entry, key):
    difference = f", {interval(entry[key], '+.3f')}" if key in entry else ""
    return f"{entry['dice']:.3f}{difference}"


def between(mean, ends, form=".3f"):
    return interval({"mean": mean, "low": ends[0], "high": ends[1]}, form)


def interval(found, form=".3f"):
    return f"{found['mean']:{form}} ({found['low']:{form}} to {found['high']:{form}})"


def markdown(heads, lines):
    return "\n".join(f"| {' | '.join(line)} |" for line in (heads, ["---"] * len(heads), *lines))


TABLES = {
    # name: (file of results, its key, what prints it)
    "hospitals": ("hospitals", "table", hospitals_in_short),
    "hospitals_all": ("hospitals", "table", hospitals),
    "hospitals_lite2": ("hospitals_lite2", "table", hospitals_in_short),
    "hospital_protocols": ("hospital_protocols", "table", protocols),
    "hospital_home": ("hospital_home", "table", at_home),
    "protocols": ("headline", "table", lambda table: protocols(table["ours"])),
    "headline": ("headline", "table", models),
    "headline_short": ("headline", "table", models_in_short),
    "differences": ("headline", "table", differences),
    "ablation": ("ablation", "table", models),
    "robustness": ("robustness", "table", changed_pictures),
    "quick": ("bus_uclm_quick", "table", protocols),
    "adaptation": ("adaptation", "table", adaptation),
    "inference_options": ("inference_options", "table", options),
    "calibration": ("calibration", "table", calibration),
    "presence": ("calibration", "frames without lesion", presence),
    "speed": ("speed", "table", speed),
    "pytorch": ("pytorch", "seconds for each step", steps),
    "input_pipeline": ("input_pipeline", "seconds", steps),
    "cold_start": ("cold_start", "table", cold_start),
    "request_parts": ("request_parts", "processor, ms", request_parts),
    "devices": ("devices", "table", devices),
    "loop": ("annotation", "totals", loop),
    "loop_thyroid": ("annotation_thyroid", "totals", loop),
    "page_proposals": ("annotation_speed", "proposals", page_proposals),
    "latency": ("serving", "latency, s", latency),
    "throughput": ("serving", "segment per second, by clients", throughput),
    "soak": ("soak", "by kind and status", soak),
    "scale": ("scale", "stages", scale),
    "workers": ("workers", "rows", workers),
    "million": ("million", "steps", million),
    "crash": ("crash", "kills", kills),
}


def print_table(name):
    """A table as Markdown, or None where its benchmark has not been run.

    Raises:
        KeyError: there is no table of that name.
    """
    file, key, printer = TABLES[name]
    path = record.RESULTS / f"{file}.json"
    return printer(json.loads(path.read_text("utf-8"))[key]) if path.is_file() else None


def filled(text):
    """The page with today's tables in it.

    Raises:
        KeyError: a place for a table that there is none of.
    """

    def fill(place):
        table = print_table(place[3])
        return place[0] if table is None else textwrap.indent(f"{place[2]}\n{table}\n{place[4]}", place[1])

    return PLACE.sub(fill, text)


if __name__ == "__main__":
    for page in PAGES:
        write_whole(PROJECT / page, filled((PROJECT / page).read_text("utf-8")))
