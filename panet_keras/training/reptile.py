"""After the training: weights from which `adapt` goes far with a few frames (first-order meta-learning)."""

import dataclasses
import pathlib
import tempfile
import types

import numpy as np

from panet_keras.data.episodic.dataset import load_at_size
from panet_keras.data.episodic.scanner import Scanner
from panet_keras.data.episodic.superpixels import superpixels
from panet_keras.errors import PANetError
from panet_keras.export.saved_model import fingerprint
from panet_keras.inference.adapt import Tuner
from panet_keras.pictures.resize import two_sides
from panet_keras.training import checkpoints

REGIONS = 6
"""Frames of a round whose superpixels are found."""
OF_A_PATIENT = 2
"""Lesions of one patient in a round, at most."""
KEPT = 10
"""Rounds between two checkpoints."""


@dataclasses.dataclass(frozen=True)
class Reptile:
    """How long, and how far in each round.

    Attributes:
        rounds: of fine-tuning. steps: optimizer steps of each. learning_rate: peak, as of `adapt`.
        lesions, normals: frames of a round, at most.
        first, last: share of the way to a round's weights that the model goes, in the first and after the last; it
            falls along a line.
        kept: share of the way from the weights that the model came with to those after the last round that it goes in the
            end; half way keeps what it knew of frames without lesion (docs/decisions/hospitals.md).
        scanner: what a round's frames are seen through.
        seed: of everything drawn.
    """

    rounds: int = 45
    steps: int = 40
    learning_rate: float = 5e-4
    lesions: int = 12
    normals: int = 6
    first: float = 0.55
    last: float = 0.05
    kept: float = 0.5
    scanner: Scanner = Scanner()
    seed: int = 0

    def __post_init__(self):
        for name in ("rounds", "steps", "lesions"):
            if getattr(self, name) < 1:
                raise PANetError(f"{name}={getattr(self, name)!r}; expected an integer of at least 1.")


def train_to_adapt(model, records, size, settings=None, work_dir=None, progress=None):
    """Goes on with a trained model so that a few frames of a scanner teach it more (Reptile: Nichol, Achiam and Schulman
    2018, arXiv 1803.02999, algorithm 1).

    Each round is a scanner that nobody has seen: frames of one hospital, through a made-up `Scanner`. A copy is
    fine-tuned on them as `adapt` does it, but that a quarter of the episodes are of superpixels, and the model's weights
    go a part of the way to the copy's.

    Args:
        model: `PANet`; its weights are changed. records: of `Record`; `source` is the hospital. size: (height, width) of
            the model, or one number for a square. settings: `Reptile`; its defaults without it.
        work_dir: folder for checkpoints, of this run alone; called again with it, it goes on. A temporary one without it.
        progress: function of (rounds done, rounds in all).

    Returns:
        The model.

    Raises:
        PANetError: a hospital without lesions, or a `work_dir` with the checkpoint of another model, other records or
            settings.
    """
    records, size, settings = list(records), two_sides(size), settings or Reptile()
    if work_dir is None:
        with tempfile.TemporaryDirectory() as folder:
            return train_to_adapt(model, records, size, settings, folder, progress)
    work_dir = pathlib.Path(work_dir)
    work_dir.mkdir(parents=True, exist_ok=True)
    start = fingerprint(model)
    checkpoints.claim(work_dir, records, types.SimpleNamespace(**vars(settings), start=start, size=size))
    came = model.get_weights()
    done, weights = checkpoints.newest(work_dir)
    if weights:
        model.load_weights(weights)
    at = model.get_weights()
    hospitals = _hospitals(records, size)
    tuner = None
    for number in range(done, settings.rounds):
        rng = np.random.default_rng([settings.seed, number])
        images, masks = _frames(hospitals[rng.integers(len(hospitals))], settings, rng)
        if tuner is None:
            tuner = Tuner(model, images, masks, settings.learning_rate, settings.seed, lambda: None)
        tuner.images, tuner.masks, tuner.start = images, masks, at
        tuner.regions = _regions(images, rng)
        tuner.run(np.ones(len(masks), bool), settings.steps, number)
        share = settings.last + (settings.first - settings.last) * (1 - number / settings.rounds)
        at = [here + share * (there - here) for here, there in zip(at, tuner.tuned)]
        if (number + 1) % KEPT == 0 or number + 1 == settings.rounds:
            model.set_weights(at)
            checkpoints.keep(work_dir, model, number + 1)
        if progress:
            progress(number + 1, settings.rounds)
    model.set_weights([here + settings.kept * (there - here) for here, there in zip(came, at)])
    return model


def _hospitals(records, size):
    """List of (images uint8 [F, H, W, 3], masks uint8 [F, H, W], patients [F]), one for each source."""
    found = []
    for source in sorted({record.source for record in records}):
        own = [record for record in records if record.source == source]
        images, masks = load_at_size(own, size)
        masks, patients = (masks > 0).astype(np.uint8), np.array([record.patient for record in own])
        if not masks.any():
            raise PANetError(f"source {source!r} has no lesion; expected at least one. Leave it out.")
        found.append((images, masks, patients))
    return found


def _frames(hospital, settings, rng):
    """Frames of a round: lesions of as many patients as may be, and normal frames where there are any."""
    images, masks, patients = hospital
    lesion, chosen = masks.any((1, 2)), []
    for patient in rng.permutation(np.unique(patients[lesion])):
        chosen += list(rng.permutation(np.flatnonzero(lesion & (patients == patient)))[:OF_A_PATIENT])
        if len(chosen) >= settings.lesions:
            break
    chosen = [*chosen[: settings.lesions], *rng.permutation(np.flatnonzero(~lesion))[: settings.normals]]
    return settings.scanner(images[chosen].astype(np.float32) / 255, masks[chosen], rng)


def _regions(images, rng):
    """uint8 [F, H, W]: superpixels of some of the frames, 0 of the others."""
    regions = np.zeros(images.shape[:3], np.uint8)
    for frame in rng.permutation(len(images))[:REGIONS]:
        regions[frame] = superpixels(np.round(images[frame] * 255).astype(np.uint8))
    return regions
