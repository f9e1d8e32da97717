"""Changes to a recipe before it is checked: those of the command line, and those that it makes itself for its method.

The command line gives texts: ``norm=bn method.trade_off=0.5 train.epochs=2``. The recipe's own key ``per_method`` says
what differs for a method, as the protocols of papers do (rates, schedules, bottlenecks):

.. code-block:: yaml

    per_method:
      mdd: {train: {optimizer: {lr: 4e-3}}, bottleneck: {features: 1024}}
"""

from collections.abc import Iterable, Sequence
from typing import Any

from uan_da.errors import UserError
from uan_da.names import METHODS, unknown
from uan_da.recipe.schema import Recipe
from uan_da.recipe.source import KeyPath, Source, parse_value

BLOCKS = ("backbone", "norm", "method", "train.optimizer", "train.schedule", "selection.validator")
"""Keys whose value has a name and options."""

PER_METHOD = "per_method"


def apply_overrides(source: Source, overrides: Iterable[str]) -> None:
    """Apply ``key=value`` texts to ``source``, names of blocks before keys, whatever their order.

    A block that gets a new name loses its options: they belonged to the old one. What the recipe says ``per_method`` of
    the method that it ends with goes in right after that method's name.

    Raises:
        UserError: a text has no ``=``, or goes through a key that holds no mapping; or ``per_method`` names no method.
    """
    pairs = sorted((_split(text) for text in overrides), key=lambda pair: (pair[0] != "method", pair[0] not in BLOCKS))
    methods = [pair for pair in pairs if pair[0] == "method"]
    for key, value in methods:
        _set(source, key, value)
    _apply_per_method(source)
    for key, value in pairs[len(methods) :]:
        _set(source, key, value)


def methods_of(source: Source) -> list[str]:
    """The methods that a recipe has something to say of; UserError where it names none that exists."""
    changes = source.data.get(PER_METHOD) or {}
    where = source.location((PER_METHOD,))
    if not isinstance(changes, dict) or not all(isinstance(change, dict) for change in changes.values()):
        raise UserError(f"{where}: {PER_METHOD}: expected a mapping from a method's name to keys of the recipe")
    for name in changes:
        if name not in METHODS.targets and ":" not in str(name):
            where = source.location((PER_METHOD, name))
            raise UserError(f"{where}: {PER_METHOD}: {unknown('method', str(name), METHODS.targets)}")
    return list(changes)


def _apply_per_method(source: Source) -> None:
    """Merge what ``source`` says of its method into it; the key itself is gone afterwards.

    Mappings are merged key by key; a block that gets another name is replaced.
    """
    known = methods_of(source)
    changes = source.data.pop(PER_METHOD, None)
    method = source.data.get("method")
    name = method.get("name") if isinstance(method, dict) else method
    if name in known:
        _move_locations(source, (PER_METHOD, str(name)))
        source.data["method"] = _mapping_form("method", method)
        _merge(source.data, changes[name])
    for path in [path for path in source.locations if path[0] == PER_METHOD]:
        del source.locations[path]


def _merge(data: dict[str, Any], change: dict[str, Any], path: tuple[str, ...] = ()) -> None:
    for key, value in change.items():
        here = (*path, str(key))
        old = _mapping_form(".".join(here), data.get(key)) if isinstance(value, dict) else None
        renamed = isinstance(old, dict) and "name" in value and old.get("name") != value["name"]
        if isinstance(old, dict) and not renamed:
            data[key] = old
            _merge(old, value, here)
        else:
            data[key] = value


def _move_locations(source: Source, prefix: KeyPath) -> None:
    """A key that was changed is found where the change was written."""
    moved = {path[len(prefix) :]: where for path, where in source.locations.items() if path[: len(prefix)] == prefix}
    source.locations.update({path: where for path, where in moved.items() if path})


def _split(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")  # at the first =, for the value may hold more
    if not equals or not key or not all(key.split(".")):
        raise UserError(f"command line: {text!r}: expected KEY=VALUE, such as train.epochs=2")
    block = key.removesuffix(".name")
    return (block if block in BLOCKS else key), parse_value(value)


def _set(source: Source, key: str, value: Any) -> None:
    path = tuple(key.split("."))
    parent = _descend(source.data, path[:-1], key)
    if key in BLOCKS and isinstance(value, str):
        value = _named(parent.get(path[-1]), value)
    parent[path[-1]] = value
    for below in [each for each in source.locations if each[: len(path)] == path]:
        del source.locations[below]
    source.locations[path] = "command line"


def _named(old: Any, name: str) -> Any:
    """A block of that name: the old one where it has it."""
    return old if (old.get("name") if isinstance(old, dict) else old) == name else {"name": name}


def _descend(data: dict[str, Any], path: Sequence[str], key: str) -> dict[str, Any]:
    for depth, part in enumerate(path):
        here = ".".join(path[: depth + 1])
        child = _mapping_form(here, data[part]) if part in data else _mapping_form(here, None) or {}
        data[part] = child
        if not isinstance(child, dict):
            raise UserError(f"command line: {key}: {here!r} holds a value, not keys")
        data = child
    return data


def _mapping_form(key: str, value: Any) -> Any:
    """The value of ``key`` as a mapping, where it is a block's name, so that a key can be put into it: ``sgd`` is
    ``{name: sgd}``; a block that is left out has its default's."""
    if key not in BLOCKS:
        return value
    name = _default_name(key) if value is None else value
    return {"name": name} if isinstance(name, str) else value


def _default_name(key: str) -> str | None:
    *parents, last = key.split(".")
    model: Any = Recipe
    for part in parents:
        model = model.model_fields[part].annotation
    name: str | None = model.model_fields[last].annotation.default_name
    return name
