"""Short names of what a grid's cells differ in."""

from collections.abc import Mapping
from typing import Any

from uan_da.recipe.source import parse_value

SYMBOLS = {"num_clusters": "K"}
"""Options that are known by their symbol."""


def short(text: str) -> str:
    """A value of the command line as rows of tables name it: ``{name: uan, num_clusters: 8, shrink: 0.5}`` is
    ``uan K=8 shrink=0.5``; what is no mapping stays as it was written."""
    value = parse_value(text) if text.startswith("{") else text
    return _plain(value) if isinstance(value, Mapping) else text


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        named = [str(value["name"])] if "name" in value else []
        return " ".join([*named, *(_pair(key, item) for key, item in value.items() if key != "name")])
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_plain, value))}]"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return str(value)


def _pair(key: Any, item: Any) -> str:
    text = _plain(item)
    return f"{SYMBOLS.get(key, key)}={f'({text})' if isinstance(item, Mapping) else text}"
