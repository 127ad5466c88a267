"""What an episode is and how one trains, as frozen objects: settings alone, so that reading a configuration
starts no TensorFlow."""

from panet_keras.recipes.episode import EpisodeSpec, Layout
from panet_keras.recipes.recipe import BUS_MULTI, BUS_UCLM, Recipe

__all__ = ["BUS_MULTI", "BUS_UCLM", "EpisodeSpec", "Layout", "Recipe"]
