"""Frozen dataclasses from YAML files and `KEY=VALUE` settings: how values are read, apart from what there is to set.

A dataclass declares everything once: the type of a field, and beside it, in `dataclasses.field(metadata=...)`, what else must hold:

    "range"     interval of a number or of each number of a tuple, such as "[0, 1]", "(0, inf)"
    "choices"   the names a text may be, or a function that gives them
    "path"      True: `~` is the home folder
    "name"      True: a plain name, without slashes
    "filled"    True: an empty text or tuple is refused
    "keys"      of a mapping: the keys it may have, or a function that gives them; without it any

Sections may nest to any depth, be optional, and come from any package. What a section itself refuses (`ValueError`, `TypeError` in its
`__post_init__`) is told like a wrong value.

One rule for short keys: inside a section, a name that the section lacks and exactly one of its nested sections or mappings has, means that
one; `trainer.steps` finds `trainer.schedule.steps`.
"""

import collections.abc
import dataclasses
import difflib
import math
import os
import pathlib
import re
import types
import typing

import yaml

from pipeline.errors import ConfigError

ITEM = re.compile(r"""\s*(?:('(?:[^']|'')*'|"(?:[^"\\]|\\.)*")\s*|([^,]*))(?:,|$)""")
"""An item of a list on the command line: quoted, or all up to the comma."""


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


class _WrongType(Exception):
    pass


def read_file(path, kind):
    """`Given` values of a YAML file, in its order.

    Args:
        path: the file. kind: the dataclass it is for, whose sections a message names.

    Raises:
        ConfigError: no such file, not YAML, not a mapping, or a key that is there twice.
    """
    path = pathlib.Path(path).expanduser()
    try:
        node = yaml.compose(path.read_text("utf-8"), yaml.SafeLoader)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; expected a YAML configuration, such as pipeline/configs/bus_uclm.yaml.") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); expected a YAML file.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not YAML: {error}") from None
    if node is None:
        return []
    if not isinstance(node, yaml.MappingNode):
        found = type(_plain(node)).__name__
        raise ConfigError(f"{path}: found a {found}; expected sections: {', '.join(_fields(kind))}.")
    return list(_flat(node, (), path))


def _flat(node, keys, path):
    seen = {}
    for key, _ in node.value:
        line = key.start_mark.line + 1
        if key.tag != "tag:yaml.org,2002:merge" and key.value in seen:
            name = ".".join((*keys, str(key.value)))
            raise ConfigError(f"{path}:{line}: {name} is there already in line {seen[key.value]}; expected each key once.")
        seen[key.value] = line
    yaml.SafeLoader("").flatten_mapping(node)
    for key, value in node.value:
        if isinstance(value, yaml.MappingNode) and value.value:
            yield from _flat(value, (*keys, str(key.value)), path)
        else:
            yield Given((*keys, str(key.value)), value, f"{path}:{key.start_mark.line + 1}")


def read_setting(setting):
    """`Given` values of a text such as `"trainer.steps=100"`; more than one where the value is a YAML mapping.

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
        ConfigError: an unknown key (the nearest known one is offered), a value of another type, out of its range or choices, or one
            that a section refuses; says where it was written, what came and what was expected.
    """
    default, tree = kind(), {}
    for one in given:
        for steps, leaf in _placed(default, one):
            branch = tree
            for step in steps[:-1]:
                branch = branch.setdefault(step, {})
                if isinstance(branch, _Leaf):
                    raise ConfigError(f"{one.where}: {'.'.join(steps)}: {step} was given a value by {branch.where}, too.")
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
    """Pairs of (steps from the root, `_Leaf`) of one `Given`: none for an empty section, several for a mapping on the command line."""
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
    section = dataclasses.is_dataclass(current) or (field is not None and isinstance(current, collections.abc.Mapping))
    source = given.source
    if section:
        node = _node(source, given.where) if isinstance(source, str) else source
        if isinstance(node, yaml.MappingNode):
            return [
                pair
                for inner in _flat(node, given.keys, given.where)
                for pair in _placed(default, dataclasses.replace(inner, where=given.where))
            ]
        optional = type(None) in typing.get_args(hint)
        if _plain(node) is None:
            return [(steps, _Leaf(None, given.where))] if optional else []
        known = ", ".join(_fields(current) if dataclasses.is_dataclass(current) else _keys(field) or current)
        raise ConfigError(f"{given.where}: {name} is {_plain(node)!r}; expected keys: {known}.")
    try:
        value = _value(hint, source, given.where)
    except _WrongType:
        shown = _shown(source, given.where)
        raise ConfigError(f"{given.where}: {name} is {shown!r} ({type(shown).__name__}); expected {_described(hint)}.") from None
    if field is not None:
        value = _checked(value, field.metadata, name, given.where)
    return [(steps, _Leaf(value, given.where))]


