"""How a model is trained: recipe, loop, checkpoints."""

from panet_keras.training.recipe import BUS_MULTI, BUS_UCLM, Recipe
from panet_keras.training.train import train

__all__ = ["BUS_MULTI", "BUS_UCLM", "Recipe", "train"]
