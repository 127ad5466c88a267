"""Nothing is lost, nothing is overwritten, and no other picture is touched."""

import json
import os
import signal
import subprocess
import sys
import urllib.request

import numpy as np
import pytest
from PIL import Image

from panet_keras.annotate import masks
from panet_keras.annotate.export import export
from panet_keras.annotate.folder import Folder
from panet_keras.annotate.server import open_folder
from panet_keras.annotate.store import Conflict, Recent, Store
from panet_keras.errors import PANetError
from tests.conftest import PROJECT
from tests.panet_keras.annotate.conftest import png, square

SIZE = (48, 64)
FACTS = {"model": {"name": "m", "version": "1", "digest": "d"}, "supports": [], "support": "s"}


def reopened(store, folder):
    store.close()
    again = Store(store.output)
    again.take(folder.frames)
    return again


def test_strokes_undo_redo_and_a_restart_in_between(opened):
    store, folder, _, frames, _ = opened
    frame, other = frames["a_1.png"], frames["a_2.png"]
    store.stroke(other, png(square(SIZE, 9, 9)), store.version(other), by="Bo")
    for y in (1, 2, 3):
        store.stroke(frame, png(square(SIZE, y, 5)), store.version(frame), "brush", "Ann")
    store.undo(frame, store.version(frame))
    store.undo(frame, store.version(frame))
    store = reopened(store, folder)
    assert (store.history(frame).undo, store.history(frame).redo) == (1, 2)
    assert (store.mask(frame) == square(SIZE, 1, 5)).all()
    store.redo(frame, store.version(frame))
    assert (store.mask(frame) == square(SIZE, 2, 5)).all()
    # A stroke after undo ends what could be done again.
    store.stroke(frame, png(square(SIZE, 7, 5)), store.version(frame))
    with pytest.raises(Conflict, match="nothing to redo"):
        store.redo(frame, store.version(frame))
    for _ in range(3):
        store.undo(frame, store.version(frame))
    assert store.state(frame) == "unseen" and not store.mask(frame).any()
    assert store.state(other) == "draft" and (store.mask(other) == square(SIZE, 9, 9)).all()
    store.close()


def test_states_masks_folder_and_provenance(opened):
    store, folder, _, frames, _ = opened
    frame = frames["a_1.png"]
    published = store.output / "masks" / "a_1_mask.png"

    def decide(state):
        store.decide(frame, state, store.version(frame), "Ann")
        return store.state(frame)

    with pytest.raises(Conflict, match="empty"):
        decide("accepted")
    store.propose(frame, square(SIZE, 4, 6), 0.9, 0.2, **FACTS)
    assert decide("corrected") == "accepted"
    told = json.loads(published.with_suffix(".json").read_text())
    assert (told["changed_pixels"], told["person"], told["model"]) == (0, "Ann", FACTS["model"])
    assert (masks.decode(published.read_bytes()) == square(SIZE, 4, 6)).all()
    store.stroke(frame, png(square(SIZE, 4, 7)), store.version(frame), by="Ann")
    assert store.state(frame) == "draft" and not published.exists()
    assert decide("accepted") == "corrected"
    # A column of 16 pixels on either side.
    assert json.loads(published.with_suffix(".json").read_text())["changed_pixels"] == 32
    assert decide("normal") == "normal"
    assert not masks.decode(published.read_bytes()).any()
    store.undo(frame, store.version(frame))
    assert store.state(frame) == "corrected" and masks.decode(published.read_bytes()).sum() == 256
    assert decide("rejected") == "rejected" and not published.exists()
    assert decide("unseen") == "proposed" and (store.mask(frame) == square(SIZE, 4, 6)).all()


def test_a_person_conflicts_with_a_person_and_never_with_a_proposal(opened):
    store, _, _, frames, _ = opened
    frame = frames["a_1.png"]
    seen = store.version(frame)
    store.propose(frame, square(SIZE, 4, 6), 0.9, 0.2, **FACTS)
    first = store.version(frame)
    newer = store.propose(frame, square(SIZE, 8, 6), 0.9, 0.2, **FACTS)
    # 16 x 4 pixels on either side, of 16 x 20 together.
    assert newer.changed == pytest.approx(128 / 320, abs=1e-4)
    assert len({seen, first, store.version(frame)}) == 3
    store.decide(frame, "accepted", first)
    assert (store.mask(frame) == square(SIZE, 4, 6)).all()
    with pytest.raises(Conflict, match="changed a_1.png since"):
        store.stroke(frame, png(square(SIZE, 1, 1)), first, by="Bo")
    assert (store.mask(frame) == square(SIZE, 4, 6)).all()
    assert store.propose(frame, square(SIZE, 1, 1), 0.9, 0.2, **FACTS) is None


