"""Frozen dataclasses from YAML files and `KEY=VALUE` settings: how values are read, apart from what there is
to set.

A dataclass declares everything once: the type of a field, and beside it, in
`dataclasses.field(metadata=...)`, what else must hold:

    "range"     interval of a number or of each number of a tuple, such as "[0, 1]", "(0, inf)"
    "choices"   the names a text may be, or a function that gives them
    "path"      True: `~` is the home folder
    "name"      True: a plain name, without slashes
    "filled"    True: an empty text or tuple is refused
    "keys"      of a mapping: the keys it may have, or a function that gives them; without it any

The rules hold inside lists of dataclasses, too. Sections may nest to any depth, be optional, and come from
any package. What a section itself refuses (`ValueError`, `TypeError` in its `__post_init__`) is told like a
wrong value.

One rule for short keys: inside a section, a name that the section lacks and exactly one of its nested
sections or mappings has, means that one; `trainer.steps` finds `trainer.schedule.steps`.
"""

import collections.abc
import dataclasses
import difflib
import pathlib
import typing

import yaml

from pipeline.errors import ConfigError
from pipeline.setting_values import (
    Loader,
    WrongType,
    checked,
    described,
    node_of,
    pairs,
    shown,
    typed_value,
    yaml_value,
)


@dataclasses.dataclass(frozen=True)
class Given:
    """A value as somebody wrote it.

    Attributes:
        keys: where it goes, outermost first.
        source: `str` as typed on the command line, or `yaml.Node` of a file.
        where: whom to blame: `FILE:LINE` or `--set TEXT`.
    """

    keys: tuple[str, ...]
    source: str | yaml.Node
    where: str


def read_file(path, kind):
    """`Given` values of a YAML file, in its order.

    Args:
        path: the file. kind: the dataclass it is for, whose sections a message names.

    Raises:
        ConfigError: no such file, not YAML, not a mapping, or a key that is there twice.
    """
    path = pathlib.Path(path).expanduser()
    try:
        node = yaml.compose(path.read_text("utf-8"), Loader)
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: no such file; expected a YAML configuration, such as pipeline/configs/bus_uclm.yaml."
        ) from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); expected a YAML file.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not YAML: {error}") from None
    if node is None:
        return []
    if not isinstance(node, yaml.MappingNode):
        found = type(yaml_value(node)).__name__
        raise ConfigError(f"{path}: found a {found}; expected sections: {', '.join(_fields(kind))}.")
    try:
        return list(_flat(node, (), path))
    except RecursionError:
        raise ConfigError(
            f"{path}: a section that is part of itself (an alias, *NAME); expected values. Write them out."
        ) from None


def _flat(node, keys, path):
    for name, value, line in pairs(node, lambda line: f"{path}:{line}", keys):
        if isinstance(value, yaml.MappingNode) and value.value:
            yield from _flat(value, (*keys, name), path)
        else:
            yield Given((*keys, name), value, f"{path}:{line}")


def read_setting(setting):
    """The `Given` of a text such as `"trainer.steps=100"`.

    Raises:
        ConfigError: not of the form SECTION.KEY=VALUE.
    """
    key, equals, text = setting.partition("=")
    keys, where = tuple(key.strip().split(".")), f"--set {setting}"
    if not equals or len(keys) < 2 or not all(keys):
        raise ConfigError(f"{where}: expected SECTION.KEY=VALUE, such as trainer.steps=100.")
    return Given(keys, text.strip(), where)


def build(kind, given):
    """An instance of a dataclass with its defaults changed; a later value wins over an earlier one.

    Args:
        kind: frozen dataclass whose fields all have defaults. given: of `Given`.

    Raises:
        ConfigError: an unknown key (the nearest known one is offered), a value of another type, out of its
            range or choices, or one that a section refuses; says where it was written, what came and what was
            expected.
    """
    default, tree = kind(), {}
    for one in given:
        for steps, leaf in _placed(default, one):
            branch = tree
            for step in steps[:-1]:
                if isinstance(branch.get(step), _Leaf):
                    branch[step] = {}  # an optional section that was switched off before
                branch = branch.setdefault(step, {})
            branch[steps[-1]] = leaf
    return _changed(default, tree)


def plain(value):
    """A value as dictionaries, lists and scalars."""
    if dataclasses.is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, collections.abc.Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, pathlib.PurePath) else value


def flat(value, prefix=""):
    """Dictionary of dotted key to plain value, of what `plain` or YAML gives."""
    if not isinstance(value, dict):
        return {prefix: value}
    joined = {}
    for key, item in value.items():
        joined |= flat(item, f"{prefix}.{key}" if prefix else str(key))
    return joined


@dataclasses.dataclass(frozen=True)
class _Leaf:
    value: object
    where: str


def _fields(kind):
    return {field.name: field for field in dataclasses.fields(kind)}


def _hints(instance):
    return typing.get_type_hints(type(instance))


def _inside(instance, name):
    """Value of a field; where that is an optional section that is not there, the section's defaults."""
    value = getattr(instance, name)
    if value is None:
        kinds = [kind for kind in typing.get_args(_hints(instance)[name]) if dataclasses.is_dataclass(kind)]
        return kinds[0]() if kinds else None
    return value


