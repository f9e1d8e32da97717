"""Cards: the YAML files that describe data sets."""

from typing import Any

from pydantic import Field, ValidationError

from uan_da.data.adapter import Adapter
from uan_da.errors import UserError
from uan_da.names import ADAPTERS, unknown
from uan_da.recipe.block import Strict, block
from uan_da.recipe.load import describe_problems
from uan_da.recipe.source import read_yaml
from uan_da.shipped import shipped


class DomainCard(Strict):
    """One domain: what its images are, how many, and what they may be used for."""

    description: str
    train: int | None = None
    test: int | None = None
    licence: str = "unknown"
    source: str = "unknown"


class Card(Strict):
    """A data set: its domains, the code that serves them, and what a user must know before using them."""

    version: int = Field(default=1, alias="schema")
    description: str
    adapter: block(ADAPTERS)  # type: ignore[valid-type]
    domains: dict[str, DomainCard]
    classes: tuple[str, ...]
    citation: str = "unknown"


def load_card(name: str) -> Card:
    """The shipped card of that name.

    Raises:
        UserError: there is no such card, or it is not one (all its mistakes, ``FILE:LINE: KEY: PROBLEM``).
    """
    cards = shipped("datasets")
    if name not in cards:
        raise UserError(unknown("dataset", name, cards))
    source = read_yaml(cards[name])
    try:
        return Card.model_validate(source.data)
    except ValidationError as error:
        raise UserError(describe_problems(source, error)) from None


def open_dataset(name: str) -> Adapter:
    """The data set that a recipe's ``dataset`` names: a shipped card, or ``module:Class`` of the user's own.

    Raises:
        UserError: it does not exist, or the adapter refuses its options.
    """
    if ":" in name:
        adapter: Any = ADAPTERS.load(name)()
        return adapter  # type: ignore[no-any-return]
    return load_card(name).adapter()  # type: ignore[no-any-return]
