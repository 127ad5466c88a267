"""What a command does before and while TensorFlow is imported."""

import importlib
import os
import sys
import warnings

from panet_keras.checks.keras_settings import check_keras_settings

UNUSED = ("googleapiclient", "matplotlib", "pandas")
"""What TensorFlow and Keras import where it is installed and do without where it is not (none of their
requirements): Google Cloud's clusters, galleries of pictures, data frames."""


def prepare_tensorflow():
    """Keeps TensorFlow's start-up notes from the user, and picks what scores the shipped preset fastest.

    Raises:
        KerasSettingsError: Keras is set to something that this library cannot run with.
    """
    # Where TensorFlow runs already they change nothing but child processes, which would then compute
    # otherwise.
    if "tensorflow" not in sys.modules:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        # EfficientNet-Lite0 is scored up to twice as fast without oneDNN, and trained slower:
        # docs/decisions/onednn.md.
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    # A dependency of TensorFlow announces the end of Python 3.11 at every import.
    warnings.filterwarnings("ignore", category=FutureWarning, module="google")
    check_keras_settings()


def import_tensorflow():
    """Imports TensorFlow and Keras without `UNUSED`, which take a quarter of the time and serve no command.

    Who imports one of them afterwards finds it as ever.
    """
    absent = [name for name in UNUSED if name not in sys.modules]
    # Python's own way to say that a module is not there (reference, "The module cache").
    sys.modules.update(dict.fromkeys(absent))
    try:
        importlib.import_module("keras")
    finally:
        for name in absent:
            del sys.modules[name]
