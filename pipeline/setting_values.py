"""One value of the configuration: from what was written to its declared type, and the rules that hold for
it."""

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


VARIABLE = re.compile(r"\$(\w+|\{[^}]*\})")
"""Of a shell: what `os.path.expandvars` leaves is none that is set, or more than a name, as ${X:-y}."""


class Loader(yaml.SafeLoader):
    """YAML, with the numbers of YAML 1.2: 010 is ten and no octal eight, 1:30 is a text and no ninety."""


def _decimal(loader, node):
    if ":" in node.value:
        return node.value
    digits = node.value.replace("_", "")
    return int(digits) if digits.lstrip("+-").isdecimal() else loader.construct_yaml_int(node)


def _fraction(loader, node):
    return node.value if ":" in node.value else loader.construct_yaml_float(node)


Loader.add_constructor("tag:yaml.org,2002:int", _decimal)
Loader.add_constructor("tag:yaml.org,2002:float", _fraction)


class WrongType(Exception):
    """What was written is nothing of the declared type."""


def pairs(node, where, above=()):
    """Keys of a mapping with their value nodes and lines; what `<<` brings in comes before its own, which win.

    Args:
        node: `yaml.MappingNode`. where: function of a line to whom a message blames. above: keys that lead to it.

    Raises:
        ConfigError: a key that is no name or is there twice, or a `<<` of something else than mappings.
    """
    seen = {}
    for key, _ in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise ConfigError(f"{where(line)}: a key is a list or a mapping; expected a name.")
        if key.tag != "tag:yaml.org,2002:merge" and key.value in seen:
            name = ".".join((*above, str(key.value)))
            raise ConfigError(
                f"{where(line)}: {name} is there already in line {seen[key.value]}; expected each key once."
            )
        seen[key.value] = line
    try:
        Loader("").flatten_mapping(node)
    except yaml.YAMLError as error:
        raise ConfigError(f"{where(seen['<<'])}: << joins {getattr(error, 'problem', error)}.") from None
    return [(str(key.value), value, key.start_mark.line + 1) for key, value in node.value]


def node_of(text, where):
    """The YAML node of a text on the command line; `where` is to blame for what is no YAML."""
    try:
        return yaml.compose(text, Loader) or yaml.ScalarNode("tag:yaml.org,2002:null", "")
    except yaml.YAMLError as error:
        raise ConfigError(f"{where}: the value is not YAML: {error}") from None


def yaml_value(node):
    """What YAML makes of a node."""
    try:
        return Loader("").construct_document(node)
    except (yaml.YAMLError, ValueError):
        return node.value


def shown(source, where):
    """What came, for a message."""
    if not isinstance(source, str):
        return yaml_value(source)
    try:
        return yaml_value(node_of(source, where))
    except ConfigError:
        return source


def typed_value(hint, source, where):
    """A value of the type that an annotation declares.

    Args:
        hint: str, int, float, bool, `pathlib.Path`, a dataclass, Any; tuple, list, Union, Optional, Literal
            and Annotated of these.
        source: `str` as typed on the command line, or `yaml.Node` of a file. where: whom a message blames.

    Raises:
        WrongType: it is nothing of this type.
    """
    origin, kinds = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return typed_value(kinds[0], source, where)
    if origin in (typing.Union, types.UnionType):
        # Text takes anything: it comes last.
        for kind in sorted(kinds, key=lambda kind: kind is str):
            try:
                return typed_value(kind, source, where)
            except WrongType:
                continue
        raise WrongType
    if origin is typing.Literal:
        for choice in kinds:
            try:
                if choice == typed_value(type(choice), source, where):
                    return choice
            except WrongType:
                continue
        raise WrongType
    if (origin or hint) in (tuple, list):
        return _items(origin or hint, kinds, source, where)
    if dataclasses.is_dataclass(hint):
        return _instance(hint, source, where)
    if hint is str or (isinstance(hint, type) and issubclass(hint, pathlib.PurePath)):
        return hint(_text(source, where))
    value = yaml_value(node_of(source, where) if isinstance(source, str) else source)
    if hint is typing.Any:
        return value
    if hint is float and isinstance(value, (int, str)) and not isinstance(value, bool):
        try:
            return float(value)  # YAML 1.1 reads 1e-3 as a string
        except (ValueError, OverflowError):
            raise WrongType from None
    if isinstance(hint, type) and isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    raise WrongType


