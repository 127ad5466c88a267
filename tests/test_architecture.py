"""Imports point one way, and the public names are those that users have typed."""

import ast
import pathlib
import re

import pytest

PROJECT = pathlib.Path(__file__).resolve().parent.parent
FORBIDDEN = {"panet_keras": {"pipeline", "serving"}, "serving": {"pipeline", "panet_keras"}}


@pytest.mark.parametrize("package", FORBIDDEN)
def test_imports_point_one_way(package):
    for file in (PROJECT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            wrong = {name.split(".")[0] for name in names} & FORBIDDEN[package]
            assert not wrong, f"{file} imports {wrong}"


def test_public_names():
    import panet_keras

    assert panet_keras.__all__ == sorted(panet_keras.__all__)
    assert {"PANet", "FewShotSegmenter", "export_saved_model", "grad_cam", "data"} <= set(panet_keras.__all__)
    assert all(hasattr(panet_keras, name) for name in panet_keras.__all__)
    assert {"load_bus_uclm", "load_folder", "episodes"} <= set(panet_keras.data.__all__)


def files_of(*packages):
    return [file for package in packages for file in sorted((PROJECT / package).rglob("*.py"))]


def test_no_private_keras():
    """What begins with keras.src may be renamed by any release."""
    packages = ("panet_keras", "pipeline", "serving", "benchmarks", "docs", "examples", "scripts")
    found = [file for file in files_of(*packages) if re.search(r"\bkeras\.src\b", file.read_text("utf-8"))]
    assert found == []


EXAMPLES = [
    file
    for file in files_of("panet_keras", "pipeline", "serving")
    if re.search(r"^ *>>> ", file.read_text("utf-8"), re.M)
]


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.relative_to(PROJECT).as_posix())
def test_docstring_examples(file):
    import doctest
    import importlib

    parts = file.relative_to(PROJECT).with_suffix("").parts
    result = doctest.testmod(importlib.import_module(".".join(parts).removesuffix(".__init__")))
    assert result.attempted and not result.failed


@pytest.mark.parametrize("command", ["pipeline", "serving", "serving.client"])
def test_help_answers_without_tensorflow(python, command):
    code = f"""
import runpy, sys
sys.argv = ["{command}", "--help"]
try:
    runpy.run_module("{command}", run_name="__main__", alter_sys=True)
except SystemExit as end:
    assert not end.code
assert "tensorflow" not in sys.modules
"""
    assert "usage" in python(code, warm=False).stdout
