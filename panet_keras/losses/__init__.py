"""Losses of an episode: cross-entropy with Dice over the query, alignment and contrast."""

from panet_keras.losses.cross_entropy_dice import CrossEntropyDice

__all__ = ["CrossEntropyDice"]
