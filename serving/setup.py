"""Finds the modules of the client's wheel: client.py and what it imports relatively, so that no list of them
can grow stale."""

import ast
import pathlib

from setuptools import setup

FOLDER = pathlib.Path(__file__).resolve().parent


def reached(module, found):
    """Adds a module, such as ("protos", "wire_pb2"), its package and whatever both import relatively to a
    set."""
    file = FOLDER.joinpath(*module).with_suffix(".py")
    if module in found or not file.is_file():
        return found
    found.add(module)
    reached((*module[:-1], "__init__"), found)
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            package = module[: len(module) - node.level] + tuple(
                (node.module or "").split(".") if node.module else ()
            )
            for alias in node.names:
                # What is imported from a package may be a module of it.
                reached((*package, alias.name), found)
            reached(package or ("__init__",), found)
            reached((*package, "__init__"), found)
    return found


setup(py_modules=[".".join(("panet_client", *module)) for module in sorted(reached(("client",), set()))])