def _text(source, where):
    """Text as it was written: a name of digits keeps its zeros, ` #` begins no comment on the command
    line."""
    if isinstance(source, str):
        quoted = len(source) > 1 and source[0] == source[-1] and source[0] in "'\""
        return str(yaml_value(node_of(source, "--set"))) if quoted else source
    if not isinstance(source, yaml.ScalarNode):
        raise WrongType
    if source.tag == "tag:yaml.org,2002:null" and source.value not in ("", "~"):
        raise WrongType
    if not source.tag.startswith("tag:yaml.org,2002:"):
        raise ConfigError(
            f"{where}: {source.tag} {source.value} is a tag of another program's; expected the value itself (a path may have "
            "$VARIABLE in it)."
        )
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
        node = source if isinstance(source, yaml.Node) or text else node_of(source, where)
        if isinstance(node, yaml.SequenceNode):
            parts = node.value
        elif fixed or isinstance(node, yaml.MappingNode):
            raise WrongType
        else:
            empty = node == "" or (isinstance(node, yaml.ScalarNode) and not node.value)
            parts = [] if empty else [node]
    if fixed:
        if len(parts) != len(kinds):
            raise WrongType
        return tuple(typed_value(kind, part, where) for kind, part in zip(kinds, parts))
    return container(typed_value(kinds[0], part, where) for part in parts)


def _instance(kind, source, where):
    """A dataclass inside a list: a mapping of its fields, or their values in order."""
    node = node_of(source, where) if isinstance(source, str) else source
    hints = typing.get_type_hints(kind)
    if isinstance(node, yaml.MappingNode):
        given = {name: value for name, value, _ in pairs(node, lambda line: where)}
    elif isinstance(node, yaml.SequenceNode) and len(node.value) <= len(hints):
        given = dict(zip(hints, node.value))
    else:
        raise WrongType
    rules, values = {field.name: field.metadata for field in dataclasses.fields(kind)}, {}
    for name, value in given.items():
        if name not in hints:
            near = difflib.get_close_matches(name, hints, 1, 0.4)
            meant = f"; did you mean {near[0]}?" if near else "."
            raise ConfigError(
                f"{where}: unknown key {name} in {shown(node, where)}{meant} Known: {', '.join(hints)}."
            )
        try:
            values[name] = checked(typed_value(hints[name], value, where), rules[name], name, where)
        except WrongType:
            came = shown(value, where)
            raise ConfigError(
                f"{where}: {name} is {came!r} ({type(came).__name__}) in {shown(node, where)}; expected {described(hints[name])}."
            ) from None
    try:
        return kind(**values)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{where}: {error}") from None


def described(hint):
    """An annotation in words."""
    origin, kinds = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return described(kinds[0])
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(described, kinds))
    if origin is typing.Literal:
        return f"one of {list(kinds)}"
    if origin in (tuple, list):
        if kinds[-1] is ... or origin is list:
            return f"a list [..., ...] of {described(kinds[0])}"
        return f"a list [{', '.join(map(described, kinds))}]"
    if dataclasses.is_dataclass(hint):
        return f"{{{', '.join([field.name for field in dataclasses.fields(hint)])}}}"
    return "nothing (null)" if hint is type(None) else getattr(hint, "__name__", str(hint))


def checked(value, rules, name, where):
    """The value, with `~` and `$VARIABLE` in a path expanded.

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
        names = ", ".join(map(str, choices[:12])) + (
            f" ... ({len(choices)} in all)" if len(choices) > 12 else ""
        )
        refuse(
            f"has {wrong}" if many else f"is {value!r}", f"{'names of' if many else 'one of'} [{names}]{hint}"
        )
    wrong = [item for item in items if "range" in rules and not _within(item, rules["range"])]
    if wrong:
        refuse(
            f"has {wrong}" if many else f"is {value!r}",
            f"{'numbers' if many else 'a number'} in {rules['range']}",
        )
    if rules.get("name") and any("/" in item or "\\" in item or item.startswith(".") for item in items):
        refuse(f"is {value!r}", "a plain name, without slashes and without a dot in front")
    if rules.get("path") and isinstance(value, (str, pathlib.PurePath)):
        expanded = os.path.expanduser(value)
        if "$" in str(expanded) and not os.path.exists(expanded):
            expanded = os.path.expandvars(expanded)
            left = VARIABLE.search(str(expanded))
            if left:
                refuse(
                    f"is {str(value)!r}, and there is no variable {left[0]}",
                    "a path; set the variable, or write it out",
                )
        if str(expanded).startswith("~"):
            refuse(
                f"is {str(value)!r}, and there is no such user",
                f"a path (./{value} is a folder of that name)",
            )
        value = type(value)(expanded)
    return value


def _within(number, interval):
    low, high = (float(end) for end in interval[1:-1].split(","))
    above = low <= number if interval[0] == "[" else low < number
    below = number <= high if interval[-1] == "]" else number < high
    return above and below and not math.isnan(number)
