"""The same stages on Kubeflow Pipelines: each annotated function becomes a lightweight Python component.

A stage runs in a container (or, locally, a process) whose working folder is this project.
"""

import os
import pathlib

from pipeline.errors import PipelineError
from pipeline.orchestration import light_components
from pipeline.orchestration.cache import PROJECT
from pipeline.pipeline import create_pipeline

NAME = "panet-bus"
FROM_OUTSIDE = ("data_path", "destination")
"""Arguments that whoever starts a run may give anew; with several sources `data_path` is a JSON list of their
paths."""
ANNOTATIONS = {"parameter": "{}", "input": "dsl.Input[dsl.Artifact]", "output": "dsl.Output[dsl.Artifact]"}


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
    values = {node: light_components.parameters(node) for node in nodes}
    default = {name: value for node in nodes for name, value in values[node].items() if name in FROM_OUTSIDE}

    def component(node):
        made = light_components.function(
            node, __name__, {"dsl": dsl}, lambda role, kind: ANNOTATIONS[role].format(kind)
        )
        return dsl.component(made, base_image=image, install_kfp_package=False)

    @dsl.pipeline(name=NAME, description="From annotated images to a served few-shot segmentation model.")
    def panet_bus(
        data_path: str = default["data_path"], destination: str = default["destination"], work_root: str = ""
    ):
        now = {"data_path": data_path, "destination": destination}
        tasks = {}
        for node in nodes:
            inputs = {
                name: tasks[channel.node].outputs[channel.output]
                for name, channel in light_components.channels(node).items()
            }
            arguments = {name: now.get(name, value) for name, value in values[node].items()}
            task = component(node)(**arguments, **inputs, work_root=work_root)
            if tasks:
                # A stage that stops the run must stop what does not read its outputs, too: no training on
                # refused data.
                task.after(list(tasks.values())[-1])
            if any(map(node.arguments.get, node.component.paths)) or node.component.still_valid:
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
        raise PipelineError(
            f"kfp cannot be imported ({error}); install requirements.txt, which names it."
        ) from None
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
    """Runs the pipeline with kfp's local runner, each stage a process of this interpreter; its folders go
    under `root`."""
    from kfp import local

    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH")]))
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(root))
    return build(config, "python:3.11")()


def execute(name, parameters, inputs, outputs, work_root):
    """Runs one stage inside kfp's executor; inputs and outputs are kfp's artifacts."""
    read, written = ({key: artifact.path for key, artifact in group.items()} for group in (inputs, outputs))
    for key, properties in light_components.execute(name, parameters, read, written, work_root).items():
        outputs[key].metadata.update(properties)
