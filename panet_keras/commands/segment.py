"""`python -m panet_keras segment`: masks of pictures, with a few annotated ones."""

import pathlib
import sys

from panet_keras.commands import arguments as options
from panet_keras.commands.formats import FILES, add_format, check_format, write_format
from panet_keras.commands.outputs import ENDINGS, plan_outputs
from panet_keras.commands.queries import describe, find_queries
from panet_keras.commands.start import import_tensorflow


def add(commands):
    """Adds the command to the parsers of all."""
    command = commands.add_parser("segment", help="segment images with a few annotated ones")
    options.add_model(command)
    options.add_support(command)
    options.add_queries(command, recursive=False)
    options.add_answers(command)
    add_format(command)
    command.set_defaults(run=run)


def run(arguments):
    """Writes `STEM_mask.png` and `STEM_overlay.png` for every query, and `--format`; 1 if some could not be
    read.

    Raises:
        PANetError: arguments, support or model that cannot be used; nothing was written.
    """
    support = options.read_support(arguments)
    queries, skipped = find_queries(arguments.query, arguments.recursive, arguments.out)
    given = support.files + ([arguments.model] if arguments.model else [])
    check_format(arguments.format, queries)
    endings, together = FILES[arguments.format]
    tables = [arguments.csv, *(pathlib.Path(arguments.out) / name for name in together)]
    outputs = plan_outputs(queries, arguments.out, (*ENDINGS, *endings), given, arguments.overwrite, tables)
    if skipped:
        print(f"panet_keras segment: not segmented: {describe(skipped)}", file=sys.stderr)

    import_tensorflow()
    from panet_keras.commands.answer import write_answer
    from panet_keras.commands.model import open_model
    from panet_keras.commands.progress import progress, say
    from panet_keras.commands.provenance import of_run
    from panet_keras.commands.table import name_unread, write_table

    segmenter = open_model(
        arguments.model, arguments.size, support, arguments.presence_threshold, arguments.adapt
    )
    pathlib.Path(arguments.out).mkdir(parents=True, exist_ok=True)
    told = of_run(segmenter, arguments.model, support)
    rows = []
    try:
        for query in progress(queries, "pictures"):
            rows.append(write_answer(segmenter, query, outputs[query][:2], told))
            row = rows[-1]
            if not row["error"]:
                say(
                    f"{query.path}: presence {row['presence']:.3f}, area {row['area']:.2%}, {outputs[query][0]}"
                )
        write_format(arguments.format, queries, rows, arguments.out)
    finally:
        # Of masks that are written the table tells, too, whatever ends the rest.
        if arguments.csv and rows:
            write_table(arguments.csv, rows)
    return name_unread("panet_keras segment", rows)
