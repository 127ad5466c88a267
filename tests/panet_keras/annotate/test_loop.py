"""Mark one, get the rest, correct, and the correction makes the next better: without a browser or a model."""

import numpy as np
import pytest

from panet_keras.annotate.loop import MOST_LESIONS, MOST_NORMALS, Example, Loop, choose
from panet_keras.errors import PANetError
from tests.panet_keras.annotate.conftest import Brightness, png, square

SIZE = (48, 64)


def drain(loop):
    steps = 0
    while loop.work():
        steps += 1
        assert steps < 100
    return steps


def mark(store, frame, mask, by="Ann"):
    store.stroke(frame, png(mask), store.version(frame), "brush", by)
    store.decide(frame, "accepted", store.version(frame), by)


def dice(one, other):
    return 2 * np.count_nonzero(one & other) / (np.count_nonzero(one) + np.count_nonzero(other))


def test_one_mark_proposes_the_rest_and_a_correction_changes_them(opened, pictures):
    store, _, loop, frames, events = opened
    truth = {name: square(SIZE, *place) for name, place in pictures[1].items()}
    assert drain(loop) == 0
    # A sloppy first mark, half on tissue: the proposals are no good.
    mark(store, frames["a_1.png"], square(SIZE, 4, 14))
    loop.propose(frames["a_1.png"])
    drain(loop)
    assert store.state(frames["a_2.png"]) == "proposed"
    assert store.proposal(frames["a_2.png"]).changed is None
    poor = dice(store.mask(frames["a_2.png"]), truth["a_2.png"])

    encoded = loop.model.encoded
    mark(store, frames["a_1.png"], truth["a_1.png"], "Bo")
    mark(store, frames["a_2.png"], truth["a_2.png"])
    events.clear()
    loop.changed(frames["a_2.png"])
    drain(loop)
    assert loop.model.encoded == encoded, "a correction costs the decoder alone"
    for name in ("a_3.png", "a_4.png", "a_5.png"):
        assert dice(store.mask(frames[name]), truth[name]) > 0.9 > poor
    assert store.state(frames["a_2.png"]) == "corrected"
    names = [one["name"] for one in store.made_with(frames["a_3.png"])[1]]
    assert sorted(names) == ["a_1.png", "a_2.png"]
    # The empty frame is proposed as empty.
    assert not store.mask(frames["a_6.png"]).any() and store.proposal(frames["a_6.png"]).presence < 0.5
    ended = [event for event in events if event["kind"] == "changed"]
    assert ended[0]["frames"] == 3 and 0 < ended[0]["mean"] <= 1
    # Each of two lesions is segmented with the other.
    assert loop.quality[0][0] == 1 and loop.quality[0][1] > 0.9
    assert loop.progress() == {"done": 2, "total": 6, "proposing": None}
    assert drain(loop) == 0


def test_normal_frames_support_and_set_the_threshold(opened, pictures):
    store, _, loop, frames, _ = opened
    for name in ("a_1.png", "a_2.png"):
        mark(store, frames[name], square(SIZE, *pictures[1][name]))
    store.decide(frames["a_6.png"], "normal", store.version(frames["a_6.png"]))
    loop.propose()
    drain(loop)
    assert loop.support_size() == {"lesions": 2, "normals": 1}
    assert max(loop.model.supports) == 3
    lesions, normal = 1 / (1 + np.exp(-4)), 0.0
    assert loop._current().thresholds[1] == pytest.approx((lesions + normal) / 2, abs=0.05)


def test_two_labels_each_from_its_own_supports(opened, pictures):
    store, _, loop, frames, _ = opened
    store.add_label("Cyst")
    lesion = square(SIZE, *pictures[1]["a_1.png"])
    bright = square(SIZE, 30, 40, value=2)
    mark(store, frames["a_1.png"], lesion)
    mark(store, frames["a_2.png"], bright)
    loop.propose()
    drain(loop)
    found = store.mask(frames["a_3.png"])
    truth = square(SIZE, *pictures[1]["a_3.png"])
    assert store.labels_in(frames["a_3.png"]) == [1, 2]
    assert dice(found == 1, truth > 0) > 0.9 and dice(found == 2, truth == 0) > 0.9


def test_each_label_has_a_threshold_of_its_own(opened, pictures):
    store, _, loop, frames, _ = opened
    store.add_label("Cyst")
    presences = {1: 0.9, 2: 0.6}
    # One label is seen clearly, the other faintly: with one threshold it would never be proposed.
    loop.model.fit_threshold = lambda lesions, normals: float(np.mean(lesions)) / 2
    segment = loop.model.segment
    loop.model.segment = lambda level, features: segment(level, features) * presences[1 if level < 0.5 else 2]
    for name in ("a_1.png", "a_2.png", "a_3.png"):
        mask = square(SIZE, *pictures[1][name])
        mask[30:, 50:] = 2
        mark(store, frames[name], mask)
    store.decide(frames["a_6.png"], "normal", store.version(frames["a_6.png"]))
    loop.propose()
    drain(loop)
    found = loop._current().thresholds
    assert found == pytest.approx({1: 0.9 / 2, 2: 0.6 / 2}, abs=0.03)
    assert store.proposal(frames["a_4.png"]).labels == (1, 2) and loop.quality[-1][0] == 2


