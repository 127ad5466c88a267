"""The model that is served when a person names none: the shipped preset, exported once and kept."""

import hashlib
import importlib.util
import os
import pathlib
import subprocess
import sys

PRESET = "bus_multi_lite0"


def model_base_path():
    """Folder with the exported preset as version 1, made by `python -m panet_keras export` at the first call.

    Kept in `$XDG_CACHE_HOME/panet-bus` (`~/.cache/panet-bus`), under the digest of the preset and of the code
    that exports it.

    Raises:
        OSError: no such preset beside this package, or the export failed; says what to give instead.
    """
    spec = importlib.util.find_spec("panet_keras")
    folder = pathlib.Path(spec.submodule_search_locations[0]) / "presets" / PRESET if spec else None
    if folder is None or not (folder / "weights.npz").is_file():
        raise OSError(
            f"--model_base_path is not given and the preset {PRESET} is not installed; give a folder with version folders."
        )
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache"))
    files = [folder / "preset.json", folder / "weights.npz", *sorted(folder.parent.parent.rglob("*.py"))]
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in files))
    base = cache / "panet-bus" / digest.hexdigest()[:16]
    if not (base / "1").is_dir():
        there = next(place for place in (base.absolute(), *base.absolute().parents) if place.exists())
        if not os.access(there, os.W_OK | os.X_OK):
            raise OSError(
                f"the shipped preset is exported once to {base}, and {there} may not be written; set XDG_CACHE_HOME to a folder that may, or "
                "give --model_base_path."
            )
        command = [sys.executable, "-m", "panet_keras", "export", "--model", PRESET, "--out", str(base / "1")]
        print(
            f"serving: exporting the shipped preset {PRESET} to {base}, once ...", file=sys.stderr, flush=True
        )
        done = subprocess.run(command, capture_output=True, text=True)
        # Another server may have been faster with the same folder.
        if done.returncode and not (base / "1").is_dir():
            raise OSError(f"{' '.join(command)} failed: {done.stderr.strip().splitlines()[-1:]}")
    return base
