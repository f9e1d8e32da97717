"""``norm=bn method.trade_off=0.5 train.epochs=2``: a recipe changed on the command line."""

from collections.abc import Iterable
from typing import Any

from uan_da.errors import UserError
from uan_da.recipe.mapping_form import BLOCKS, mapping_form
from uan_da.recipe.per_method import apply_per_method
from uan_da.recipe.source import Source, parse_value


def apply_overrides(source: Source, overrides: Iterable[str]) -> None:
    """Apply ``key=value`` texts to ``source``, names of blocks before keys, whatever their order.

    A block that gets a new name loses its options: they belonged to the old one. What the recipe says ``per_method`` of
    the method that it ends with goes in right after that method's name.

    Raises:
        UserError: a text has no ``=``, or goes through a key that holds no mapping.
    """
    pairs = sorted((_split(text) for text in overrides), key=lambda pair: (pair[0] != "method", pair[0] not in BLOCKS))
    methods = [pair for pair in pairs if pair[0] == "method"]
    for key, value in methods:
        _set(source, key, value)
    apply_per_method(source)
    for key, value in pairs[len(methods) :]:
        _set(source, key, value)


def _set(source: Source, key: str, value: Any) -> None:
    path = key.split(".")
    parent = _descend(source.data, path[:-1], key)
    if key in BLOCKS and isinstance(value, str):
        value = _named(parent.get(path[-1]), value)
    parent[path[-1]] = value
    below = [place for place in source.places if place[: len(path)] == tuple(path)]
    for place in below:
        del source.places[place]
    source.places[tuple(path)] = "command line"


def _named(old: Any, name: str) -> Any:
    """A block of that name: the old one where it has it."""
    return old if _name(old) == name else {"name": name}


def _split(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")  # at the first =, for the value may hold more
    if not equals or not key or not all(key.split(".")):
        raise UserError(f"command line: {text!r}: expected KEY=VALUE, such as train.epochs=2")
    block = key.removesuffix(".name")
    return (block if block in BLOCKS else key), parse_value(value)


def _descend(data: dict[str, Any], path: list[str], key: str) -> dict[str, Any]:
    for depth, part in enumerate(path):
        here = ".".join(path[: depth + 1])
        child = mapping_form(here, data[part]) if part in data else mapping_form(here, None) or {}
        data[part] = child
        if not isinstance(child, dict):
            raise UserError(f"command line: {key}: {here!r} holds a value, not keys")
        data = child
    return data


def _name(block: Any) -> Any:
    return block.get("name") if isinstance(block, dict) else block
