"""The client's command line repeats code of panet_keras/commands, which it may not import; both must stay the
same."""

import argparse
import ast
import pathlib

import numpy as np
import pytest
from PIL import Image

from panet_keras.commands import arguments as library
from serving.commands import arguments as client
from tests.conftest import PROJECT

OWN = {"add_answers"}
"""What the client has in another way."""


def parts(file):
    """Code of a file's functions, classes and constants by name, without docstrings."""
    tree = ast.parse(file.read_text("utf-8").replace("PANetError", "ValueError"))
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and ast.get_docstring(node):
            node.body = node.body[1:] or [ast.Pass()]
    found = {}
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found[node.name] = ast.unparse(node)
        elif isinstance(node, ast.Assign):
            found[node.targets[0].id] = ast.unparse(node)
    return found


@pytest.mark.parametrize(
    "name", ["arguments", "files", "outputs", "provenance", "queries", "table", "trouble"]
)
def test_the_code_is_the_library_s(name):
    ours = parts(PROJECT / "serving" / "commands" / f"{name}.py")
    folder = PROJECT / "panet_keras" / {"files": "", "provenance": "pictures"}.get(name, "commands")
    theirs = parts(folder / f"{name}.py")
    assert ours and {part: code for part, code in ours.items() if part not in OWN} == {
        part: theirs[part] for part in ours.keys() - OWN
    }


def options(*adders):
    parser = argparse.ArgumentParser()
    for add in adders:
        add(parser)
    return {action.option_strings[0]: vars(action) for action in parser._actions}


def test_the_options_are_the_library_s():
    theirs = options(
        library.add_support, lambda parser: library.add_queries(parser, False), library.add_answers
    )
    ours = options(client.add_support, lambda parser: client.add_queries(parser, False), client.add_answers)
    assert theirs.keys() - ours.keys() == {"--adapt"} and ours.keys() <= theirs.keys()
    for name, action in ours.items():
        for key in (
            "dest",
            "nargs",
            "default",
            "metavar",
            "required",
            *([] if name == "--presence-threshold" else ["help"]),
        ):
            assert action[key] == theirs[name][key], (name, key)
    parser = argparse.ArgumentParser()
    client.add_answers(parser)
    for flag in ("--presence-threshold", "--presence_threshold"):  # the older name
        assert parser.parse_args([flag, "0.5"]).presence_threshold == 0.5
    with pytest.raises(SystemExit):
        parser.parse_args(["--presence-threshold", "1.5"])


def test_masks_of_a_picture_are_united_as_the_library_does(tmp_path):
    from panet_keras.commands.model import support_masks
    from serving.pictures import unite_masks

    images = np.zeros((2, 8, 8), np.uint8)
    images[0, :2], images[1, 6:] = 1, 255
    paths = tuple(str(tmp_path / f"b_mask_{number}.png") for number in range(2))
    for path, image in zip(paths, images):
        Image.fromarray(image).save(path)
    [expected] = support_masks(library.Support(("b.png",), (paths,)))
    np.testing.assert_array_equal(unite_masks(paths), expected)
    Image.fromarray(images[0, :4]).save(paths[0])
    messages = []
    for unite in (unite_masks, lambda paths: support_masks(library.Support(("b.png",), (paths,)))):
        with pytest.raises(ValueError, match="b_mask_0.png: 8 x 4") as caught:
            unite(paths)
        messages.append(str(caught.value))
    assert messages[0] == messages[1] and pathlib.Path(paths[0]).is_file()
