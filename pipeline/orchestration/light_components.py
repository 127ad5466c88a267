"""The stages as functions of another system: Kubeflow Pipelines and TFX read a function's signature, so they
are given one.

What the local runner does around a stage and another system cannot know stays there: inputs that the history
decides (`baseline`, `previous`) are left out.
"""

import json
import linecache
import logging
import os
import pathlib
import shutil
import tempfile

from pipeline.errors import PipelineError
from pipeline.orchestration.annotations import Channel
from pipeline.orchestration.cache import PROJECT, cache_key, digest_path
from pipeline.terminal import show_log

LOG = logging.getLogger(__name__)
PLAIN = (str, int, float, bool)
SEVERAL = ('["', "[]")
"""The beginning of several paths (or none) as JSON text, which no path of its own has."""


def parameters(node):
    """A node's parameters, settings and paths as plain values: name to str, int, float or bool.

    Structures, and several paths, become JSON text: Kubeflow's Struct would make 1200 steps 1200.0, and TFX
    takes no dictionaries. Paths inside the project become relative to it, because it lies elsewhere in a
    container.
    """
    component = node.component
    values = {name: node.arguments[name] for name in (*component.parameters, *component.engines)}
    values = {
        name: json.dumps(value) if name in _structures(component) else value for name, value in values.items()
    }
    return values | {name: _portable(node.arguments[name]) for name in component.paths}


def channels(node):
    """Inputs of a node that are outputs of another: name to `Channel`."""
    return {name: value for name, value in node.arguments.items() if isinstance(value, Channel)}


def function(node, module, names, annotate):
    """A function that hands its arguments to `module.execute`, with the signature that the other system
    wants.

    Args:
        node: `Node`. module: name of the module whose `execute` runs it. names: globals of the function.
        annotate: function of ("parameter", type's name), ("input", artifact's type) or ("output", artifact's
            type) to the source of an annotation.

    Returns:
        The function; `inspect.getsource` works on it.
    """
    component = node.component
    types = {name: type(value).__name__ for name, value in parameters(node).items()} | {"work_root": "str"}
    inputs = {name: component.inputs[name].type_name() for name in channels(node)}
    outputs = {name: kind.type_name() for name, kind in component.outputs.items()}
    signature = [
        f"{name}: {annotate(role, kind)}"
        for role, group in (("parameter", types), ("input", inputs), ("output", outputs))
        for name, kind in group.items()
    ]

    def record(group):
        return "{" + ", ".join(f'"{name}": {name}' for name in group if name != "work_root") + "}"

    source = (
        f"def {component.name}({', '.join(signature)}):\n"
        f"    from {module} import execute\n\n"
        f"    execute({component.name!r}, {record(types)}, {record(inputs)}, {record(outputs)}, work_root)\n"
    )
    file = f"<{module} {component.name}>"
    linecache.cache[file] = (len(source), None, source.splitlines(True), file)
    exec(compile(source, file, "exec"), names)
    return names[component.name]


def execute(name, parameters, inputs, outputs, work_root):
    """Runs one stage.

    Args:
        name: of the component. parameters: as `parameters` gives them.
        inputs, outputs: name to the artifact's folder.
        work_root: folder for checkpoints that outlive a killed process; empty for none.

    Returns:
        Properties of each output, by name.

    Raises:
        PipelineError: the stage stops the run.
    """
    import pipeline.components

    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    show_log()
    component = getattr(pipeline.components, name)
    given = arguments(component, parameters)
    read = {key: component.inputs[key](path, None, digest_path(path)) for key, path in inputs.items()}
    written = {key: component.outputs[key](path) for key, path in outputs.items()}
    for artifact in written.values():
        artifact.path.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        whole = {**given, **read, **written}
        if component.work_dir:
            key = cache_key(component(**given, **read), read)
            work = pathlib.Path(work_root or temporary) / f"{name}-{key[:16]}"
            work.mkdir(parents=True, exist_ok=True)
            whole[component.work_dir] = str(work)
        said = component.function(**whole) or {}
        if component.work_dir:
            shutil.rmtree(work)
    LOG.info("%s: %s", name, said.get("summary", ""))
    if said.get("stop"):
        raise PipelineError(f"stopped after {name}: {said['stop']}")
    return {key: artifact.properties for key, artifact in written.items()}


def arguments(component, parameters):
    """The plain values of `parameters` as a stage wants them: structures and several paths are no JSON text any
    more."""
    structures = _structures(component)
    return {
        key: _tuples(json.loads(value))
        if key in structures or (key in component.paths and value.startswith(SEVERAL))
        else value
        for key, value in parameters.items()
    }


def _portable(path):
    """A path as text; of several JSON text."""
    if isinstance(path, tuple):
        return json.dumps([_portable(one) for one in path])
    path = pathlib.Path(path)
    return str(path.relative_to(PROJECT)) if path.is_relative_to(PROJECT) else str(path)


def _structures(component):
    return [name for name, kind in {**component.parameters, **component.engines}.items() if kind not in PLAIN]


def _tuples(value):
    """A value read from JSON with its lists as tuples again, which is how the configuration has them."""
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
