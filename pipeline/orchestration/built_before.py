"""Models that were built before with this code, so that a run from the cache need not start TensorFlow to see that
they can be.

ROOT/.built.json    digests of a recipe's model with the code and the packages that built it, newest last
"""

import contextlib
import hashlib
import json
import pathlib

from panet_keras.files import write_whole
from pipeline.orchestration.cache import library_digest, versions

FILE = ".built.json"
MOST = 50
"""Digests that are kept."""


def check(recipe, root):
    """`Recipe.check`, once for a model and a code.

    Args:
        recipe: `panet_keras.recipes.Recipe`. root: `run.root`.

    Raises:
        ValueError: as `Recipe.check`.
    """
    file = pathlib.Path(root) / FILE
    facts = json.dumps([recipe.model, library_digest(), versions()], sort_keys=True, default=list)
    digest, known = hashlib.sha256(facts.encode()).hexdigest(), _read(file)
    if digest in known:
        return
    recipe.check()
    with contextlib.suppress(OSError):  # the runner says what is wrong with its root
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, json.dumps([*known, digest][-MOST:], indent=1))


def _read(file):
    try:
        found = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return []
    return found if isinstance(found, list) else []
