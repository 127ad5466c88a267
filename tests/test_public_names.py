"""The packages that bring a name's file when it is asked for say each name three times: to type checkers, to Python
and to `import *`."""

import ast

import pytest

from tests.conftest import PROJECT


@pytest.mark.parametrize("package", ["panet_keras", "panet_keras/data"])
def test_the_three_lists_of_names_are_one(package):
    tree = ast.parse((PROJECT / package / "__init__.py").read_text("utf-8"))
    [typed] = [
        node for node in tree.body if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
    ]
    values = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and node.targets[0].id in ("__all__", "_ROOMS", "_FILES")
    }
    public, files = values.pop("__all__"), values.popitem()[1]
    imported = {alias.name: node.module for node in typed.body for alias in node.names}
    assert sorted(imported) == public == sorted(set(public))
    # What lies in the package itself is a room, not a name from a file.
    rooms = {name for name, module in imported.items() if module == "panet_keras"}
    assert {name: f"panet_keras.{place}" for name, place in files.items()} == {
        name: module for name, module in imported.items() if name not in rooms
    }