def _placed(default, given):
    """Pairs of (steps from the root, `_Leaf`) of one `Given`: none for an empty section, several for a
    mapping on the command line."""
    steps, current, field, hint = [], default, None, type(default)
    rest = list(given.keys)
    while rest:
        if dataclasses.is_dataclass(current):
            if rest[0] not in _fields(current):
                rest[:1] = _route(current, rest[0], steps, given)
            field, hint = _fields(current)[rest[0]], _hints(current)[rest[0]]
            current = _inside(current, rest[0])
            steps.append(rest.pop(0))
        elif isinstance(current, collections.abc.Mapping):
            known = _keys(field)
            if known is not None and rest[0] not in known:
                raise ConfigError(f"{given.where}: {_unknown(steps, rest[0], known)}")
            kinds = typing.get_args(hint)
            hint = kinds[1] if len(kinds) == 2 and len(rest) == 1 else typing.Any
            steps, rest, field = [*steps, *rest], [], None
        else:
            raise ConfigError(f"{given.where}: {'.'.join(steps)} is a value and has no key {rest[0]}.")
    name = ".".join(steps)
    section = dataclasses.is_dataclass(current) or (
        field is not None and isinstance(current, collections.abc.Mapping)
    )
    source = given.source
    if section:
        node = node_of(source, given.where) if isinstance(source, str) else source
        if isinstance(node, yaml.MappingNode):
            return [
                pair
                for inner in _flat(node, given.keys, given.where)
                for pair in _placed(default, dataclasses.replace(inner, where=given.where))
            ]
        optional = type(None) in typing.get_args(hint)
        if yaml_value(node) is None:
            return [(steps, _Leaf(None, given.where))] if optional else []
        known = ", ".join(_fields(current) if dataclasses.is_dataclass(current) else _keys(field) or current)
        raise ConfigError(f"{given.where}: {name} is {yaml_value(node)!r}; expected keys: {known}.")
    try:
        value = typed_value(hint, source, given.where)
    except WrongType:
        came = shown(source, given.where)
        raise ConfigError(
            f"{given.where}: {name} is {came!r} ({type(came).__name__}); expected {described(hint)}."
        ) from None
    if field is not None:
        value = checked(value, field.metadata, name, given.where)
    return [(steps, _Leaf(value, given.where))]


def _route(section, name, steps, given):
    """The way from a section to the one nested key of this name."""
    found = list(_routes(section, name)) if steps else []
    if len(found) == 1:
        return found[0]
    if found:
        ways = " or ".join(".".join([*steps, *route]) for route in found)
        raise ConfigError(f"{given.where}: {'.'.join([*steps, name])} may be {ways}; write which.")
    raise ConfigError(
        f"{given.where}: {_unknown(steps, name, _fields(section), _nested(section) if steps else ())}"
    )


def _routes(section, name):
    for field in dataclasses.fields(section):
        value = _inside(section, field.name)
        if dataclasses.is_dataclass(value):
            if name in _fields(value):
                yield [field.name, name]
            else:
                yield from ([field.name, *route] for route in _routes(value, name))
        elif isinstance(value, collections.abc.Mapping) and name in {*value, *(_keys(field) or ())}:
            yield [field.name, name]


def _keys(field):
    """Keys that a mapping's field declares, or None for any."""
    known = field.metadata.get("keys")
    return known() if callable(known) else known


def _unknown(steps, name, known, nested=()):
    """What to say of a key that nothing has; `nested` are the keys of inner sections, dotted, which may be
    meant, too."""
    known = [str(key) for key in known]
    places = {path.rpartition(".")[2]: path for path in [*nested, *known]}
    near = difflib.get_close_matches(name, places, 1, 0.4)
    meant = f"; did you mean {'.'.join([*steps, places[near[0]]])}?" if near else "."
    return f"unknown key {'.'.join([*steps, name])}{meant} Known: {', '.join(known)}."


def _nested(section):
    """Dotted keys of all inner sections and mappings."""
    for field in dataclasses.fields(section):
        value = _inside(section, field.name)
        if dataclasses.is_dataclass(value):
            yield from (f"{field.name}.{key}" for key in [*_fields(value), *_nested(value)])
        elif isinstance(value, collections.abc.Mapping):
            yield from (f"{field.name}.{key}" for key in dict.fromkeys([*value, *(_keys(field) or ())]))


def _changed(section, tree):
    changes, blamed = {}, []
    for name, branch in tree.items():
        if isinstance(branch, _Leaf):
            changes[name] = branch.value
            blamed.append(branch.where)
            continue
        current = _inside(section, name)
        changes[name] = (
            _changed(current, branch) if dataclasses.is_dataclass(current) else _merged(current, branch)
        )
        blamed += _wheres(branch)
    try:
        return dataclasses.replace(section, **changes)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{', '.join(dict.fromkeys(blamed))}: {error}") from None


def _merged(mapping, tree):
    merged = dict(mapping) if isinstance(mapping, collections.abc.Mapping) else {}
    for name, branch in tree.items():
        merged[name] = branch.value if isinstance(branch, _Leaf) else _merged(merged.get(name), branch)
    return merged


def _wheres(tree):
    for branch in tree.values():
        yield from [branch.where] if isinstance(branch, _Leaf) else _wheres(branch)
