"""A recipe: all that decides how a model is trained, as one frozen object that can be printed, changed and
written down."""

import ast
import dataclasses
import pathlib
import typing

from panet_keras.errors import PANetError
from panet_keras.recipes.episode import EpisodeSpec, Layout


def model_switches():
    """Names that `Recipe.model` may have: arguments of `PANet` and of the heads that have a short name.

    Read off the source, for a configuration is checked before TensorFlow starts.
    """
    package = pathlib.Path(__file__).parent.parent
    files = [package / "model.py", *sorted((package / "heads").glob("*_head.py"))]
    classes = [
        node
        for file in files
        for node in ast.parse(file.read_text("utf-8")).body
        if isinstance(node, ast.ClassDef)
    ]
    methods = [
        node
        for kind in classes
        for node in kind.body
        if isinstance(node, ast.FunctionDef) and node.name == "__init__"
    ]
    return list(
        dict.fromkeys(
            argument.arg for method in methods for argument in method.args.args if argument.arg != "self"
        )
    )


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How one trains; `panet_keras.train(records, recipe)` does it.

    Change one with `dataclasses.replace(recipe, steps=300)`, or `recipe.change(steps=300, shots=5,
    refine=True)`, which finds the field.

    Attributes:
        model: arguments of `PANet` that differ from its own, such as `{"encoder": "efficientnet_lite0",
            "decoder": "unet"}`.
        episodes: what an episode is.
        batch_size: B, episodes of a step.
        layouts: how steps are made up where that changes from step to step; replaces `batch_size`, and the
            episodes' `shots` and `normals`.
        steps: optimizer steps in all.
        steps_per_epoch: steps between two points of the training curve (and checkpoints).
        learning_rate: peak, of `PretrainedAdamW`; it falls along a cosine to a hundredth.
        warmup: share of the steps, 0 to 1, in which the rate rises from a twentieth of the peak.
        weight_decay, clipnorm: of `PretrainedAdamW`.
        superpixels_last: share of superpixel episodes in the last epoch, as a part of the first's: regions
            first, lesions last, as the learning rate falls, for what is learned last is what is asked for.
            Where `episodes.superpixel_episodes` is one number.
        loss: arguments of `CrossEntropyDice` that differ from its own.
        frozen_episodes: whether every epoch repeats the first's episodes (the failed attempt's fixed
            batches).
        start_from: a preset's name or folder whose weights are taken where the model has the same; empty:
            none.
        seed: of weights, episodes and augmentation.

    Raises:
        PANetError: a value outside these ranges; names it.
    """

    model: dict[str, typing.Any] = dataclasses.field(
        default_factory=lambda: {"encoder": "efficientnet_lite0", "decoder": "unet"},
        metadata={"keys": model_switches},
    )
    episodes: EpisodeSpec = EpisodeSpec(
        normal_queries=0.1, pasted_lesions=0.3, invented_lesions=0.15, balanced=True, augment=True
    )
    batch_size: int = 4
    layouts: tuple[Layout, ...] = ()
    steps: int = 1000
    steps_per_epoch: int = 100
    learning_rate: float = 1e-3
    warmup: float = 0.05
    weight_decay: float = 1e-4
    clipnorm: float = 1.0
    superpixels_last: float = 0.1
    loss: dict[str, typing.Any] = dataclasses.field(default_factory=dict)
    frozen_episodes: bool = False
    start_from: str = ""
    seed: int = 0

    def __post_init__(self):
        for name in ("batch_size", "steps", "steps_per_epoch"):
            if getattr(self, name) < 1:
                raise PANetError(f"{name}={getattr(self, name)!r}; expected an integer of at least 1.")
        for name in ("learning_rate", "clipnorm"):
            if not getattr(self, name) > 0:
                raise PANetError(f"{name}={getattr(self, name)!r}; expected a number above 0.")
        for name in ("warmup", "superpixels_last"):
            if not 0 <= getattr(self, name) <= 1:
                raise PANetError(f"{name}={getattr(self, name)!r}; expected a share from 0 to 1.")

    def change(self, **changes):
        """A recipe that differs in some fields, of its own, of `episodes`, or else arguments of `PANet`."""
        own, episode = ({field.name for field in dataclasses.fields(kind)} for kind in (Recipe, EpisodeSpec))
        groups = [{}, {}, {}]
        for name, value in changes.items():
            groups[0 if name in own else 1 if name in episode else 2][name] = value
        recipe = dataclasses.replace(self, **groups[0])
        return dataclasses.replace(
            recipe,
            episodes=dataclasses.replace(recipe.episodes, **groups[1]),
            model={**recipe.model, **groups[2]},
        )

    def as_dict(self):
        """Plain values, for JSON and YAML; `from_dict` reads them."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values):
        """A recipe from `as_dict`, of this or an earlier version: what is not there has its default.

        Raises:
            TypeError: a field that no version has.
        """
        episodes = EpisodeSpec(**values.get("episodes", {}))
        layouts = tuple(Layout(**layout) for layout in values.get("layouts", ()))
        return cls(**{**values, "episodes": episodes, "layouts": layouts})

    def for_data(self, records):
        """The recipe without what needs frames that these records do not have: nothing is planted where no
        frame is without lesion.

        Args:
            records: of `Record`.
        """
        if self.episodes.mirrored_normals or any(record.label == "Normal" for record in records):
            return self
        return self.change(pasted_lesions=0.0, invented_lesions=0.0)

    def check(self):
        """Refuses a model that cannot be built, before anything is read or trained.

        Raises:
            ValueError: an unknown encoder, head or switch; names the known ones.
        """
        if self.model in (Recipe().model, BUS_UCLM.model, BUS_MULTI.model):
            return  # known to be right, and TensorFlow need not start for it
        from panet_keras import PANet

        PANet(**{**self.model, "weights": None})

    @property
    def epochs(self):
        """Number of epochs; the last one may go a little beyond `steps`."""
        return -(-self.steps // self.epoch_steps)

    @property
    def epoch_steps(self):
        """Steps of one epoch."""
        return min(self.steps_per_epoch, self.steps)

    @property
    def superpixel_shares(self):
        """Share of superpixel episodes in each epoch."""
        shares = self.episodes.superpixel_episodes
        if len(shares) > 1:
            return shares
        last = max(1, self.epochs - 1)
        return tuple(
            shares[0] * (1 - (1 - self.superpixels_last) * epoch / last) for epoch in range(self.epochs)
        )


BUS_UCLM = Recipe(
    model={"encoder": "efficientnet_lite0", "decoder": "unet", "contrast_elsewhere": False}
).change(steps=1800, superpixel_episodes=0.4)
"""Of the preset `bus_uclm_lite0` and of the README's table of BUS-UCLM."""

BUS_MULTI = BUS_UCLM.change(
    normal_evidence=True,
    # A slow encoder forgets less of what it knew: other organs and scanners profit (docs/decisions/hospitals.md).
    encoder_rate=0.1,
    layouts=(Layout(4, 1, 0, 0.35), Layout(3, 1, 1, 0.25), Layout(2, 3, 1, 0.2), Layout(2, 2, 2, 0.2)),
    steps=4000,
    superpixel_episodes=0.3,
    superpixels_last=0.15,
    normal_queries=0.2,
    mirrored_normals=True,
    pasted_lesions=0.2,
    invented_lesions=0.12,
    loss={"presence_weight": 0.2},
)
"""Of the preset `bus_multi_lite0`: several hospitals, several shots, normal frames among the support."""
