"""Heads: what turns encoder features of support and query into masks. A name is the short form of an
object."""

import inspect
import types

import keras

from panet_keras.heads.head import Head
from panet_keras.heads.prototype_head import PrototypeHead
from panet_keras.heads.unet_head import UNetHead

HEADS = types.MappingProxyType({"bilinear": PrototypeHead, "unet": UNetHead})

__all__ = ["HEADS", "Head", "PrototypeHead", "UNetHead", "get", "switches"]


def get(head, **given):
    """Builds a head by name, or checks the one given.

    Args:
        head: `"bilinear"` (the paper's), `"unet"`, the registered name of a `Head` (`"my_package>MyHead"`),
            or a `Head`.
        **given: switches of the head, by name.

    Returns:
        `Head`.

    Raises:
        ValueError: an unknown head or switch, or switches beside an object, which has its own.
    """
    if isinstance(head, Head):
        if given:
            raise ValueError(
                f"{sorted(given)} came beside a {type(head).__name__}; expected them as arguments of that head."
            )
        return head
    kind = HEADS.get(head) or keras.saving.get_registered_object(head)
    if not (inspect.isclass(kind) and issubclass(kind, Head)):
        raise ValueError(
            f"decoder={head!r}; expected one of {sorted(HEADS)}, the registered name of a Head, or a Head."
        )
    known = switches(kind)
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise ValueError(f"decoder={head!r} has no switch {unknown[0]!r}; it has {sorted(known)}.")
    # The name is the first part of each variable's path, by which presets store them.
    return kind(**given, name="decoder")


def switches(kind):
    """Switches of a class of heads and their defaults: the arguments of its constructor."""
    parameters = inspect.signature(kind.__init__).parameters.values()
    return {p.name: p.default for p in parameters if p.name != "self" and p.kind is not p.VAR_KEYWORD}
