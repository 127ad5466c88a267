"""The compiled pipeline against Kubeflow's own schema, and its containers' command lines against our stages."""

import copy
import inspect
import json
import sys

import pytest
import yaml
from google.protobuf import json_format
from kfp.pipeline_spec.pipeline_spec_pb2 import ExecutorInput, PipelineSpec

import pipeline.components
from pipeline.config import load_config
from pipeline.orchestration import kubeflow_runner, light_components
from pipeline.pipeline import create_pipeline

FROM_OUTSIDE = {"data_path": "/data", "destination": "/models", "work_root": "/work"}


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    root = tmp_path_factory.mktemp("kubeflow")
    return load_config(None, [f"data.path={root}", f"run.root={root}", "data.test_patients=[A, B]"])


@pytest.fixture(scope="module")
def document(config, tmp_path_factory):
    file = tmp_path_factory.mktemp("compiled") / "panet.yaml"
    kubeflow_runner.compile_pipeline(config, "registry/panet:1", file)
    return yaml.safe_load(file.read_text("utf-8"))


def problems(document):
    """What of a compiled pipeline does not resolve; a field that Kubeflow's schema lacks raises `ParseError`."""
    spec = json_format.ParseDict(document, PipelineSpec())
    executors = json_format.MessageToDict(spec.deployment_spec).get("executors", {})
    tasks, found = spec.root.dag.tasks, []
    components = {name: spec.components[task.component_ref.name] for name, task in tasks.items()}
    for name, task in tasks.items():
        component = components[name]
        if component.executor_label not in executors:
            found.append(f"{name}: no executor {component.executor_label!r}")
        for kind in ("parameters", "artifacts"):
            declared = getattr(component.input_definitions, kind)
            given = getattr(task.inputs, kind)
            found += [f"{name}: {one} is not given" for one in declared.keys() - given.keys()]
            found += [f"{name}: {one} is not declared" for one in given.keys() - declared.keys()]
        for given in task.inputs.parameters.values():
            if given.WhichOneof("kind") == "component_input_parameter":
                if given.component_input_parameter not in spec.root.input_definitions.parameters:
                    found.append(f"{name}: the pipeline has no {given.component_input_parameter}")
        for one, given in task.inputs.artifacts.items():
            source = given.task_output_artifact
            made = components.get(source.producer_task)
            outputs = made.output_definitions.artifacts if made else {}
            wanted = component.input_definitions.artifacts[one].artifact_type
            if source.output_artifact_key not in outputs:
                found.append(f"{name}: nobody makes {one}")
            elif outputs[source.output_artifact_key].artifact_type != wanted:
                found.append(f"{name}: {one} is of another type")
            elif source.producer_task not in task.dependent_tasks:
                found.append(f"{name}: does not wait for {source.producer_task}")
        found += [f"{name}: waits for {one}" for one in task.dependent_tasks if one not in tasks]
    found += [
        f"{name}: used by no task"
        for name in spec.components
        if spec.components[name] not in components.values()
    ]
    return found


def test_everything_resolves_in_kubeflow_s_schema(document):
    assert problems(document) == []
    assert len(document["root"]["dag"]["tasks"]) == len(create_pipeline.__doc__.split("->")) == 8


@pytest.mark.parametrize(
    "change, message",
    [
        (
            lambda d, t: d["deploymentSpec"]["executors"].pop("exec-trainer"),
            "trainer: no executor 'exec-trainer'",
        ),
        (lambda d, t: t["inputs"]["parameters"].pop("settings"), "trainer: settings is not given"),
        (lambda d, t: t["inputs"]["artifacts"].pop("examples"), "trainer: examples is not given"),
        (
            lambda d, t: d["root"]["inputDefinitions"]["parameters"].pop("work_root"),
            "the pipeline has no work_root",
        ),
        (
            lambda d, t: t["inputs"]["artifacts"]["examples"]["taskOutputArtifact"].update(
                outputArtifactKey="x"
            ),
            "trainer: nobody makes examples",
        ),
        (lambda d, t: t["dependentTasks"].remove("examplegen"), "trainer: does not wait for examplegen"),
    ],
)
def test_what_does_not_resolve_is_found(document, change, message):
    broken = copy.deepcopy(document)
    change(broken, broken["root"]["dag"]["tasks"]["trainer"])
    assert any(message in problem for problem in problems(broken))


