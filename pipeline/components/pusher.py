"""Pusher: a blessed model becomes a new version for serving, whole or not at all."""

import json
import pathlib
import shutil

from pipeline.orchestration.annotations import InputArtifact, OutputArtifact, Parameter, component
from pipeline.orchestration.artifacts import InfraBlessing, Model, ModelBlessing, PushedModel
from pipeline.orchestration.cache import digest_path


def _still_there(outputs):
    """A cached push counts only while the pushed version is on disk as it was."""
    pushed = outputs["pushed_model"]
    version = pushed.version_folder
    if version is None:
        return True
    return version.is_dir() and digest_path(version) == json.loads(pushed.pushed.read_text("utf-8"))["digest"]


@component(still_valid=_still_there)
def Pusher(
    model: InputArtifact[Model],
    blessing: InputArtifact[ModelBlessing],
    infra_blessing: InputArtifact[InfraBlessing],
    destination: Parameter[str],
    pushed_model: OutputArtifact[PushedModel],
):
    """Copies the SavedModel to `destination/N`, N being one above the highest version there.

    The copy is made under a hidden name in the same folder and renamed when it is whole, so that a server
    that polls the folder never sees half a version.
    """
    refused = [
        f"{name}: {reason}"
        for name, b in (("Evaluator", blessing), ("InfraValidator", infra_blessing))
        if not b.blessed
        for reason in b.reasons()
    ]
    record = {
        "pushed": not refused,
        "destination": destination,
        "version": None,
        "digest": None,
        "reason": "; ".join(refused),
    }
    if not refused:
        folder = pathlib.Path(destination)
        version = _push(model.serving, folder)
        record |= {"version": version, "digest": digest_path(folder / str(version))}
        pushed_model.properties |= {"version": version, "destination": destination}
    pushed_model.properties["pushed"] = int(record["pushed"])
    pushed_model.pushed.write_text(json.dumps(record, indent=1, ensure_ascii=False), "utf-8")
    return {
        "summary": f"version {record['version']} in {destination}"
        if record["pushed"]
        else f"not pushed: {record['reason']}"
    }


def _push(saved_model, folder):
    """Copies a SavedModel to the next version in a folder; returns its number."""
    from panet_keras.files import build_beside

    folder.mkdir(parents=True, exist_ok=True)
    while True:
        version = max((int(path.name) for path in folder.iterdir() if path.name.isdecimal()), default=0) + 1
        try:
            with build_beside(folder / str(version)) as building:
                shutil.copytree(saved_model, building, dirs_exist_ok=True)
            return version
        except FileExistsError:
            continue  # another run pushed in the meantime
