"""Masks in the formats that other tools read."""

from panet_keras.writers.annotation import Annotation

__all__ = ["Annotation"]
