"""What a run says while it works: bare lines on standard output, warnings and errors on standard error.

Modules log to `logging.getLogger(__name__)`; only a command (`python -m pipeline`) decides that a terminal
shows it. What a command answers (`runs`, `compare`, `lineage`, `report: ...`) is printed, not logged.
"""

import logging
import sys
import time

from tqdm import tqdm


class _Terminal(logging.Handler):
    def emit(self, record):
        try:
            # Asked anew for each line: who redirects standard output later is obeyed.
            print(
                self.format(record),
                file=sys.stderr if record.levelno >= logging.WARNING else sys.stdout,
                flush=True,
            )
        except Exception:
            self.handleError(record)


def show_log(level=logging.INFO):
    """Shows the log of `pipeline` on the terminal; called again, it changes nothing but the level."""
    logger = logging.getLogger("pipeline")
    logger.setLevel(level)
    # Handlers that a dependency gave to the root would show each line again.
    logger.propagate = False
    if not any(isinstance(handler, _Terminal) for handler in logger.handlers):
        logger.addHandler(_Terminal())


class Progress:
    """Logs `name: done/total unit, time left, more`, every few seconds.

    Args:
        logger: where to. unit: what is counted. pause: seconds between two lines.
    """

    def __init__(self, logger, unit, pause=5.0):
        self.logger, self.unit, self.pause = logger, unit, pause
        self.name = None

    def __call__(self, done, total, name="", more=""):
        """Args: done, total: counts. name: of the part that is counted; another name begins another count.
        more: what else to say."""
        now = time.monotonic()
        if name != self.name:
            self.name, self.shown, self.start, self.first, self.last = name, False, now, done, now
        end = done == total and (name or self.shown)
        if not end and (done == total or now - self.last < self.pause):
            return
        self.shown, self.last = True, now
        rate = (done - self.first) / (now - self.start) if now > self.start else 0
        left = f", {tqdm.format_interval((total - done) / rate)} left" if rate and done < total else ""
        what = f"{name}: " if name else ""
        self.logger.info(
            "      %s%s/%s %s%s%s", what, done, total, self.unit, left, f", {more}" if more else ""
        )