def test_of_thousands_of_proposals_those_seen_last_can_be_accepted(opened):
    store, _, _, frames, _ = opened
    frame, other = frames["a_1.png"], frames["a_2.png"]
    store.propose(frame, square(SIZE, 4, 6), 0.9, 0.2, **FACTS)
    store.propose(other, square(SIZE, 4, 6), 0.9, 0.2, **FACTS)
    old = store.version(frame)
    # Room for one alone.
    store._seen_pngs = Recent(len(store.proposal_png(other)))
    store.propose(frame, square(SIZE, 8, 6), 0.9, 0.2, **FACTS)
    assert (masks.decode(store.mask_png(frame, old)[0]) == square(SIZE, 4, 6)).all()
    store.mask_png(other)
    content, version = store.mask_png(frame, old)
    assert version == store.version(frame) and (masks.decode(content) == square(SIZE, 8, 6)).all()
    with pytest.raises(Conflict, match="the proposal of a_1.png is a newer one"):
        store.decide(frame, "accepted", old)
    assert store.pending() == {
        one.id: "s" if one in (frame, other) else None for one in frames.values() if not one.error
    }
    store.decide(frame, "accepted", version)
    assert (store.mask(frame) == square(SIZE, 8, 6)).all() and store.count_done() == 1
    assert [(one.name, labels) for one, _, labels in store.supports()] == [("a_1.png", (1,))]


def test_what_was_corrected_is_the_proposal_that_was_drawn_on(opened):
    store, _, _, frames, _ = opened
    frame = frames["a_1.png"]
    store.propose(
        frame, square(SIZE, 4, 6), 0.9, 0.2, **FACTS | {"supports": [{"id": "x", "name": "old", "change": 1}]}
    )
    seen = store.version(frame)
    store.propose(frame, square(SIZE, 20, 30), 0.9, 0.2, **FACTS)
    newer = store.version(frame)
    store.stroke(frame, png(square(SIZE, 4, 7)), seen)
    store.decide(frame, "accepted", store.version(frame))
    told = json.loads((store.output / "masks" / "a_1_mask.json").read_text())
    # A column of 16 pixels on either side; against the newer one it would be 512.
    assert told["changed_pixels"] == 32 and told["supports"][0]["name"] == "old"
    assert (masks.decode(store.proposal_png(frame)) == square(SIZE, 4, 6)).all()
    # No version ever names two masks.
    store.undo(frame, store.version(frame))
    store.undo(frame, store.version(frame))
    store.propose(frame, square(SIZE, 8, 6), 0.9, 0.2, **FACTS)
    assert store.proposal(frame).number == 4 and store.version(frame) not in (seen, newer)


def test_labels_stay_those_of_the_folder(tmp_path):
    def labels(*names):
        store = Store(tmp_path / "out", names)
        store.close()
        return store.labels

    assert labels("Benign", " Benign ", "Malignant") == labels() == ["Benign", "Malignant"]
    assert labels("Cyst") == ["Benign", "Malignant", "Cyst"]
    with pytest.raises(PANetError, match="--labels ' '"):
        Store(tmp_path / "other", (" ",))
    assert not (tmp_path / "other").exists()


def test_pictures_that_were_renamed_replaced_or_are_another_folders(tmp_path):
    folder, lines = tmp_path / "pictures", []
    folder.mkdir()
    # Three names that end as one mask, x.png_mask.png, if their endings were only put behind where two clash.
    for name in ("x.png", "x.jpg", "x.png.bmp", "y.png", "z.png"):
        Image.fromarray(np.zeros(SIZE, np.uint8)).save(folder / name)

    def opened(folder):
        lines.clear()
        store, found, _ = open_folder(folder, tmp_path / "out", say=lines.append)
        return store, {frame.name: frame for frame in found.frames.values()}

    store, frames = opened(folder)
    for name, frame in frames.items():
        store.stroke(frame, png(square(SIZE, 1, 5 + len(name))), store.version(frame))
        store.decide(frame, "accepted", store.version(frame))
    assert len(list((tmp_path / "out" / "masks").rglob("*.png"))) == 5
    store.close()
    (folder / "y.png").rename(folder / "renamed.png")
    Image.fromarray(np.zeros((48, 65), np.uint8)).save(folder / "z.png")
    moved = folder.rename(tmp_path / "moved")
    store, frames = opened(moved)
    assert f"of the pictures in {folder.resolve()}" in lines[1]
    assert lines[2].startswith("1 pictures that were worked on are not in") and "(y.png)" in lines[2]
    assert store.state(frames["z.png"]) == "unreadable" and "65 x 48" in frames["z.png"].error
    assert [one["name"] for one in export(store, ["png"])[2]] == ["z.png"]
    store.close()
    Image.fromarray(np.zeros(SIZE, np.uint8)).save(moved / "z.png")
    store, frames = opened(moved)
    assert store.state(frames["z.png"]) == "corrected" and len(lines) == 2
    store.close()


