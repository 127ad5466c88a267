"""What a machine does to the commands: full disks, signals, streams that are closed or that nobody reads."""

import errno
import os
import pathlib
import signal
import subprocess

import PIL.Image
import pytest

from panet_keras import PANetError
from panet_keras.__main__ import main
from panet_keras.commands import trouble
from panet_keras.commands.outputs import plan_outputs
from panet_keras.files import write_whole
from tests.conftest import COLD, PROJECT


def full(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_names_the_file_and_the_old_one_stays(tmp_path, monkeypatch):
    path = tmp_path / "table.csv"
    write_whole(path, "old")
    monkeypatch.setattr(pathlib.Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left on device: .*table.csv") as caught:
        write_whole(path, "new")
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["table.csv"]
    assert "Make room, and run the same command again" in trouble.told(caught.value)


@pytest.mark.parametrize(
    ("happens", "code", "message"),
    [
        (full, 1, "No space left on device. Make room, and run the same command again"),
        (
            lambda *_, **__: os.kill(os.getpid(), signal.SIGTERM),
            143,
            "interrupted; what was written is whole",
        ),
        (lambda *_, **__: os.kill(os.getpid(), signal.SIGHUP), 129, "interrupted; what was written is whole"),
        (lambda *_, **__: os.kill(os.getpid(), signal.SIGINT), 130, "interrupted; what was written is whole"),
    ],
    ids=["full", "SIGTERM", "SIGHUP", "Ctrl-C"],
)
def test_a_command_that_is_cut_off_leaves_nothing_half(tmp_path, monkeypatch, capsys, happens, code, message):
    monkeypatch.setattr(PIL.Image.Image, "save", happens)
    # As a terminal starts it: under nohup, or behind a shell's &, these are ignored, and stay so.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    before = signal.getsignal(signal.SIGTERM)
    assert main(["phantom", str(tmp_path / "phantom")]) == code
    assert message in capsys.readouterr().err and os.listdir(tmp_path) == []
    assert signal.getsignal(signal.SIGTERM) is before


def test_what_is_told_of_an_error_and_what_is_a_fault_of_the_program():
    import tensorflow as tf

    lost = tf.errors.ResourceExhaustedError(None, None, "part-0.data; No space left on device\nstack")
    assert trouble.told(lost).startswith("part-0.data; No space left on device. Make room")
    assert trouble.told(PermissionError(13, "Permission denied", "/x")).startswith(
        "[Errno 13] Permission denied: '/x'. Name a"
    )
    assert "Take a smaller --size" in trouble.told(MemoryError())
    assert trouble.told(RuntimeError("a shape")) is trouble.told(KeyError("x")) is None


def test_outputs_where_nothing_may_be_written_are_refused_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, _: str(path) != str(tmp_path / "locked"))
    (tmp_path / "locked").mkdir()
    for out, table in (("locked/a/b", None), ("out", "locked/t.csv")):
        with pytest.raises(PANetError, match="locked may not be written; name a folder"):
            plan_outputs([], tmp_path / out, [], tables=[table and tmp_path / table])
    assert plan_outputs([], tmp_path / "out" / "deep", [], tables=[None]) == {}


def test_closed_streams_are_not_the_next_files(tmp_path):
    """Else what a library prints would be written into a mask."""
    script = (
        "import os, sys; from serving.commands.trouble import open_streams; open_streams(); file = open(sys.argv[1], 'wb');"
        "file.write(b'mask'); os.write(2, b'noise'); print('said'); print('said', file=sys.stderr); sys.stdin.read(); file.close()"
    )
    path = tmp_path / "mask.png"
    done = subprocess.run(
        [COLD, "-c", script, path], cwd=PROJECT, close_fds=True, preexec_fn=lambda: os.closerange(0, 3)
    )
    assert done.returncode == 0 and path.read_bytes() == b"mask"
