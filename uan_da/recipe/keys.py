"""The whole key that somebody means who writes its last part: ``epochs`` is ``train.epochs``."""

from collections.abc import Iterator
from typing import get_args

from uan_da.recipe.schema import Recipe
from uan_da.recipe.strict import Strict

OF_BLOCKS = {
    "lr": "train.optimizer.lr",
    "learning_rate": "train.optimizer.lr",
    "weight_decay": "train.optimizer.weight_decay",
    "momentum": "train.optimizer.momentum",
    "num_clusters": "norm.num_clusters",
    "where": "norm.where",
    "trade_off": "method.trade_off",
    "weights": "backbone.weights",
    "pretrained": "backbone.weights",
    "batch_size": "train.batch.source",
}
"""Options of blocks, which depend on the block's name, and what others call a key."""


def full_key(last: str) -> str | None:
    """The key whose last part is ``last``; None where there is none or the recipe has it at its top."""
    found = [key for key in _keys(Recipe) if "." in key and key.rpartition(".")[2] == last]
    return found[0] if found else OF_BLOCKS.get(last)


def key_of_option(option: str) -> str | None:
    """The key that somebody means who writes ``--option``; None where there is none."""
    return option if option.partition(".")[0] in Recipe.model_fields else full_key(option)


def _keys(model: type[Strict], path: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield f"{path}{name}"
        for part in (field.annotation, *get_args(field.annotation)):
            if isinstance(part, type) and issubclass(part, Strict):
                yield from _keys(part, f"{path}{name}.")


def with_full_key(message: str, key: str) -> str:
    """An unknown key's message, with the key that is meant where one ends like it."""
    meant = full_key(key)
    return message if meant is None else f"unknown key {key!r} (did you mean {meant!r}?)"