def _route(section, name, steps, given):
    """The way from a section to the one nested key of this name."""
    found = list(_routes(section, name)) if steps else []
    if len(found) == 1:
        return found[0]
    if found:
        ways = " or ".join(".".join([*steps, *route]) for route in found)
        raise ConfigError(f"{given.where}: {'.'.join([*steps, name])} may be {ways}; write which.")
    raise ConfigError(f"{given.where}: {_unknown(steps, name, _fields(section))}")


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


def _unknown(steps, name, known):
    known = [str(key) for key in known]
    near = difflib.get_close_matches(name, known, 1, 0)
    meant = f"; did you mean {'.'.join([*steps, near[0]])}?" if near else "."
    return f"unknown key {'.'.join([*steps, name])}{meant} Known: {', '.join(known)}."


def _node(text, where):
    try:
        return yaml.compose(text, yaml.SafeLoader) or yaml.ScalarNode("tag:yaml.org,2002:null", "")
    except yaml.YAMLError as error:
        raise ConfigError(f"{where}: the value is not YAML: {error}") from None


def _plain(node):
    """What YAML makes of a node."""
    try:
        return yaml.SafeLoader("").construct_document(node)
    except (yaml.YAMLError, ValueError):
        return node.value


def _shown(source, where):
    """What came, for a message."""
    if not isinstance(source, str):
        return _plain(source)
    try:
        return _plain(_node(source, where))
    except ConfigError:
        return source


def _value(hint, source, where):
    origin, kinds = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return _value(kinds[0], source, where)
    if origin in (typing.Union, types.UnionType):
        # Text takes anything: it comes last.
        for kind in sorted(kinds, key=lambda kind: kind is str):
            try:
                return _value(kind, source, where)
            except _WrongType:
                continue
        raise _WrongType
    if origin is typing.Literal:
        for choice in kinds:
            try:
                if choice == _value(type(choice), source, where):
                    return choice
            except _WrongType:
                continue
        raise _WrongType
    if (origin or hint) in (tuple, list):
        return _items(origin or hint, kinds, source, where)
    if dataclasses.is_dataclass(hint):
        return _instance(hint, source, where)
    if hint is str or (isinstance(hint, type) and issubclass(hint, pathlib.PurePath)):
        return hint(_text(source))
    value = _plain(_node(source, where) if isinstance(source, str) else source)
    if hint is typing.Any:
        return value
    if hint is float and isinstance(value, (int, str)) and not isinstance(value, bool):
        try:
            return float(value)  # YAML 1.1 reads 1e-3 as a string
        except (ValueError, OverflowError):
            raise _WrongType from None
    if isinstance(hint, type) and isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    raise _WrongType


def _text(source):
    """Text as it was written: a name of digits keeps its zeros, ` #` begins no comment on the command line."""
    if isinstance(source, str):
        quoted = len(source) > 1 and source[0] == source[-1] and source[0] in "'\""
        return str(_plain(_node(source, "--set"))) if quoted else source
    if not isinstance(source, yaml.ScalarNode):
        raise _WrongType
    if source.tag == "tag:yaml.org,2002:null" and source.value not in ("", "~"):
        raise _WrongType
    return source.value


