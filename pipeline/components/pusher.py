"""Pusher: a blessed model becomes a new version for serving, whole or not at all."""

import json
import os
import pathlib
import shutil
import tempfile

from pipeline.orchestration.annotations import InputArtifact, OutputArtifact, Parameter, component
from pipeline.orchestration.artifacts import InfraBlessing, Model, ModelBlessing, PushedModel
from pipeline.orchestration.cache import digest_path


def _still_there(outputs):
    """A cached push counts only while the pushed version is on disk as it was."""
    record = json.loads(outputs["pushed_model"].pushed.read_text("utf-8"))
    if not record["pushed"]:
        return True
    version = pathlib.Path(record["destination"]) / str(record["version"])
    return version.is_dir() and digest_path(version) == record["digest"]


@component(still_valid=_still_there)
def Pusher(
    model: InputArtifact[Model],
    blessing: InputArtifact[ModelBlessing],
    infra_blessing: InputArtifact[InfraBlessing],
    destination: Parameter[str],
    pushed_model: OutputArtifact[PushedModel],
):
    """Copies the SavedModel to `destination/N`, N being one above the highest version there.

    The copy is made under a hidden name in the same folder and renamed when it is whole, so that a server that polls the
    folder never sees half a version.
    """
    refused = [
        f"{name}: {reason}"
        for name, b in (("Evaluator", blessing), ("InfraValidator", infra_blessing))
        if not b.blessed
        for reason in b.reasons()
    ]
    record = {"pushed": not refused, "destination": destination, "version": None, "digest": None, "reason": "; ".join(refused)}
    if not refused:
        folder = pathlib.Path(destination)
        folder.mkdir(parents=True, exist_ok=True)
        building = pathlib.Path(tempfile.mkdtemp(prefix=".pushing-", dir=folder))
        try:
            shutil.copytree(model.serving, building / "model")
            version = max((int(p.name) for p in folder.iterdir() if p.name.isdecimal()), default=0) + 1
            os.replace(building / "model", folder / str(version))
        finally:
            shutil.rmtree(building, ignore_errors=True)
        record |= {"version": version, "digest": digest_path(folder / str(version))}
        pushed_model.properties |= {"version": version, "destination": destination}
    pushed_model.properties["pushed"] = int(record["pushed"])
    pushed_model.pushed.write_text(json.dumps(record, indent=1, ensure_ascii=False), "utf-8")
    return {"summary": f"version {record['version']} in {destination}" if record["pushed"] else f"not pushed: {record['reason']}"}
