"""What a machine does to a command: the code of panet_keras/commands/trouble.py."""

import contextlib
import os
import signal
import sys
import threading

MENDS = {
    "No space left on device": "Make room",
    "Disk quota exceeded": "Make room",
    "File too large": "Make room (or raise the limit on files, ulimit -f)",
    "Read-only file system": "Name a folder that can be written",
    "Permission denied": "Name a folder that can be written and files that can be read",
    "Operation not permitted": "Name a folder that can be written and files that can be read",
    "Too many open files": "Raise the limit (ulimit -n)",
    "Could not determine home directory": "Write the path out, or set HOME",
}
"""What an operating system says, in its own words (TensorFlow and HDF5 repeat them), and what to do."""


def open_streams():
    """Gives a process that was started without standard streams (`2>&-`, some services) the null device in their
    place: the next file that is opened would get their numbers, and what libraries print would be written
    into it."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", errors="backslashreplace", closefd=False))


class Terminated(KeyboardInterrupt):
    """A signal other than Ctrl-C's asked the command to end."""

    def __init__(self, number):
        super().__init__(number)
        self.code = 128 + number


@contextlib.contextmanager
def ended_by_signals():
    """SIGTERM (`kill`, a container's stop, a queue of jobs) and SIGHUP (a closed terminal) end a command as Ctrl-C
    does: what is half written is removed. A signal that is ignored (nohup) stays ignored."""

    def end(number, _):
        raise Terminated(number)

    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
            if signal.getsignal(number) is signal.SIG_DFL:
                before[number] = signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def exit_code(interrupt):
    """As a shell has it: 130 after Ctrl-C, 143 after SIGTERM."""
    return getattr(interrupt, "code", 128 + signal.SIGINT)


def told(error):
    """What to say of an error that is not the program's: its message, and what to do about it.

    Args:
        error: exception.

    Returns:
        Text, or None for one that is the program's, whose traceback is wanted.
    """
    tensorflow = sys.modules.get("tensorflow")
    if tensorflow is not None and isinstance(error, tensorflow.errors.OpError):
        said = str(error).strip().partition("\n")[0][:500] or type(error).__name__
    elif isinstance(error, MemoryError):
        return f"not enough memory ({error}). Take a smaller --size, or a larger machine."
    elif isinstance(error, (OSError, RuntimeError)):
        said = str(error)
    else:
        return None
    mend = next((mend for words, mend in MENDS.items() if words in said), None)
    if mend is None:
        return None if isinstance(error, RuntimeError) else said
    return f"{said}. {mend}, and run the same command again; what was written before is whole."


def unread():
    """Nobody reads the output any more (`| head -1`): says nothing more there; the exit code, as of SIGPIPE."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return 141