@pytest.mark.parametrize(
    "content, status",
    [
        (b"x" * 99, 415),
        (png(np.zeros((48, 64, 3), np.uint8)), 415),
        (png(np.zeros((64, 48), np.uint8)), 400),
        (png(np.full(SIZE, 2, np.uint8)), 400),
        (png(square(SIZE, 1, 1))[:-30], 415),
    ],
    ids=["no picture", "colours", "another size", "unknown label", "cut off"],
)
def test_what_is_no_mask_changes_nothing(opened, content, status):
    store, _, _, frames, _ = opened
    frame = frames["a_1.png"]
    with pytest.raises(masks.MaskError) as caught:
        store.stroke(frame, content, store.version(frame))
    assert caught.value.status == status and store.state(frame) == "unseen"


def test_a_line_cut_off_by_a_kill_is_forgotten(opened):
    store, folder, _, frames, _ = opened
    frame = frames["a_1.png"]
    store.stroke(frame, png(square(SIZE, 1, 5)), store.version(frame))
    with open(store.output / "journal.jsonl", "ab") as file:
        file.write(b'{"frame": "')
    store = reopened(store, folder)
    store.stroke(frame, png(square(SIZE, 2, 5)), store.version(frame))
    store = reopened(store, folder)
    assert store.history(frame).undo == 2 and (store.mask(frame) == square(SIZE, 2, 5)).all()
    store.close()


def test_what_a_full_disk_refused_does_not_come_back(opened, monkeypatch):
    """A stroke of which the person was told that it is not saved, drawn again."""
    store, folder, _, frames, _ = opened
    frame = frames["a_1.png"]
    store.stroke(frame, png(square(SIZE, 1, 5)), store.version(frame))
    file = store._journal._file

    class Full:
        def write(self, content):
            if len(content) < 9:
                raise OSError(28, "No space left on device")
            return file.write(content[:-8])

        def __getattr__(self, name):
            return getattr(file, name)

    monkeypatch.setattr(store._journal, "_file", Full())
    with pytest.raises(OSError, match="No space left on device: .*journal.jsonl"):
        store.stroke(frame, png(square(SIZE, 2, 5)), store.version(frame))
    monkeypatch.undo()
    store.stroke(frame, png(square(SIZE, 3, 5)), store.version(frame))
    store = reopened(store, folder)
    assert store.history(frame).undo == 2 and (store.mask(frame) == square(SIZE, 3, 5)).all()
    store.undo(frame, store.version(frame))
    assert (store.mask(frame) == square(SIZE, 1, 5)).all()
    store.close()


def test_refused_folders(opened, pictures):
    store, *_ = opened
    with pytest.raises(PANetError, match=f"process {os.getpid()} on "):
        Store(store.output)
    with pytest.raises(PANetError, match="something else in it"):
        Store(pictures[0])
    with pytest.raises(PANetError, match="--patient"):
        Folder(pictures[0], patient="(")


def test_kill_9_while_somebody_draws(pictures, tmp_path):
    """The real command, killed between two strokes; the page goes on with the same link."""
    command = [sys.executable, "-m", "panet_keras", "annotate", pictures[0], "--output", tmp_path / "out"]
    command += ["--model", "none", "--no-browser", "--port", "0"]

    def start():
        server = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True)
        for line in server.stdout:
            if line.startswith("Open "):
                base, _, token = line.split()[1].partition("/#token=")
                return server, base, token
        raise AssertionError("no link")

    def ask(method, path, body=None, **headers):
        request = urllib.request.Request(
            base + path, body, {"X-Annotate-Token": token, **headers}, method=method
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    server, base, token = start()
    try:
        frame = ask("GET", "/api/folder")["frames"][0]
        place, version = f"/api/frames/{frame['id']}", frame["version"]
        for y in (1, 2, 3):
            sent = {"If-Match": version, "Content-Type": "image/png"}
            version = ask("PUT", f"{place}/mask?stroke=brush", png(square(SIZE, y, 5)), **sent)["version"]
        known = token
        server.send_signal(signal.SIGKILL)
        server.wait(30)
        server, base, token = start()
        assert token == known
        found = ask("GET", place)
        assert (found["state"], found["undo"], found["version"]) == ("draft", 3, version)
        back = ask("POST", f"{place}/undo", b"{}", **{"If-Match": version})
        assert (back["undo"], back["redo"]) == (2, 1)
    finally:
        server.kill()
        server.wait(30)
