"""How a model is trained: the loop and its checkpoints; the recipes are in `panet_keras.recipes`."""

from panet_keras.recipes import BUS_MULTI, BUS_UCLM, Recipe
from panet_keras.training.loop import train
from panet_keras.training.reptile import Reptile, train_to_adapt

__all__ = ["BUS_MULTI", "BUS_UCLM", "Recipe", "Reptile", "train", "train_to_adapt"]
