"""From a folder to a page: opens what is needed, and answers until it is stopped."""

import socket
import sys
import threading
import webbrowser

from panet_keras.annotate import existing
from panet_keras.annotate.folder import Folder
from panet_keras.annotate.loop import Loop
from panet_keras.annotate.security import LOOPBACK
from panet_keras.annotate.store import Store
from panet_keras.commands.queries import describe
from panet_keras.errors import PANetError

PORT = 8765
"""Tried first where none is named: a tab that is open goes on after a restart."""


def open_folder(path, output, labels=(), recursive=False, patient=None, extra=(), say=print, kind=Store):
    """Opens a folder of pictures with its output folder.

    Args:
        path: folder of pictures. output: folder for the masks. labels: names, see `Store`.
        recursive, patient: as in `Folder`. extra: list of `panet_keras.annotate.loop.Example`.
        say: function that is given lines for the person. kind: class of the store.

    Returns:
        (`Store`, `Folder`, `Loop`), the loop without a model.

    Raises:
        PANetError: a folder that cannot be used, or that another server has.
    """
    store = kind(output, labels)
    try:
        folder = Folder(path, recursive, output, patient, store.salt)
        elsewhere, absent = store.opens(path), store.take(folder.frames)
        found, problems = existing.find(folder, store.labels, lambda frame: not store.history(frame).changes)
        brought = store.bring(found)
    except BaseException:
        store.close()
        raise
    broken = sum(frame.error is not None for frame in folder.frames.values())
    say(f"{len(folder.frames)} pictures in {path}, {broken} of them cannot be read; masks go to {output}")
    if elsewhere:
        say(
            f"The masks in {output} are of the pictures in {elsewhere}. Are these the same? If not, give another --output."
        )
    if absent:
        say(
            f"{len(absent)} pictures that were worked on are not in {path} now ({', '.join(absent[:3])}"
            f"{', ...' if len(absent) > 3 else ''}): their masks stay in {output}, and are theirs again under their old names"
            f"{'' if recursive else ' (or with --recursive)'}."
        )
    for line in problems[:20]:
        say(line)
    if len(problems) > 20:
        say(f"... and {len(problems) - 20} more")
    if brought:
        say(f"{brought} masks were there already, and count as accepted")
    if folder.skipped:
        say(f"left out: {describe(folder.skipped)}")
    return store, folder, Loop(store, folder, extra=extra)


def listen(host, port):
    """A socket that listens.

    Args:
        host: name or address. port: number; None: `PORT`, or any where that is taken.

    Raises:
        PANetError: the port is taken, or the address is none of this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for number in (PORT, 0) if port is None else (port,):
        found = socket.socket(family, socket.SOCK_STREAM)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            found.bind((host, number))
            found.listen(64)
            return found
        except OSError as error:
            found.close()
            reason = error
    raise PANetError(
        f"--host {host} --port {port}: {reason.strerror or reason}; expected an address of this machine and a free port. "
        "Give another --port."
    )


def serve(opened, load=None, host="127.0.0.1", port=None, allowed=(), browser=True, say=print, again=None):
    """Answers until it is interrupted.

    Args:
        opened: what `open_folder` gave. load: function that gives the segmenter; None: there are no proposals.
        host: address to listen on. port: number, or None: see `listen`.
        allowed: further names by which browsers may call this server.
        browser: whether a browser is opened. say: function that is given lines for the person.
        again: see `Loop.start`.

    Raises:
        PANetError: nothing can listen there. ImportError: Starlette or uvicorn is missing.
    """
    store, folder, loop = opened
    try:
        try:
            import uvicorn

            from panet_keras.annotate.app import Page
        except ImportError as error:
            raise ImportError(
                f"the page needs {error.name or 'Starlette and uvicorn'}: pip install 'panet-bus[annotate]'"
            ) from error
        listening = listen(host, port)
        number = listening.getsockname()[1]
        outside = host not in ("127.0.0.1", "localhost", "::1")
        own = f"[{host}]" if ":" in host else host
        names = [*LOOPBACK, own, *([socket.gethostname(), socket.getfqdn()] if outside else [])]
        page = Page(store, folder, loop, names, number, allowed)
        anywhere = host in ("0.0.0.0", "::")
        shown = allowed[0] if allowed else "127.0.0.1" if anywhere or not outside else own
        shown = shown if shown.rpartition(":")[2].isdecimal() else f"{shown}:{number}"
        link = f"http://{shown}/#token={store.token}"
        say(f"Open {link}")
        if outside:
            say(
                f"Other machines reach it by http://{socket.gethostname()}:{number}/ with the same #token; unencrypted."
            )
        if load is None:
            loop.model_error = "the page was started without a model (--model none)"
        loop.start(load, again)
        if browser:
            threading.Timer(0.5, webbrowser.open, [link]).start()
        settings = uvicorn.Config(
            page.app, log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=1
        )
        uvicorn.Server(settings).run(sockets=[listening])
    finally:
        loop.stop()
        store.close()


def tell(line):
    """Says something to the person at the terminal."""
    print(line, file=sys.stdout, flush=True)
