"""Learning: the model is tuned to what persons accepted, on a person's word, and stays where nothing is gained."""

import numpy as np
import pytest
import tensorflow as tf

from panet_keras import FewShotSegmenter, PANet
from panet_keras.annotate import learn, masks
from panet_keras.annotate.learn import Learner, kept
from panet_keras.annotate.model import LocalModel, Tuned
from panet_keras.errors import PANetError
from panet_keras.inference import adapt
from panet_keras.inference.leave_one_out import HeldOut
from tests.panet_keras.annotate.conftest import Brightness, square


class Tunable(Brightness):
    """As `Brightness`; tuned it is another one of that kind."""

    def __init__(self, gains=True, tuned=None):
        super().__init__()
        self.base, self.gains, self.tuned = self, gains, tuned

    def tune(self, images, lesions, progress):
        self.given = images, lesions
        progress(1, 2)
        if not self.gains:
            return self
        found = Tunable(tuned=Tuned("b", 4, 0.5, 0.75))
        found.base, found.digest = self, "tuned"
        return found

    def save(self, folder):
        folder.write_text(self.digest)
        self.base.kept = self

    def saved(self, folder):
        return self.kept


@pytest.fixture
def marked(opened, pictures, monkeypatch):
    """What `opened` gives, four lesions accepted and a normal frame confirmed."""
    monkeypatch.setattr(learn, "FEWEST", 4)
    store, _, _, frames, _ = opened
    for name, place in list(pictures[1].items())[:4]:
        frame = frames[name]
        store.stroke(
            frame, masks.encode(square((48, 64), *place)), store.version(frame), "outline", "A. Person"
        )
        store.decide(frame, "accepted", store.version(frame), "A. Person")
    store.decide(frames["a_6.png"], "normal", store.version(frames["a_6.png"]), "A. Person")
    return opened


def test_proposals_are_made_again_with_what_was_learnt(marked):
    store, _, loop, frames, events = marked
    model = Tunable()
    loop.use(model)
    loop.propose()
    while loop.work():
        pass
    before = store.proposal(frames["a_5.png"])
    learner = Learner(loop)
    learner.learn()
    images, lesions = model.given
    assert images.shape == lesions.shape == (5, 32, 32)
    assert [int(mask.any()) for mask in lesions] == [1, 1, 1, 1, 0]
    assert loop.model.digest == kept(store.output).read_text() == "tuned"
    while loop.work():
        pass
    after = store.proposal(frames["a_5.png"])
    assert (before.support, after.support) == (before.support, loop._support.key)
    assert before.support != after.support
    told = [event for event in events if event["kind"] in ("learning", "learned")]
    assert told == [
        {"kind": "learning", "learning": {"done": 1, "total": 2}},
        {"kind": "learned", "masks": 4, "before": 0.5, "after": 0.75},
    ]
    # Its own masks would praise it: the quality that is shown is of masks left out.
    assert loop.quality == [[4, 0.75]]
    # It begins anew from the model as it came, not from what was tuned.
    model.gains = False
    learner.learn()
    assert events[-1] == {"kind": "learned", "masks": 4, "before": None, "after": None}
    assert loop.model.digest == "tuned"


def test_when_nothing_can_be_learnt(marked, monkeypatch):
    _, _, loop, _, _ = marked
    learner = Learner(loop)
    assert learner.problem() is None
    learner.now = {"done": 0, "total": 0}
    assert learner.problem()[:2] == (409, "it is learning already")
    monkeypatch.setattr(learn, "FEWEST", 5)
    assert learner.problem() == (
        409,
        "4 accepted lesions are too few to learn from",
        "accept 5 or more; 20 are better",
    )
    loop.model.where = "localhost:8500"
    assert learner.problem()[0] == 501
    loop.model = None
    assert learner.problem()[0] == 503


def test_a_tuned_model_is_kept_and_found_again(model, tmp_path, monkeypatch):
    tf.config.run_functions_eagerly(True)
    try:
        base = LocalModel(FewShotSegmenter(model, size=(64, 64)), "tiny")
        rng = np.random.default_rng(0)
        images = rng.random((4, 64, 64, 3), np.float32)
        lesions = np.zeros((4, 64, 64), np.uint8)
        lesions[:, 20:40, 20:40] = 1
        other = PANet.from_config(model.get_config())
        other.set_weights([value * 0.9 for value in model.get_weights()])

        def held_out(right):
            logits = np.zeros((4, 64, 64, 2), np.float32)
            logits[:right, 20:40, 20:40, 1] = 9
            return HeldOut(logits, lesions > 0, np.ones(4, bool))

        found = adapt.Adaptation(7, 0.5, {}, held_out(4), held_out(2))
        monkeypatch.setattr(adapt, "adapt", lambda *given, **more: (other, found))
        tuned = base.tune(images, lesions)
        assert tuned.tuned == Tuned(base.digest, 4, 0.5, 1.0) and tuned.name == "tiny, tuned on 4 masks"
        folder = tmp_path / "model"
        for _ in range(2):  # the second takes the place of the first
            tuned.save(folder)
        again = base.saved(folder)
        assert again.tuned == tuned.tuned and again.base is base
        for ours, theirs in zip(again._model.get_weights(), other.get_weights()):
            np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-6)
        assert [path.name for path in tmp_path.iterdir()] == ["model"]
        # Another model goes on without it, and what is broken is said.
        assert tuned.saved(folder) is tuned and base.saved(tmp_path / "none") is base
        (folder / "preset.json").write_text("{")
        with pytest.raises(PANetError, match="Remove this folder"):
            base.saved(folder)
    finally:
        tf.config.run_functions_eagerly(False)
