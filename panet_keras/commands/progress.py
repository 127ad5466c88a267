"""n of m and the time left, on stderr."""

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
    began = shown = time.monotonic()
    for number, item in enumerate(items):
        now = time.monotonic()
        if number and now - shown >= SECONDS:
            shown = now
            left = tqdm.format_interval((now - began) / number * (len(items) - number))
            print(f"{number} of {len(items)} {unit}, {left} left", file=sys.stderr, flush=True)
        yield item


def say(line):
    """Prints a line to stdout without breaking a bar."""
    with tqdm.external_write_mode():
        print(line, flush=True)