def test_the_mirrored_picture_is_a_second_look_at_a_proposal(opened, pictures):
    store, _, loop, frames, _ = opened
    right = np.arange(loop.model.size[1]) >= 12
    segment = loop.model.segment
    # Blind on the left, where the lesions of the first pictures lie.
    loop.model.segment = lambda level, features: segment(level, features) * right
    mark(store, frames["a_5.png"], square(SIZE, *pictures[1]["a_5.png"]))
    loop.propose()
    assert loop.work() and {store.proposal(frames[f"a_{n}.png"]).mirrored for n in (1, 2, 3)} == {None}
    first = {name: store.proposal(frames[name]).doubt for name in ("a_1.png", "a_4.png")}
    version = store.version(frames["a_4.png"])
    drain(loop)
    seen = {name: store.proposal(frames[name]) for name in first}
    # a_1's lesion, from column 6 of 64, is found in the mirrored picture alone; a_4's, from 24, in both.
    assert seen["a_1.png"].mirrored == 1 and seen["a_4.png"].mirrored < 0.1
    for name, proposal in seen.items():
        assert proposal.doubt == pytest.approx((first[name] + proposal.mirrored) / 2, abs=1e-4)
    # It is the same proposal, also after a restart.
    assert store.version(frames["a_4.png"]) == version
    store.take(store.frames)
    assert store.proposal(frames["a_1.png"]) == seen["a_1.png"]
    assert store.made_with(frames["a_1.png"])[1][0]["name"] == "a_5.png"


def test_what_cannot_be_read_is_said_and_the_rest_goes_on(opened, pictures):
    store, _, loop, frames, events = opened
    mark(store, frames["a_1.png"], square(SIZE, *pictures[1]["a_1.png"]))
    loop.propose()
    drain(loop)
    told = [event["frame"].name for event in events if event["kind"] == "state"]
    assert told == ["broken.png"] and store.state(frames["broken.png"]) == "unreadable"
    assert all(store.state(frames[f"a_{number}.png"]) == "proposed" for number in range(2, 7))


def test_a_restart_keeps_proposals_and_features(opened, pictures):
    store, folder, loop, frames, _ = opened
    mark(store, frames["a_1.png"], square(SIZE, *pictures[1]["a_1.png"]))
    loop.propose()
    drain(loop)
    version = store.version(frames["a_2.png"])
    store._proposals.clear()
    store.take(folder.frames)
    again = Loop(store, folder)
    again.use(Brightness())
    assert store.version(frames["a_2.png"]) == version and again.wanted
    drain(again)
    assert again.model.encoded == 0 and store.version(frames["a_2.png"]) == version


def test_examples_from_elsewhere_support_before_anything_is_marked(opened, pictures, tmp_path):
    store, folder, _, frames, _ = opened
    (tmp_path / "m.png").write_bytes(png(square(SIZE, *pictures[1]["a_1.png"], value=255)))
    loop = Loop(store, folder, extra=[Example("x", str(pictures[0] / "a_1.png"), (str(tmp_path / "m.png"),))])
    loop.use(Brightness())
    loop.propose()
    drain(loop)
    assert dice(store.mask(frames["a_2.png"]), square(SIZE, *pictures[1]["a_2.png"])) > 0.9
    assert store.made_with(frames["a_2.png"])[1] == [{"id": None, "name": "x", "change": 0}]


def test_a_bounded_support_has_the_newest_and_some_of_the_old():
    found = [(number, number, [1] if number % 2 else []) for number in range(100)]
    chosen = choose(found)
    lesions = [number for number, _, labels in chosen if labels]
    assert len(lesions) == MOST_LESIONS and len(chosen) == MOST_LESIONS + MOST_NORMALS
    assert lesions[-12:] == list(range(77, 100, 2)) and lesions[0] == 1


def test_the_thread_proposes_by_itself(opened, pictures):
    """Waits for the event, not for the clock."""
    import threading

    store, _, loop, frames, _ = opened
    ended = threading.Event()
    loop.tell = lambda event: ended.set() if event["kind"] == "quality" else None
    mark(store, frames["a_1.png"], square(SIZE, *pictures[1]["a_1.png"]))
    loop.start()
    loop.propose()
    try:
        assert ended.wait(60)
        assert store.state(frames["a_2.png"]) == "proposed"
    finally:
        loop.stop()


def test_a_served_model_that_was_gone_comes_back_as_another(opened, pictures):
    """At first nobody answers; then a model does; then it stops, and another version takes its place."""
    import threading

    store, folder, _, frames, _ = opened
    events, ended = [], threading.Event()

    class Second(Brightness):
        digest = version = "2"

    class First(Brightness):
        def segment(self, level, features):
            raise PANetError("HOST:1 answered FAILED_PRECONDITION: the support state is of another model")

    answers = iter([PANetError("HOST:1 answered UNAVAILABLE"), First(), Second()])

    def load():
        answer = next(answers)
        if isinstance(answer, PANetError):
            raise answer
        return answer

    def tell(event):
        events.append((event["kind"], loop.model_error))
        if event["kind"] == "quality":
            ended.set()

    loop = Loop(store, folder, tell)
    mark(store, frames["a_1.png"], square(SIZE, *pictures[1]["a_1.png"]))
    loop.propose()
    loop.start(load, again=0.01)
    try:
        assert ended.wait(60)
    finally:
        loop.stop()
    assert store.made_with(frames["a_2.png"])[0]["digest"] == "2"
    models = [error for kind, error in events if kind == "model"]
    assert models == ["HOST:1 answered UNAVAILABLE", None, None]
    assert "error" in [kind for kind, _ in events]
