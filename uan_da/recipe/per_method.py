"""``per_method``: what a recipe changes for one method, as the protocols of papers do (rates, schedules, bottlenecks).

.. code-block:: yaml

    per_method:
      mdd: {train: {optimizer: {lr: 4e-3}}, bottleneck: {features: 1024}}
"""

from typing import Any

from uan_da.errors import UserError
from uan_da.names import METHODS, unknown
from uan_da.recipe.mapping_form import mapping_form
from uan_da.recipe.source import KeyPath, Source

KEY = "per_method"


def methods_of(source: Source) -> list[str]:
    """The methods that a recipe has something to say of; UserError where it names none that exists."""
    changes = source.data.get(KEY) or {}
    if not isinstance(changes, dict) or not all(isinstance(change, dict) for change in changes.values()):
        raise UserError(f"{source.place((KEY,))}: {KEY}: expected a mapping from a method's name to keys of the recipe")
    for name in changes:
        if name not in METHODS.targets and ":" not in str(name):
            raise UserError(f"{source.place((KEY, name))}: {KEY}: {unknown('method', str(name), METHODS.targets)}")
    return list(changes)


def apply_per_method(source: Source) -> None:
    """Merge what ``source`` says of its method into it; the block itself is gone afterwards.

    Mappings are merged key by key; a block that gets another name is replaced.
    """
    known = methods_of(source)
    changes = source.data.pop(KEY, None)
    method = source.data.get("method")
    name = method.get("name") if isinstance(method, dict) else method
    if name in known:
        _move_places(source, (KEY, str(name)))
        source.data["method"] = mapping_form("method", method)
        _merge(source.data, changes[name])
    for place in [place for place in source.places if place[0] == KEY]:
        del source.places[place]


def _merge(data: dict[str, Any], change: dict[str, Any], path: tuple[str, ...] = ()) -> None:
    for key, value in change.items():
        here = (*path, str(key))
        old = mapping_form(".".join(here), data.get(key)) if isinstance(value, dict) else None
        renamed = isinstance(old, dict) and "name" in value and old.get("name") != value["name"]
        if isinstance(old, dict) and not renamed:
            data[key] = old
            _merge(old, value, here)
        else:
            data[key] = value


def _move_places(source: Source, prefix: KeyPath) -> None:
    """A key that was changed is found where the change was written."""
    moved = {place[len(prefix) :]: where for place, where in source.places.items() if place[: len(prefix)] == prefix}
    source.places.update({place: where for place, where in moved.items() if place})
