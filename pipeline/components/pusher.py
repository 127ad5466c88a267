"""Pusher: a blessed model becomes a new version for serving, whole or not at all."""

import json
import pathlib
import shutil

from pipeline.orchestration.annotations import InputArtifact, InputPath, OutputArtifact, Parameter, component
from pipeline.orchestration.artifacts import (
    AcceptanceBlessing,
    InfraBlessing,
    Model,
    ModelBlessing,
    PushedModel,
)
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
    acceptance: InputPath = (),
):
    """Copies the SavedModel to `destination/N`, N being one above the highest version there.

    With `acceptance`, a tuple of one folder that `python -m pipeline accept` wrote, only a model that was
    accepted there is copied: this very model, by its content.

    The copy is made under a hidden name in the same folder and renamed when it is whole, so that a server
    that polls the folder never sees half a version.
    """
    refused = [
        f"{name}: {reason}"
        for name, b in (("Evaluator", blessing), ("InfraValidator", infra_blessing))
        if not b.blessed
        for reason in b.reasons()
    ]
    refused += [f"acceptance: {reason}" for folder in acceptance for reason in _not_accepted(model, folder)]
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


def _not_accepted(model, folder):
    """Why a model may not be pushed by an acceptance; nothing where it may."""
    from pipeline.acceptance.models import content_digest

    blessing = AcceptanceBlessing(pathlib.Path(folder) / "blessing")
    way = f"python -m pipeline accept --model {model.path} --data DIR --output {folder}"
    if not blessing.acceptance.is_file():
        return [f"{folder} is no acceptance yet (pusher.require_acceptance); make it: {way}"]
    if not blessing.blessed:
        return [reason for reason in blessing.reasons() if not reason.startswith("kept")]
    told = json.loads(blessing.acceptance.read_text("utf-8"))
    if told["model_digest"] != content_digest(model.serving):
        return [f"{folder} is of another model ({told['model']}); accept this one in a new folder: {way}"]
    return []


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
