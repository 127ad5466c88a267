"""What Keras must be set to, said in one message before a layer fails with another."""

import json
import os
import pathlib
import sys

from panet_keras.errors import KerasSettingsError

NEEDED = {"backend": "tensorflow", "image_data_format": "channels_last", "floatx": "float32"}
"""Names as in keras.json. Mixed precision is a policy (`keras.config.set_dtype_policy`) and leaves floatx
alone."""


def check_keras_settings():
    """Compares what Keras runs with, or would run with once it is imported, with what this library needs.

    Imports nothing: the settings are Keras' own where it is imported already, else those of its file and of
    KERAS_BACKEND.

    Raises:
        KerasSettingsError: another backend, image_data_format or floatx, or a file that Keras cannot take;
            names the file or variable, and the mend.
    """
    file = settings_file()
    stored = _read(file)
    keras = sys.modules.get("keras")
    if keras is not None:
        config = keras.config
        found = {name: getattr(config, name)() for name in NEEDED}
    else:
        found = {name: stored.get(name, needed) for name, needed in NEEDED.items()}
        found["backend"] = os.environ.get("KERAS_BACKEND") or found["backend"]
    wrong = [name for name, needed in NEEDED.items() if found[name] != needed]
    if wrong:
        lines = [_line(name, found[name], file, stored, loaded=keras is not None) for name in wrong]
        raise KerasSettingsError("panet_keras cannot run with these settings of Keras: " + " ".join(lines))


def settings_file():
    """The file that Keras reads its settings from: `KERAS_HOME/keras.json`, else `~/.keras/keras.json`, or that of
    `/tmp` where the home folder may not be written."""
    folder = os.environ.get("KERAS_HOME")
    if folder is None:
        home = os.path.expanduser("~")
        folder = os.path.join(home if os.access(home, os.W_OK) else "/tmp", ".keras")
    return pathlib.Path(os.path.expanduser(os.path.join(folder, "keras.json")))


def _read(file):
    """The settings in the file; where there are none, Keras' own hold.

    Raises:
        KerasSettingsError: a file at which Keras itself would fail, without a word about it.
    """
    mend = "Mend or delete the file, or point KERAS_HOME at another folder for this project."
    try:
        stored = json.loads(file.read_text("utf-8")) if file.exists() else {}
    except ValueError:
        return {}  # Keras passes over it, too
    except OSError as error:
        raise KerasSettingsError(
            f"{file} cannot be read ({error.strerror}), and Keras reads it. {mend}"
        ) from None
    if not isinstance(stored, dict):
        raise KerasSettingsError(f"{file} holds a {type(stored).__name__}; expected a JSON object. {mend}")
    if not isinstance(stored.get("epsilon", 1e-7), float):
        raise KerasSettingsError(
            f'{file}: "epsilon" is {stored["epsilon"]!r}; expected a float such as 1e-07. {mend}'
        )
    return stored


def _line(name, found, file, stored, loaded):
    needed = NEEDED[name]
    if name == "backend" and os.environ.get("KERAS_BACKEND") == found:
        where, mend = (
            "the environment variable KERAS_BACKEND",
            "Unset it, or set it to tensorflow, before Keras is imported.",
        )
    elif stored.get(name) == found:
        mend = f'Write "{name}": "{needed}" there'
        mend += (
            ", or set KERAS_BACKEND=tensorflow."
            if name == "backend"
            else ", or point KERAS_HOME at another folder for this project."
        )
        where = f'{file}: "{name}"'
    else:
        where = f"keras.config.{name}()"
        mend = (
            f'Call keras.config.set_{name}("{needed}") before `import panet_keras`.'
            if loaded and name != "backend"
            else ""
        )
    return f'{where} is "{found}"; expected "{needed}". {mend}'.strip()
