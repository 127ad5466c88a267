"""The same stages on TFX: each annotated function becomes one of TFX's own components, run by its
LocalDagRunner.

TFX is an extra (`pip install tfx==1.21.0` beside requirements.txt, Python 3.13); nothing else here imports
it. The artifacts are TFX's standard ones, which have the names of ours.
"""

import pathlib
import sys
import types

from pipeline.errors import PipelineError
from pipeline.orchestration import light_components
from pipeline.pipeline import create_pipeline

ANNOTATIONS = {
    "parameter": "Parameter[{}]",
    "input": "InputArtifact[standard_artifacts.{}]",
    "output": "OutputArtifact[standard_artifacts.{}]",
}


def build(config, root):
    """The pipeline as a `tfx.v1.dsl.Pipeline`; its artifacts and metadata go under `root`.

    Raises:
        PipelineError: TFX is not installed.
    """
    try:
        from tfx import v1 as tfx
        from tfx.types import standard_artifacts
    except ImportError as error:
        raise PipelineError(
            f"TFX cannot be imported ({error}); it is an extra: pip install tfx==1.21.0, Python 3.13."
        ) from None
    root = pathlib.Path(root).resolve()
    root.mkdir(parents=True, exist_ok=True)
    # TFX looks a component's executor up by the name of its module.
    module = sys.modules[f"{__name__}.components"] = types.ModuleType(f"{__name__}.components")
    annotations = {
        name: getattr(tfx.dsl.components, name) for name in ("InputArtifact", "OutputArtifact", "Parameter")
    }
    vars(module).update(annotations, standard_artifacts=standard_artifacts)
    made = {}
    for node in create_pipeline(config):
        function = light_components.function(
            node, __name__, vars(module), lambda role, kind: ANNOTATIONS[role].format(kind)
        )
        component = tfx.dsl.components.component(function)
        setattr(module, node.component.name, component)
        inputs = {
            name: made[channel.node].outputs[channel.output]
            for name, channel in light_components.channels(node).items()
        }
        task = component(**light_components.parameters(node), **inputs, work_root=str(root / "work"))
        if made:
            # No training on refused data.
            task.add_upstream_node(list(made.values())[-1])
        made[node] = task
    return tfx.dsl.Pipeline(
        pipeline_name="panet-bus",
        pipeline_root=str(root / "artifacts"),
        components=list(made.values()),
        metadata_connection_config=tfx.orchestration.metadata.sqlite_metadata_connection_config(
            str(root / "metadata.db")
        ),
    )


def run_local(config, root):
    """Runs the pipeline with TFX's LocalDagRunner."""
    from tfx import v1 as tfx

    tfx.orchestration.LocalDagRunner().run(build(config, root))


def execute(name, parameters, inputs, outputs, work_root):
    """Runs one stage inside TFX's executor; inputs and outputs are TFX's artifacts."""
    read, written = ({key: artifact.uri for key, artifact in group.items()} for group in (inputs, outputs))
    for key, properties in light_components.execute(name, parameters, read, written, work_root).items():
        for fact, value in properties.items():
            setters = {
                int: outputs[key].set_int_custom_property,
                float: outputs[key].set_float_custom_property,
            }
            setters.get(type(value), outputs[key].set_string_custom_property)(fact, value)
