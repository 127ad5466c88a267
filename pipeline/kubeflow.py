"""The same stages on Kubeflow Pipelines: each annotated function becomes a lightweight Python component.

A stage runs in a container (or, locally, a process) whose working folder is this project. What the local runner does around a
stage and Kubeflow cannot know stays there: inputs that the history decides (`baseline`, `previous`) are left out.
"""

import json
import linecache
import os
import pathlib

from pipeline.cache import PROJECT, cache_key, digest_path
from pipeline.component import Channel
from pipeline.errors import PipelineError
from pipeline.pipeline import create_pipeline

NAME = "panet-bus"
PLAIN = (str, int, float, bool)
FROM_OUTSIDE = {("ExampleGen", "data_path"): "data_path", ("Pusher", "destination"): "destination"}
"""Arguments that whoever starts a run may give anew."""


def build(config, image):
    """The pipeline as kfp knows it; its parameters are `data_path`, `destination` and `work_root`.

    Args:
        config: `Config`, whose values become the parameters' defaults.
        image: container image with this project as its working folder and requirements.txt installed.

    Returns:
        What `@kfp.dsl.pipeline` makes: compile it, or call it after `kfp.local.init`.
    """
    from kfp import dsl

    nodes = create_pipeline(config)
    given = {parameter: _argument(node, name) for node in nodes for name, parameter in _open(node).items()}

    @dsl.pipeline(name=NAME, description="From annotated images to a served few-shot segmentation model.")
    def panet_bus(data_path: str = given["data_path"], destination: str = given["destination"], work_root: str = ""):
        now = {"data_path": data_path, "destination": destination}
        tasks = {}
        for node in nodes:
            arguments = {name: _argument(node, name) for name in _parameters(node)}
            arguments |= {name: now[parameter] for name, parameter in _open(node).items()}
            channels = {name: value for name, value in node.arguments.items() if isinstance(value, Channel)}
            artifacts = {name: tasks[channel.node].outputs[channel.output] for name, channel in channels.items()}
            task = _component(node, image)(**arguments, **artifacts, work_root=work_root)
            if tasks:
                # A stage that stops the run must stop what does not read its outputs, too: no training on refused data.
                task.after(list(tasks.values())[-1])
            if node.component.paths or node.component.still_valid:
                # Kubeflow's cache looks at the path's name, not at what lies there.
                task.set_caching_options(False)
            tasks[node] = task

    return panet_bus


def compile_pipeline(config, image, output):
    """Writes the pipeline's intermediate representation, a YAML file, which kfp's compiler validates.

    Raises:
        PipelineError: kfp is missing or refuses the pipeline; a file that was there stays as it was.
    """
    try:
        from kfp import compiler
    except ImportError as error:
        raise PipelineError(f"kfp cannot be imported ({error}); install requirements.txt, which names it.") from None
    output = pathlib.Path(output)
    # kfp tells the format by the suffix.
    temporary = output.with_name(f".{os.getpid()}-{output.stem}.yaml")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        compiler.Compiler().compile(build(config, image), str(temporary))
        os.replace(temporary, output)
    except (ValueError, TypeError) as error:
        raise PipelineError(f"kfp refuses the pipeline: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def run_local(config, root):
    """Runs the pipeline with kfp's local runner, each stage a process of this interpreter; its folders go under `root`."""
    from kfp import local

    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH")]))
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(root))
    return build(config, "python:3.11")()


def execute(name, parameters, inputs, outputs, work_root):
    """Runs one stage inside kfp's executor.

    Args:
        name: of the component. parameters: name to value, structures as JSON text.
        inputs, outputs: name to kfp artifact. work_root: folder for checkpoints that outlive a killed container; empty for none.

    Raises:
        PipelineError: the stage stops the run.
    """
    import tempfile

    import pipeline.components

    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    component = getattr(pipeline.components, name)
    structures = _structures(component)
    given = {key: _tuples(json.loads(value)) if key in structures else value for key, value in parameters.items()}
    read = {key: component.inputs[key](one.path, None, digest_path(one.path), one.metadata) for key, one in inputs.items()}
    written = {key: component.outputs[key](one.path) for key, one in outputs.items()}
    for artifact in written.values():
        artifact.path.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        arguments = {**given, **read, **written}
        if component.work_dir:
            key = cache_key(component(**given, **read), read)
            work = pathlib.Path(work_root or temporary) / f"{name}-{key[:16]}"
            work.mkdir(parents=True, exist_ok=True)
            arguments[component.work_dir] = str(work)
        said = component.function(**arguments) or {}
    for key, one in outputs.items():
        one.metadata.update(written[key].properties)
    print(f"{name}: {said.get('summary', '')}")
    if said.get("stop"):
        raise PipelineError(f"stopped after {name}: {said['stop']}")


def _tuples(value):
    """A value read from JSON with its lists as tuples again, which is how the configuration has them."""
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _parameters(node):
    component = node.component
    return (*component.parameters, *component.engines, *component.paths)


def _structures(component):
    return [name for name, kind in {**component.parameters, **component.engines}.items() if kind not in PLAIN]


def _open(node):
    return {name: parameter for (stage, name), parameter in FROM_OUTSIDE.items() if stage == node.component.name}


def _argument(node, name):
    """A parameter's value for kfp. Structures go as JSON text: kfp's Struct would make 1200 steps 1200.0."""
    value = node.arguments[name]
    if name in node.component.paths:
        path = pathlib.Path(value)
        return str(path.relative_to(PROJECT)) if path.is_relative_to(PROJECT) else str(path)
    return json.dumps(value) if name in _structures(node.component) else value


def _component(node, image):
    """The kfp component of a node. kfp reads signature and source of a function, so that is what it gets."""
    from kfp import dsl

    component = node.component
    kinds = {**component.parameters, **component.engines}
    parameters = {name: kinds[name].__name__ if kinds.get(name) in PLAIN else "str" for name in _parameters(node)}
    inputs = [name for name, value in node.arguments.items() if isinstance(value, Channel)]

    def record(names):
        return "{" + ", ".join(f'"{name}": {name}' for name in names) + "}"

    signature = [f"{name}: {kind}" for name, kind in parameters.items()]
    signature += ["work_root: str"]
    signature += [f"{name}: dsl.Input[dsl.Artifact]" for name in inputs]
    signature += [f"{name}: dsl.Output[dsl.Artifact]" for name in component.outputs]
    source = (
        f"def {component.name}({', '.join(signature)}):\n"
        "    from pipeline.kubeflow import execute\n\n"
        f"    execute({component.name!r}, {record(parameters)}, {record(inputs)}, {record(component.outputs)}, work_root)\n"
    )
    file = f"<kubeflow {component.name}>"
    linecache.cache[file] = (len(source), None, source.splitlines(True), file)
    names = {"dsl": dsl}
    exec(compile(source, file, "exec"), names)
    return dsl.component(names[component.name], base_image=image, install_kfp_package=False)
