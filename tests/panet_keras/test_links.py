"""Folders as file systems make them: links, circles, names written in two ways."""

import os
import unicodedata

import numpy as np
import pytest
from PIL import Image

from panet_keras import DataError, PANetError
from panet_keras.commands.arguments import read_support_folder
from panet_keras.data import load_folder
from panet_keras.walk import files_under
from serving.commands.arguments import read_support_folder as client_reads


def picture(path, box=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((48, 64), np.uint8)
    pixels[8:20, 8:20] = 255 * box
    Image.fromarray(pixels).save(path)


def pair(folder, stem, composed="NFC"):
    picture(folder / f"{stem}.png")
    picture(folder / unicodedata.normalize(composed, f"{stem}_mask.png"), box=True)


def test_links_are_followed_once_and_named_where_they_lead_nowhere(tmp_path):
    data, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    pair(data / "b", "x")
    pair(elsewhere, "y")
    (data / "hospital").symlink_to(elsewhere)
    (data / "a").symlink_to(data / "b")  # what is a link has not the name
    (data / "b" / "up").symlink_to("..")
    (elsewhere / "back").symlink_to(data)
    records = load_folder(data)
    assert [record.filename for record in records] == ["b/x.png", "hospital/y.png"]
    assert all(record.decode().mask.sum() == 144 for record in records)
    (data / "z.png").symlink_to("gone.png")
    (data / ".z.png").symlink_to("gone.png")
    with pytest.raises(DataError, match=r"1 problem.*\n.*z.png: a link to gone.png, where nothing is"):
        load_folder(data)
    (tmp_path / "support").mkdir()
    pair(tmp_path / "support", "x")
    (tmp_path / "support" / "q_mask.png").symlink_to("gone.png")
    with pytest.raises(PANetError, match="q_mask.png is a link that leads nowhere"):
        read_support_folder(tmp_path / "support")


def test_a_folder_that_cannot_be_read_is_no_empty_one(tmp_path, monkeypatch):
    (tmp_path / "locked").mkdir()
    scan = os.scandir

    def refuse(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    pair(tmp_path, "x")
    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(PermissionError):
        files_under(tmp_path)
    with pytest.raises(DataError, match=r"locked: cannot be read \(Permission denied\). Let it be read"):
        load_folder(tmp_path)


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_name_is_one_however_its_accents_are_written(tmp_path, form):
    pair(tmp_path, "größe ä", form)
    assert [len(record.masks) for record in load_folder(tmp_path)] == [1]
    for reader in (read_support_folder, client_reads):
        pairs, normals = reader(tmp_path)
        assert [len(masks) for _, masks in pairs] == [1] and not normals
