"""Kubeflow Pipelines and TFX: their own compilers and local runners, with the same artifacts as here."""

import json
import os

import keras
import numpy as np
import pytest
import yaml

import panet_keras  # noqa: F401  registers PANet
from pipeline.__main__ import main
from pipeline.config import load_config
from pipeline.orchestration.cache import digest_path
from pipeline.orchestration.local_runner import LocalRunner
from tests.pipeline.test_run import LIGHT


def settings(data, root):
    return [f"data.path={data}", f"run.root={root}", *LIGHT, "evaluator.protocols=[]"]


@pytest.fixture(scope="module")
def here(phantom, tmp_path_factory):
    """Folders of the local runner's artifacts, by output. TensorFlow is set as in the warm Python, whose
    forks are the other runners' stages: with and without oneDNN it rounds otherwise."""
    _, results, _ = LocalRunner(load_config(None, settings(phantom, tmp_path_factory.mktemp("here")))).run()
    return {name: artifact.path for result in results for name, artifact in result.outputs.items()}


def assert_same(here, there):
    for name in ("examples", "statistics", "schema", "anomalies", "evaluation"):
        assert digest_path(there[name]) == digest_path(here[name]), name
    ours, theirs = (
        keras.models.load_model(folder / "Format-Keras" / "panet.keras")
        for folder in (here["model"], there["model"])
    )
    for own, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_array_equal(own, other)


def test_compiled_pipeline_loads_and_keeps_the_order(tmp_path):
    import kfp

    target = tmp_path / "deep" / "panet.yaml"
    change = [f"--set=data.path={tmp_path}", f"--set=run.root={tmp_path}", "--set=trainer.steps=7"]
    assert (
        main(
            [
                "compile",
                "--runner",
                "kubeflow",
                "--image",
                "registry/panet:1",
                "--output",
                str(target),
                *change,
            ]
        )
        == 0
    )
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
    constant = tasks["trainer"]["inputs"]["parameters"]["settings"]["runtimeValue"]["constant"]
    assert json.loads(constant)["recipe"]["steps"] == 7
    images = {executor["container"]["image"] for executor in document["deploymentSpec"]["executors"].values()}
    assert images == {"registry/panet:1"}


def run_there(python, module, phantom, tmp_path):
    script = """
import importlib, json, sys
from pipeline.config import load_config
importlib.import_module(sys.argv[1]).run_local(load_config(None, json.loads(sys.argv[2])), sys.argv[3])
"""
    python(script, module, json.dumps(settings(phantom, tmp_path / "served")), tmp_path / "there")
    assert os.listdir(tmp_path / "served" / "serving" / "panet") == ["1"]


@pytest.mark.slow
def test_kubeflow_makes_the_same_artifacts(here, phantom, tmp_path, python):
    run_there(python, "pipeline.orchestration.kubeflow_runner", phantom, tmp_path)
    # there/RUN/TASK/OUTPUT
    assert_same(here, {path.name: path for path in (tmp_path / "there").glob("*/*/*") if path.is_dir()})


@pytest.mark.slow
def test_tfx_makes_the_same_artifacts(here, phantom, tmp_path, python):
    pytest.importorskip("tfx", reason="TFX is an extra: pip install tfx==1.21.0, Python 3.13")
    run_there(python, "pipeline.orchestration.tfx_runner", phantom, tmp_path)
    # there/artifacts/COMPONENT/OUTPUT/EXECUTION
    assert_same(here, {path.parent.name: path for path in (tmp_path / "there" / "artifacts").glob("*/*/*")})
