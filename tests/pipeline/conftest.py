"""Processes that the pipeline starts: the InfraValidator's server, Beam's workers, kfp's stages."""

import os
import sys

import pytest


@pytest.fixture(scope="package", autouse=True)
def warm_executable():
    """They fork from one that has TensorFlow (tests/warm_python.py); `python(code, warm=False)` does not."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "executable", os.environ["WARM_PYTHON"])
        yield
