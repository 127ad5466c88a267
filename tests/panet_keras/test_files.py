"""Files and folders that are whole or not there."""

import os

import pytest

from panet_keras.files import build_beside, open_whole


def test_a_folder_appears_when_it_is_whole_and_not_before(tmp_path):
    target = tmp_path / "deep" / "model"
    with build_beside(target) as building:
        (building / "weights").write_text("w")
        assert not target.exists() and building.parent == target.parent and building.name.startswith(".")
    assert (target / "weights").read_text() == "w" and os.stat(target).st_mode & 0o777 == 0o755
    with pytest.raises(KeyboardInterrupt):
        with build_beside(tmp_path / "deep" / "other") as building:
            (building / "half").write_text("h")
            raise KeyboardInterrupt
    with pytest.raises(FileExistsError, match="is there already"):
        with build_beside(target) as building:
            (building / "weights").write_text("another's")
    assert (target / "weights").read_text() == "w" and os.listdir(tmp_path / "deep") == ["model"]


def test_a_long_file_appears_when_it_is_whole_and_not_before(tmp_path):
    target = tmp_path / "rows.csv"
    with open_whole(target) as stream:
        stream.write("ä\n")
        assert not target.exists()
    assert target.read_bytes() == "ä\n".encode()
    with pytest.raises(KeyboardInterrupt):
        with open_whole(target) as stream:
            stream.write("half")
            raise KeyboardInterrupt
    assert target.read_bytes() == "ä\n".encode() and os.listdir(tmp_path) == ["rows.csv"]
