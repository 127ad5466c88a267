"""How a model is trained: recipe, loop, checkpoints."""

from panet_keras.training.loop import train
from panet_keras.training.recipe import BUS_MULTI, BUS_UCLM, Recipe

__all__ = ["BUS_MULTI", "BUS_UCLM", "Recipe", "train"]
