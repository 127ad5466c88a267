"""Pusher: a blessed model becomes a new version for serving, whole or not at all."""

import functools
import json
import logging
import pathlib
import shutil

from pipeline.errors import PipelineError
from pipeline.orchestration.annotations import InputArtifact, InputPath, OutputArtifact, Parameter, component
from pipeline.orchestration.artifacts import (
    AcceptanceBlessing,
    Examples,
    InfraBlessing,
    Model,
    ModelBlessing,
    ModelEvaluation,
    PushedModel,
)
from pipeline.orchestration.cache import digest_path

LOG = logging.getLogger(__name__)


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
    evaluation: InputArtifact[ModelEvaluation] = None,
    examples: InputArtifact[Examples] = None,
    signing_key: Parameter[str] = "",
    acceptance: InputPath = (),
):
    """Copies the SavedModel to `destination/N`, N being one above the highest version there, and lays its
    papers beside it:

    BLESSED, INFRA_BLESSED      the reasons
    model_card.json             `pipeline.papers.model_card`
    sbom.cdx.json               `pipeline.papers.sbom`, of the lock
    model.sig                   with a `signing_key`: over all of these and the model

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
        "signed": False,
        "reason": "; ".join(refused),
    }
    if not refused:
        folder = pathlib.Path(destination)
        blessings = [("Evaluator", blessing), ("InfraValidator", infra_blessing)]
        papers = functools.partial(
            _lay_papers, folder.name, model, blessings, evaluation, examples, signing_key
        )
        version = _push(model.serving, folder, papers)
        record |= {
            "version": version,
            "digest": digest_path(folder / str(version)),
            "signed": bool(signing_key),
        }
        pushed_model.properties |= {"version": version, "destination": destination}
    pushed_model.properties["pushed"] = int(record["pushed"])
    pushed_model.pushed.write_text(json.dumps(record, indent=1, ensure_ascii=False), "utf-8")
    return {
        "summary": f"version {record['version']} in {destination}{', signed' if signing_key else ''}"
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


def _push(saved_model, folder, papers):
    """Copies a SavedModel to the next version in a folder; returns its number.

    Args:
        saved_model, folder: paths. papers: called with the copy's folder, while it is hidden, and its number.
    """
    from panet_keras.files import build_beside

    folder.mkdir(parents=True, exist_ok=True)
    while True:
        version = max((int(path.name) for path in folder.iterdir() if path.name.isdecimal()), default=0) + 1
        try:
            with build_beside(folder / str(version)) as building:
                shutil.copytree(saved_model, building, dirs_exist_ok=True)
                papers(building, version)
            return version
        except FileExistsError:
            continue  # another run pushed in the meantime


def _lay_papers(name, model, blessings, evaluation, examples, signing_key, folder, version):
    """Writes what travels with a version into its folder, the signature last."""
    from pipeline.papers import model_card, sbom
    from pipeline.papers.signing import sign

    for _, blessing in blessings:
        shutil.copy(blessing.path / blessing.blessed_name, folder)
    card = model_card.model_card(name, version, model, blessings, evaluation, examples)
    (folder / model_card.NAME).write_text(card, "utf-8")
    try:
        (folder / sbom.NAME).write_text(sbom.sbom(model=(name, str(version))), "utf-8")
    except PipelineError as error:
        # A trained and blessed model is not held back for the want of a package.
        LOG.warning("      %s is left out: %s", sbom.NAME, error)
    if signing_key:
        sign(folder, signing_key)
