"""Few-shot segmentation of breast ultrasound with a Prototype Alignment Network, for Keras 3 on TensorFlow.

`import panet_keras` imports everything, so that `keras.models.load_model` knows the classes of a saved model.
The command lines alone do without: their `--help` and their messages do not wait for TensorFlow.
"""

import importlib
import sys
import typing

if typing.TYPE_CHECKING:
    from panet_keras import data, encoders, evaluation, presets
    from panet_keras.errors import DataError, DataWarning, ImageError, PANetError
    from panet_keras.export.saved_model import export_saved_model
    from panet_keras.grad_cam import grad_cam
    from panet_keras.inference.segmenter import FewShotSegmenter, Segmentation
    from panet_keras.losses.cross_entropy_dice import CrossEntropyDice
    from panet_keras.metrics import Dice
    from panet_keras.model import PANet
    from panet_keras.optimizers import PretrainedAdamW
    from panet_keras.recipes.recipe import Recipe
    from panet_keras.training.loop import train

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

_ROOMS = {
    "CrossEntropyDice": "losses.cross_entropy_dice",
    "DataError": "errors",
    "DataWarning": "errors",
    "Dice": "metrics",
    "FewShotSegmenter": "inference.segmenter",
    "ImageError": "errors",
    "PANet": "model",
    "PANetError": "errors",
    "PretrainedAdamW": "optimizers",
    "Recipe": "recipes.recipe",
    "Segmentation": "inference.segmenter",
    "export_saved_model": "export.saved_model",
    "grad_cam": "grad_cam",
    "train": "training.loop",
}
_COMMANDS = ("panet_keras.__main__", "pipeline.__main__")


def __getattr__(name):
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in _ROOMS:
        value = getattr(importlib.import_module(f"{__name__}.{_ROOMS[name]}"), name)
    else:
        value = importlib.import_module(f"{__name__}.{name}")
    # `grad_cam` is a file and the function in it: the import above left the file here.
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *__all__})


def _command_starts():
    """Whether this import is the beginning of one of the command lines."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    if spec is not None and spec.name in _COMMANDS:
        return True
    # While Python looks for the module that -m names, there is no such spec yet.
    words = sys.orig_argv
    return sys.argv[:1] == ["-m"] and any(pair == ("-m", __name__) for pair in zip(words, words[1:]))


if not _command_starts():
    from panet_keras.checks.keras_settings import check_keras_settings

    check_keras_settings()
    for _name in __all__:
        __getattr__(_name)
