"""The blocks of a recipe as mappings, so that a key can be put into one: ``sgd`` is ``{name: sgd}``."""

from typing import Any

from uan_da.recipe.schema import Recipe

BLOCKS = ("backbone", "norm", "method", "train.optimizer", "train.schedule", "selection.validator")
"""Keys whose value has a name and options."""


def mapping_form(key: str, value: Any) -> Any:
    """The value of ``key`` as a mapping, where it is a block's name; a block that is left out has its default's."""
    if key not in BLOCKS:
        return value
    name = _default_name(key) if value is None else value
    return {"name": name} if isinstance(name, str) else value


def _default_name(key: str) -> Any:
    *parents, last = key.split(".")
    model: Any = Recipe
    for part in parents:
        model = model.model_fields[part].annotation
    return model.model_fields[last].default
