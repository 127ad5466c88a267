"""Kubeflow: compiled by kfp's own compiler, run by kfp's own local runner, with the same artifacts as here."""

import json
import os

import keras
import kfp
import numpy as np
import yaml

import panet_keras  # noqa: F401  registers PANet
from pipeline.__main__ import main
from pipeline.cache import digest_path
from pipeline.config import load_config
from pipeline.local_runner import LocalRunner
from tests.pipeline.test_run import TINY


def test_compiled_pipeline_loads_and_keeps_the_order(tmp_path):
    target = tmp_path / "deep" / "panet.yaml"
    settings = [f"--set=data.path={tmp_path}", f"--set=run.root={tmp_path}", "--set=trainer.steps=7"]
    assert main(["compile", "--runner", "kubeflow", "--image", "registry/panet:1", "--output", str(target), *settings]) == 0
    assert os.listdir(target.parent) == ["panet.yaml"]
    assert set(kfp.components.load_component_from_file(str(target)).component_spec.inputs) == {
        "data_path",
        "destination",
        "work_root",
    }

    document = yaml.safe_load(target.read_text())
    tasks = document["root"]["dag"]["tasks"]
    assert len(tasks) == 8
    # No training on refused data, although the Trainer does not read what the ExampleValidator writes.
    assert "examplevalidator" in tasks["trainer"]["dependentTasks"]
    # What reads paths must look again: kfp's cache would compare the path's name only.
    cached = {name for name, task in tasks.items() if task["cachingOptions"].get("enableCache")}
    assert cached == {"statisticsgen", "examplevalidator", "trainer", "evaluator", "infravalidator"}
    settings = tasks["trainer"]["inputs"]["parameters"]["settings"]["runtimeValue"]["constant"]
    assert json.loads(settings)["steps"] == 7
    images = {executor["container"]["image"] for executor in document["deploymentSpec"]["executors"].values()}
    assert images == {"registry/panet:1"}


def test_kfp_makes_the_artifacts_that_the_local_runner_makes(phantom, tmp_path, python):
    def settings(root):
        return [f"data.path={phantom}", f"run.root={root}", *TINY]

    _, results, _ = LocalRunner(load_config(None, settings(tmp_path / "here"))).run()
    here = {name: artifact.path for result in results for name, artifact in result.outputs.items()}

    script = """
import json, sys
from pipeline.config import load_config
from pipeline.kubeflow import run_local
run_local(load_config(None, json.loads(sys.argv[1])), sys.argv[2])
"""
    python(script, json.dumps(settings(tmp_path / "there")), tmp_path / "kfp")
    there = {path.name: path for path in (tmp_path / "kfp").glob("*/*/*") if path.is_dir()}
    assert set(there) | {"blessing"} == set(here)
    for name in ("examples", "statistics", "schema", "anomalies", "evaluation"):
        assert digest_path(there[name]) == digest_path(here[name]), name
    ours, theirs = (keras.models.load_model(folder / "Format-Keras" / "panet.keras") for folder in (here["model"], there["model"]))
    for own, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_array_equal(own, other)
    assert os.listdir(tmp_path / "there" / "serving" / "panet") == ["1"]
