"""The audit log's file: full disks, crashes, rotation by us and by others."""

import errno
import json
import logging
import os
import threading

import pytest

from pipeline.lineage.answers import read_logs
from serving.api import audit_file
from serving.api.audit_file import LineFile


@pytest.fixture
def opened(tmp_path):
    made = []

    def make(max_bytes=10_000, keep=3):
        made.append(LineFile(tmp_path / "log", max_bytes, keep))
        return made[-1]

    yield make
    for file in made:
        file.close()


def append(file, *ids):
    for one in ids:
        file.append(json.dumps({"id": one}))


def ids(path):
    return [line["id"] for line in read_logs([path])]


def test_half_a_line_spoils_no_other(opened, tmp_path):
    path = tmp_path / "log"
    path.write_text('{"id": "whole"}\n{"id": "ha')  # the server was killed
    append(opened(), "next")
    append(opened(), "after")  # opened again after a whole line
    assert ids(path) == ["whole", "next", "after"] and path.read_text().count("\n") == 4


def test_a_full_disk_is_said_once_and_its_end_too(opened, tmp_path, monkeypatch, caplog):
    file, room = opened(), []

    def write(descriptor, content):
        if not room:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write_really(descriptor, content[: room.pop()])

    write_really = os.write
    append(file, "a")
    monkeypatch.setattr(audit_file.os, "write", write)
    room[:] = [5]  # bytes: half a line
    append(file, "b", "c", "d")
    monkeypatch.setattr(audit_file.os, "write", write_really)
    append(file, "e")
    monkeypatch.setattr(audit_file.os, "write", write)
    append(file, "f")
    assert ids(tmp_path / "log") == ["a", "e"]
    said = [record.getMessage().partition(f"{tmp_path / 'log'} ")[2] for record in caplog.records]
    away = "cannot be written (No space left on device); requests are answered, and are missing there"
    assert said == [away, "is written again; 3 lines are missing", away]


@pytest.mark.parametrize("how", [os.unlink, lambda path: os.replace(path, f"{path}.1")], ids=["rm", "mv"])
def test_a_file_that_others_move_is_made_anew(opened, tmp_path, how):
    file, path = opened(), tmp_path / "log"
    append(file, "a")
    how(path)
    append(file, "b", "c")
    assert [json.loads(line)["id"] for line in path.read_text().splitlines()] == ["b", "c"]
    assert path.stat().st_mode & 0o077 == 0


def test_a_full_file_that_cannot_be_moved_grows(opened, tmp_path, monkeypatch, caplog):
    file = opened(max_bytes=30)

    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(audit_file.os, "replace", refuse)
    append(file, *"abcde")
    assert ids(tmp_path / "log") == list("abcde") and len(caplog.records) == 1
    assert "cannot be moved (Permission denied), and grows beyond 30 bytes" in caplog.text


def test_lines_of_many_threads_are_whole(opened, tmp_path, caplog):
    file = opened(max_bytes=300, keep=200)
    names = [[f"{thread}-{number:04d}" for number in range(60)] for thread in range(4)]
    threads = [threading.Thread(target=append, args=(file, *own)) for own in names]
    with caplog.at_level(logging.ERROR, "serving"):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(ids(tmp_path / "log")) == sorted(sum(names, [])) and not caplog.records
    assert max(one.stat().st_size for one in tmp_path.iterdir()) <= 300


def test_a_device_is_no_file_to_be_moved(tmp_path):
    file = LineFile("/dev/null", 1, 3)
    append(file, "a", "b")
    file.close()
    assert not list(tmp_path.iterdir())
