"""A component is one annotated function that reads directories and writes directories.

    @component
    def SchemaGen(statistics: InputArtifact[ExampleStatistics], schema_file: InputPath, schema:
    OutputArtifact[Schema]): ...

The annotations are those of TFX's light components, and three more: `InputPath`, a file or folder from
outside (or a tuple of them) whose content counts in the cache key, `Engine`, settings that do not, and
`WorkDir`, a folder that survives an interrupted execution. A function may return `{"summary": line}` for
people, `{"stop": reason}` to end the run after its outputs are recorded, and `{"keep": False}` where the
machine and not the inputs decided the outcome: the next run tries again instead of taking it from the cache.
"""

import dataclasses
import inspect
import types
import typing


class _Marker:
    def __init__(self, item=None):
        self.item = item

    def __class_getitem__(cls, item):
        return cls(item)


class InputArtifact(_Marker):
    """An artifact that an earlier component wrote; `InputArtifact[Kind]`. A default of None makes it
    optional."""


class OutputArtifact(_Marker):
    """An artifact to write; the runner makes the directory and moves it into place when the function has
    returned."""


class Parameter(_Marker):
    """A plain value; `Parameter[int]`."""


class Engine(_Marker):
    """How the work is done, not what it is; `Engine[dict]`. Not part of the cache key: every engine gives the
    same result."""


class InputPath(_Marker):
    """A path outside the run, or a tuple of paths; their content is part of the cache key."""


class WorkDir(_Marker):
    """A folder for checkpoints; deleted after success."""


@dataclasses.dataclass(frozen=True)
class Component:
    """An annotated function, read. Calling it makes a `Node`."""

    name: str
    function: typing.Callable
    inputs: types.MappingProxyType
    outputs: types.MappingProxyType
    parameters: types.MappingProxyType
    engines: types.MappingProxyType
    paths: tuple
    work_dir: str | None
    still_valid: typing.Callable | None = None

    def __call__(self, **given):
        expected = {*self.inputs, *self.parameters, *self.engines, *self.paths}
        optional = {
            name
            for name, value in inspect.signature(self.function).parameters.items()
            if value.default is None
        }
        if set(given) - expected or expected - optional - set(given):
            raise TypeError(
                f"{self.name} got {sorted(given)}; expected {sorted(expected)}, of which {sorted(optional)} are optional."
            )
        return Node(self, given)


@dataclasses.dataclass(frozen=True)
class Channel:
    """An output of a node, as the input of another."""

    node: "Node"
    output: str


@dataclasses.dataclass(frozen=True, eq=False)
class Node:
    """A component with its arguments: channels, parameters and paths."""

    component: Component
    arguments: dict

    def __getitem__(self, output):
        if output not in self.component.outputs:
            raise KeyError(
                f"{self.component.name} has no output {output!r}; it has {sorted(self.component.outputs)}."
            )
        return Channel(self, output)


def component(function=None, *, still_valid=None):
    """Makes a `Component` of an annotated function.

    Args:
        function: the function.
        still_valid: optional function from outputs to bool, asked before a cached execution is used: whether
            what it did outside its artifacts is still so.
    """
    if function is None:
        return lambda inner: component(inner, still_valid=still_valid)
    groups = {InputArtifact: {}, OutputArtifact: {}, Parameter: {}, Engine: {}, InputPath: {}, WorkDir: {}}
    for name, hint in inspect.get_annotations(function).items():
        kind = hint if isinstance(hint, type) else type(hint)
        if kind not in groups:
            raise TypeError(
                f"{function.__name__}: {name} is annotated {hint!r}; expected one of {[k.__name__ for k in groups]}."
            )
        groups[kind][name] = getattr(hint, "item", None)
    return Component(
        name=function.__name__,
        function=function,
        inputs=types.MappingProxyType(groups[InputArtifact]),
        outputs=types.MappingProxyType(groups[OutputArtifact]),
        parameters=types.MappingProxyType(groups[Parameter]),
        engines=types.MappingProxyType(groups[Engine]),
        paths=tuple(groups[InputPath]),
        work_dir=next(iter(groups[WorkDir]), None),
        still_valid=still_valid,
    )