def test_a_field_that_the_schema_lacks_is_refused(document):
    broken = copy.deepcopy(document)
    broken["root"]["dag"]["tasks"]["trainer"]["retries"] = 3
    with pytest.raises(json_format.ParseError, match="retries"):
        problems(broken)


def test_the_api_takes_the_pipeline_and_a_run_of_it(document):
    """kfp-server-api is made from the backend's OpenAPI description, and refuses what that does not know."""
    import kfp_server_api as api

    version = api.V2beta1PipelineVersion(display_name="panet-bus", pipeline_spec=document)
    settings = api.V2beta1RuntimeConfig(parameters=FROM_OUTSIDE, pipeline_root="s3://bucket/root")
    run = api.V2beta1Run(display_name="one", pipeline_spec=document, runtime_config=settings)
    sent = json.loads(json.dumps(api.ApiClient().sanitize_for_serialization([version, run])))
    assert sent[0]["pipeline_spec"] == sent[1]["pipeline_spec"] == json.loads(json.dumps(document))
    assert set(sent[1]["runtime_config"]["parameters"]) == set(
        document["root"]["inputDefinitions"]["parameters"]
    )


def executor_input(spec, name, folder):
    """What Kubeflow's launcher hands to a task's container."""
    task = spec["root"]["dag"]["tasks"][name]
    component = spec["components"][task["componentRef"]["name"]]
    values = {
        key: given["runtimeValue"]["constant"]
        if "runtimeValue" in given
        else FROM_OUTSIDE[given["componentInputParameter"]]
        for key, given in task["inputs"]["parameters"].items()
    }

    # Protobuf has one kind of number, and Kubeflow's launcher, written in Go, sends 120.0 as 120.
    values = {
        key: int(value) if isinstance(value, float) and value.is_integer() else value
        for key, value in values.items()
    }

    def artifacts(definitions):
        return {
            key: {
                "artifacts": [
                    {"name": key, "type": kind["artifactType"], "uri": f"{folder}/{key}", "metadata": {}}
                ]
            }
            for key, kind in definitions.get("artifacts", {}).items()
        }

    given = {
        "inputs": {"parameterValues": values, "artifacts": artifacts(component["inputDefinitions"])},
        "outputs": {
            "artifacts": artifacts(component.get("outputDefinitions", {})),
            "outputFile": f"{folder}/executor_output.json",
        },
    }
    json_format.ParseDict(given, ExecutorInput())
    return json.dumps(given)


def test_containers_call_our_stages_with_the_arguments_of_the_local_runner(
    config, document, tmp_path, monkeypatch
):
    """Each container's command line goes through kfp's own entry, up to the call of the stage."""
    from kfp.dsl import executor_main

    calls = []
    monkeypatch.setattr(kubeflow_runner, "execute", lambda *arguments: calls.append(arguments))
    for node in create_pipeline(config):
        component, name = node.component, node.component.name.lower()
        container = document["deploymentSpec"]["executors"][f"exec-{name}"]["container"]
        shell, flag, script, program = container["command"]
        assert (shell, flag) == ("sh", "-ec") and "python3 -m kfp.dsl.executor_main" in script
        module = tmp_path / name / "ephemeral_component.py"
        module.parent.mkdir()
        module.write_text(program, "utf-8")
        filled = [
            executor_input(document, name, module.parent) if argument == "{{$}}" else argument
            for argument in container["args"]
        ]
        monkeypatch.setattr(sys, "argv", ["executor_main", "--component_module_path", str(module), *filled])
        executor_main.executor_main()
        called, values, inputs, outputs, work_root = calls.pop()
        assert getattr(pipeline.components, called) is component and work_root == "/work"
        given = light_components.arguments(component, values)
        local = {key: node.arguments[key] for key in given}
        # A path inside the project is relative to it, because the project lies elsewhere in a container.
        local |= {
            key: light_components._portable(local[key])
            for key in component.paths
            if key != "acceptance" and not isinstance(local[key], tuple)
        }
        assert given == local | {key: FROM_OUTSIDE[key] for key in given if key in FROM_OUTSIDE}
        kinds = {key: (int, float) if isinstance(local[key], float) else type(local[key]) for key in given}
        assert all(isinstance(value, kinds[key]) for key, value in given.items())
        work = {component.work_dir: ""} if component.work_dir else {}
        inspect.signature(component.function).bind(**given, **inputs, **outputs, **work)
    assert not calls
