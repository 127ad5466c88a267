"""Trained weights small enough to ship: a folder each, with `preset.json` and `weights.npz` (half
precision)."""

import collections
import json
import pathlib
import re

import numpy as np

from panet_keras import encoders
from panet_keras.errors import PANetError
from panet_keras.files import build_beside

FOLDER = pathlib.Path(__file__).parent
DEFAULT = "bus_multi_lite0"
"""What is used where a person names no model."""


def names():
    """Names of the presets."""
    return sorted(file.parent.name for file in FOLDER.glob("*/preset.json"))


def read(name):
    """What a preset says of itself.

    Args:
        name: one of `names()`, or a folder written by `write`.

    Returns:
        (dictionary with `model` (arguments of `PANet`), `size`, `presence_threshold` and `about`; folder).

    Raises:
        PANetError: unknown; lists the known ones.
    """
    folder = FOLDER / str(name) if str(name) in names() else pathlib.Path(name)
    file = folder / "preset.json"
    if not file.is_file():
        if (folder / "saved_model.pb").is_file():
            raise PANetError(
                f"{folder} is a SavedModel, which a server takes; expected the preset or the .keras file that it was exported "
                "from (of a pipeline run: Format-Keras/panet.keras of its Trainer)."
            )
        raise PANetError(
            f"preset {str(name)!r} is unknown; expected one of {names()}, or a folder with a preset.json."
        )
    return json.loads(file.read_text("utf-8")), folder


def load(cls, name):
    """Builds a `PANet` (class `cls`) with a preset's weights; nothing is downloaded.

    Raises:
        PANetError: an unknown preset, or weights that do not fit the model.
    """
    preset, folder = read(name)
    # In which precision one computes is the reader's to say (`keras.config.set_dtype_policy`).
    config = {name: value for name, value in preset["model"].items() if name != "dtype"}
    model = cls.from_config({**config, "weights": None})
    stored, wanted = _weights(folder), _named(model)
    if set(stored) != set(wanted):
        stored, wanted = _without_numbers(stored), _without_numbers(wanted)
    wrong = {
        path
        for path, variable in wanted.items()
        if path not in stored or stored[path].shape != tuple(variable.shape)
    }
    if wrong or set(stored) - set(wanted):
        raise PANetError(
            f"{folder / 'weights.npz'}: {len(wrong)} variables of the model are missing or of another shape "
            f"({sorted(wrong)[:3]} ...), {len(set(stored) - set(wanted))} are too many. Take weights and preset.json of one version."
        )
    for path, variable in wanted.items():
        variable.assign(stored[path].astype(np.float32))
    encoders.finalize(model.encoder)
    return model


def transfer(model, name):
    """Gives a model a preset's weights to begin from; where it reads more evidence than the preset did, that
    begins at zero.

    Args:
        model: `PANet` of the preset's encoder. name: as for `read`.

    Raises:
        PANetError: an unknown preset, or weights of another model.
    """
    _, folder = read(name)
    stored = _weights(folder)
    for path, variable in _named(model).items():
        value = stored.get(path)
        if value is None or value.ndim != len(variable.shape):
            raise PANetError(
                f"{folder / 'weights.npz'}: no weights for {path}; expected a preset of the same encoder and head."
            )
        if value.shape != tuple(variable.shape):
            kernel, value = value, model.decoder.widened(value, tuple(variable.shape))
            if value is None:
                raise PANetError(
                    f"start_from: {path} has shape {kernel.shape}; the model needs {tuple(variable.shape)}."
                )
        variable.assign(value.astype(np.float32))
    encoders.finalize(model.encoder)


def _named(model):
    """Each variable by its path; by a number behind it, too, where layers of one name are parts of several."""
    return _numbered((variable.path, variable) for variable in model.variables)


def _without_numbers(named):
    """The same without those that Keras gives to layers without a name, which count all layers of a process."""
    return _numbered((re.sub(r"_\d+(?=[/#]|$)", "", path), value) for path, value in named.items())


def _numbered(pairs):
    named, seen = {}, collections.Counter()
    for path, value in pairs:
        named[f"{path}#{seen[path]}" if seen[path] else path] = value
        seen[path] += 1
    return named


def _weights(folder):
    with np.load(folder / "weights.npz") as file:
        return {key: file[key] for key in file.files}


def write(model, folder, size, presence_threshold=0.0, about=None):
    """Writes a preset, whole or not at all.

    Args:
        model: `PANet`.
        folder: new folder.
        size: (height, width) the model was trained at.
        presence_threshold: for `FewShotSegmenter`.
        about: dictionary for people: data, licence, recipe, scores.

    Raises:
        FileExistsError: the folder exists.
    """
    folder = pathlib.Path(folder)
    if folder.exists():
        raise FileExistsError(
            f"{folder} exists; expected a new folder for the preset. Name another or remove it."
        )
    config = model.get_config()
    if _is_ours(model.encoder):
        # The name stands for the whole graph.
        config["encoder"] = model.encoder.name
    preset = {
        "model": config,
        "size": list(size),
        "presence_threshold": presence_threshold,
        "about": about or {},
    }
    with build_beside(folder) as building:
        (building / "preset.json").write_text(json.dumps(preset, indent=1) + "\n", "utf-8")
        np.savez_compressed(
            building / "weights.npz", **{k: _short(v.numpy()) for k, v in _named(model).items()}
        )


def _is_ours(encoder):
    """Whether the name of an encoder is enough to build it: others have `keras.applications`' names, too, and ours
    normalises as its weights ask for."""
    build = encoders.ENCODERS.get(encoder.name)
    return build is not None and _graph(encoder.get_config()) == _graph(build(None).get_config())


def _graph(config):
    """A model's config without what a preset has of its own: whether it learns, and in which precision."""
    if isinstance(config, dict):
        return {key: _graph(value) for key, value in config.items() if key not in ("trainable", "dtype")}
    return [_graph(value) for value in config] if isinstance(config, (list, tuple)) else config


def _short(value):
    """In half precision, unless a number is too large for it, such as a variance of 0..255 values."""
    with np.errstate(over="ignore"):
        short = value.astype(np.float16)
    return short if np.isfinite(short).all() or not np.isfinite(value).all() else value
