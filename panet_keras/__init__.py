"""Few-shot segmentation of breast ultrasound with a Prototype Alignment Network, for Keras 3 on TensorFlow."""

from panet_keras import data, encoders, evaluation, presets
from panet_keras.errors import DataError, DataWarning, ImageError, PANetError
from panet_keras.export.saved_model import export_saved_model
from panet_keras.grad_cam import grad_cam
from panet_keras.inference.segmenter import FewShotSegmenter, Segmentation
from panet_keras.losses.cross_entropy_dice import CrossEntropyDice
from panet_keras.metrics import Dice
from panet_keras.model import PANet
from panet_keras.optimizers import PretrainedAdamW
from panet_keras.training import Recipe, train

__all__ = [
    "CrossEntropyDice",
    "DataError",
    "DataWarning",
    "Dice",
    "FewShotSegmenter",
    "ImageError",
    "PANet",
    "PANetError",
    "PretrainedAdamW",
    "Recipe",
    "Segmentation",
    "data",
    "encoders",
    "evaluation",
    "export_saved_model",
    "grad_cam",
    "presets",
    "train",
]
