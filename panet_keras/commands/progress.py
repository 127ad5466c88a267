"""n of m and the time left, on stderr."""

import contextlib
import sys
import time

from tqdm import tqdm

SECONDS = 30
"""Between two lines where nobody watches a terminal."""


def progress(items, unit):
    """The items, one after the other: a bar on a terminal, elsewhere a line every half minute.

    Args:
        items: list. unit: what they are.
    """
    if sys.stderr.isatty():
        yield from tqdm(items, unit=f" {unit}", file=sys.stderr, dynamic_ncols=True)
        return
    note = _lines(unit)
    for number, item in enumerate(items):
        note(number, len(items))
        yield item


@contextlib.contextmanager
def counted(unit):
    """The same for work that counts itself.

    Args:
        unit: what it counts.

    Yields:
        Function of (how many are done, how many there are), to be called after each.
    """
    if not sys.stderr.isatty():
        yield _lines(unit)
        return
    with tqdm(unit=f" {unit}", file=sys.stderr, dynamic_ncols=True) as bar:

        def note(done, total):
            bar.total = total
            bar.update(done - bar.n)

        yield note


def _lines(unit):
    """Function of (done, total) that prints a line now and then."""
    began = shown = time.monotonic()

    def note(done, total):
        nonlocal shown
        now = time.monotonic()
        if done and now - shown >= SECONDS:
            shown = now
            left = tqdm.format_interval((now - began) / done * (total - done))
            print(f"{done} of {total} {unit}, {left} left", file=sys.stderr, flush=True)

    return note


def say(line):
    """Prints a line to stdout without breaking a bar."""
    with tqdm.external_write_mode():
        print(line, flush=True)
