"""Where the outputs go, and what they may not replace: the code of panet_keras/commands/outputs.py."""

import collections
import os
import pathlib

ENDINGS = ("_mask.png", "_overlay.png")
"""Of the files that `segment`, `infer` and `serving.client segment` write for each picture."""
NAMED = 20
"""As many files does a message name."""


def check_writable(*folders):
    """Refuses folders in which no file can be made.

    Args:
        folders: paths, of folders that need not exist yet.

    Raises:
        ValueError: a folder, or the nearest one above it that there is, may not be written or is a file.
    """
    for place in map(pathlib.Path, folders):
        there = next(folder for folder in (place.absolute(), *place.absolute().parents) if folder.exists())
        if not there.is_dir():
            raise ValueError(
                f"{there} is a file, and no folder for outputs; name another. Nothing was written."
            )
        if not os.access(there, os.W_OK | os.X_OK):
            raise ValueError(
                f"{there} may not be written; name a folder for the outputs that may. Nothing was written."
            )


def plan_outputs(queries, out, endings, inputs=(), overwrite=False, tables=(), keep=None):
    """The files that will be written, before the first picture is touched.

    Args:
        queries: list of `Query`.
        out: folder.
        endings: of the files of each query, such as `("_mask.png", "_overlay.png")`.
        inputs: further paths that the user gave: support, model.
        overwrite: whether older outputs may be replaced.
        tables: further files that will be written.
        keep: function of a query: whether its outputs are there from an earlier run that goes on.

    Returns:
        Dictionary of `Query` to the list of its paths, in the order of `endings`.

    Raises:
        ValueError: outputs of one name, outputs in place of an input, older outputs without `overwrite`, or a
            folder that may not be written; says which.
    """
    out = pathlib.Path(out)
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {out} is a file; expected a folder, or the name of a new one.")
    check_writable(out, *(pathlib.Path(table).parent for table in tables if table))
    planned = {query: [out / f"{query.stem}{ending}" for ending in endings] for query in queries}

    # Any of one picture's files may be any of another's: the mask of x and the picture of x_mask in NIfTI.
    writers, clashing = collections.defaultdict(list), {}
    for query, targets in planned.items():
        for target in targets:
            writers[target.resolve()].append((query, target))
    for group in writers.values():
        if len(group) > 1:
            clashing.setdefault(tuple(query for query, _ in group), group[0][1])
    clashes = [
        f"{' and '.join(str(query.path) for query in group)} would all be written to {target}"
        for group, target in clashing.items()
    ]
    if clashes:
        raise ValueError(
            f"--query: {'; '.join(clashes)}. Rename all but one, or give them an --out of their own."
        )

    tables = [pathlib.Path(table) for table in tables if table]
    targets = [target for query in queries for target in planned[query]]
    given = {pathlib.Path(path).resolve() for path in [*inputs, *(query.path for query in queries)]}
    lost = [str(target) for target in [*targets, *tables] if target.resolve() in given]
    if lost:
        raise ValueError(
            f"{_some(lost)}: given as an input, and an output would replace it. Name another --out; nothing was written."
        )
    odd = [str(target) for target in [*targets, *tables] if target.is_dir()] + [
        str(table)
        for number, table in enumerate(tables)
        if table.resolve() in {*writers, *(other.resolve() for other in tables[:number])}
    ]
    if odd:
        raise ValueError(
            f"{_some(odd)}: a folder, or the place of a mask or of another table; no file can be written there. Nothing was written."
        )
    if not overwrite:
        new = [target for query in queries if not (keep and keep(query)) for target in planned[query]]
        old = [str(target) for target in [*new, *tables] if target.exists()]
        if old:
            raise ValueError(
                f"{_some(old)}: there already, from an earlier run or from you. Give --overwrite to replace, or another --out; "
                "nothing was written."
            )
    return planned


def _some(names):
    rest = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {rest} more" if rest > 0 else "")