def _items(container, kinds, source, where):
    kinds = kinds or (typing.Any, ...)
    fixed = container is tuple and kinds[-1] is not ...
    text = any(kind is str for kind in kinds)
    if isinstance(source, str) and text and source.startswith("[") and source.endswith("]"):
        inner = source[1:-1].strip()
        parts = [quoted or bare.strip() for quoted, bare in ITEM.findall(inner)] if inner else []
        # The pattern also finds the nothing after the last item.
        parts = parts[:-1] if parts and not parts[-1] else parts
    else:
        node = source if isinstance(source, yaml.Node) or text else _node(source, where)
        if isinstance(node, yaml.SequenceNode):
            parts = node.value
        elif fixed or isinstance(node, yaml.MappingNode):
            raise _WrongType
        else:
            empty = node == "" or (isinstance(node, yaml.ScalarNode) and not node.value)
            parts = [] if empty else [node]
    if fixed:
        if len(parts) != len(kinds):
            raise _WrongType
        return tuple(_value(kind, part, where) for kind, part in zip(kinds, parts))
    return container(_value(kinds[0], part, where) for part in parts)


def _instance(kind, source, where):
    """A dataclass inside a list: a mapping of its fields, or their values in order."""
    node = _node(source, where) if isinstance(source, str) else source
    hints = typing.get_type_hints(kind)
    if isinstance(node, yaml.MappingNode):
        given = {key.value: value for key, value in node.value}
    elif isinstance(node, yaml.SequenceNode) and len(node.value) <= len(hints):
        given = dict(zip(hints, node.value))
    else:
        raise _WrongType
    if set(given) - set(hints):
        raise _WrongType
    values = {name: _value(hints[name], value, where) for name, value in given.items()}
    try:
        return kind(**values)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{where}: {error}") from None


def _described(hint):
    origin, kinds = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return _described(kinds[0])
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(_described, kinds))
    if origin is typing.Literal:
        return f"one of {list(kinds)}"
    if origin in (tuple, list):
        if kinds[-1] is ... or origin is list:
            return f"a list [..., ...] of {_described(kinds[0])}"
        return f"a list [{', '.join(map(_described, kinds))}]"
    if dataclasses.is_dataclass(hint):
        return f"{{{', '.join(_fields(hint))}}}"
    return "nothing (null)" if hint is type(None) else getattr(hint, "__name__", str(hint))


def _checked(value, rules, name, where):
    """The value, with `~` in a path expanded.

    Raises:
        ConfigError: it breaks a rule of the field.
    """

    def refuse(came, expected):
        raise ConfigError(f"{where}: {name} {came}; expected {expected}.")

    many = isinstance(value, (tuple, list))
    items = list(value) if many else [] if value is None else [value]
    if rules.get("filled") and not value:
        refuse("is empty", "at least one" if many else "a text")
    choices = rules.get("choices")
    choices = list(choices() if callable(choices) else choices or ())
    wrong = [item for item in items if choices and item not in choices]
    if wrong:
        near = difflib.get_close_matches(str(wrong[0]), map(str, choices), 1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        shown = ", ".join(map(str, choices[:12])) + (f" ... ({len(choices)} in all)" if len(choices) > 12 else "")
        refuse(f"has {wrong}" if many else f"is {value!r}", f"{'names of' if many else 'one of'}: {shown}{hint}")
    wrong = [item for item in items if "range" in rules and not _within(item, rules["range"])]
    if wrong:
        refuse(f"has {wrong}" if many else f"is {value!r}", f"{'numbers' if many else 'a number'} in {rules['range']}")
    if rules.get("name") and any("/" in item or "\\" in item or item.startswith(".") for item in items):
        refuse(f"is {value!r}", "a plain name, without slashes and without a dot in front")
    if rules.get("path") and isinstance(value, (str, pathlib.PurePath)):
        expanded = os.path.expanduser(value)
        if str(expanded).startswith("~"):
            refuse(f"is {str(value)!r}, and there is no such user", f"a path (./{value} is a folder of that name)")
        value = type(value)(expanded)
    return value


def _within(number, interval):
    low, high = (float(end) for end in interval[1:-1].split(","))
    above = low <= number if interval[0] == "[" else low < number
    below = number <= high if interval[-1] == "]" else number < high
    return above and below and not math.isnan(number)


def _changed(section, tree):
    changes, blamed = {}, []
    for name, branch in tree.items():
        if isinstance(branch, _Leaf):
            changes[name] = branch.value
            blamed.append(branch.where)
            continue
        current = _inside(section, name)
        changes[name] = _changed(current, branch) if dataclasses.is_dataclass(current) else _merged(current, branch)
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
