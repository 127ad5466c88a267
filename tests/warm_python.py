"""A Python that has imported TensorFlow already.

That import takes 5 to 10 seconds of a core, and thirty tests want a process of their own. One process imports
TensorFlow when it is first asked, computes nothing, and forks for each script: the executable that `start`
writes is used as `sys.executable` is, with `-c CODE` or `-m MODULE`. Two things are the same in all forks: the
seed of Python's hashes, and what TensorFlow reads of the environment when it is imported. A test of either
takes `sys.executable`.

    test -> executable --socket--> server --fork--> keeper --fork--> script
                 ^------------ exit code, or signal -------'
"""

import contextlib
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import types

CLIENT = """#!{python} -IS
import json, os, signal, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    signal.signal(signal.SIGTERM, lambda *_: server.sendall(b"t"))
    socket.send_fds(server, [b"x"], [0, 1, 2])
    asked = {{"python": sys.argv[0], "argv": sys.argv[1:], "cwd": os.getcwd(), "environ": dict(os.environ)}}
    server.sendall(json.dumps(asked).encode() + b"\\n")
    code = int(server.makefile().read() or 70)
if code < 0:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
sys.exit(code)
"""


def start(folder):
    """Starts the server, which ends when its standard input does.

    Args:
        folder: an empty folder, with a short path (a socket's has at most 107 bytes).

    Returns:
        (process, path of the executable).
    """
    address, executable = f"{folder}/socket", f"{folder}/python"
    with open(executable, "w", opener=lambda path, flags: os.open(path, flags, 0o755)) as file:
        file.write(CLIENT.format(python=sys.executable, address=address))
    server = subprocess.Popen(
        [sys.executable, "-W", "ignore", __file__, address], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert server.stdout.readline() == b"listens\n"
    return server, executable


def serve(address):
    """Forks for each connection; returns in the forks, with what they were asked."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen(64)
        print("listens", flush=True)
        while True:
            ready, _, _ = select.select([listener, 0], [], [])
            if 0 in ready:
                os._exit(0)
            with listener.accept()[0] as connection:
                import keras  # noqa: F401
                import tensorflow  # noqa: F401

                with contextlib.suppress(ChildProcessError):
                    while os.waitpid(-1, os.WNOHANG)[0]:
                        pass
                # What was imported is in no fork's garbage collections, which would copy its pages.
                gc.freeze()
                if not os.fork():
                    return keep(connection)


def keep(connection):
    """Waits for the script and tells how it ended; hands SIGTERM on, and kills a script whose asker is gone.
    Returns in the script's process."""
    _, streams, _, _ = socket.recv_fds(connection, 1, 3)
    asked = json.loads(connection.makefile("rb", buffering=0).readline())
    script = os.fork()
    if not script:
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        return asked
    os.closerange(0, 3)
    for stream in streams:
        os.close(stream)
    ended = os.pidfd_open(script)
    while ended not in select.select([connection, ended], [], [])[0]:
        os.kill(script, signal.SIGTERM if connection.recv(1) else signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(script, 0)[1])
    with contextlib.suppress(OSError):
        connection.sendall(str(code).encode())
    os._exit(0)


def become(python, argv, cwd, environ):
    """Runs what `python *argv` would; what that starts as `sys.executable` is warm, too."""
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environ)
    sys.executable = python
    sys.path[1:1] = filter(None, environ.get("PYTHONPATH", "").split(os.pathsep))
    kind, what, *arguments = argv
    sys.argv = [kind, *arguments]
    if kind == "-m":
        sys.path[0] = cwd
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    elif kind == "-c":
        sys.path[0] = ""
        main = sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(what, "<string>", "exec"), vars(main))
    else:
        raise ValueError(f"{argv}: expected -c CODE or -m MODULE first")


if __name__ == "__main__":
    become(**serve(sys.argv[1]))
