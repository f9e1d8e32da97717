"""A card and its data as one adapter."""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from uan_da.data.adapter import Examples, MissingData, Split
from uan_da.data.card import AdapterBlock, Card
from uan_da.data.checked import checked
from uan_da.folders import expanded


@dataclass(frozen=True)
class CardDataset:
    """The domains of a card, each served by the adapter that the card names for it."""

    name: str
    """As a recipe's ``dataset`` spells it."""
    card: Card
    folder: Path
    """Where the data lie, or should."""

    @property
    def found_by_looking(self) -> bool:
        """Whether the card was made of a folder that has none."""
        return expanded(Path(self.name)) == self.folder

    @cached_property
    def domains(self) -> Sequence[str]:
        """The names of the domains."""
        return tuple(self.card.domains)

    @property
    def classes(self) -> Sequence[str]:
        """The names of the classes, in the order of the labels."""
        return self.card.classes

    def load(self, domain: str, split: Split) -> Examples:
        """The examples of one domain and split.

        Raises:
            MissingData: they are not on this machine; says how to get them.
            UserError: they are not what the card says.
        """
        described = self.card.domains[domain]
        block = described.adapter or self.card.adapter
        assert block is not None, "the card's own validation"
        positional = _reads_files(block)
        adapter = block(*(self.folder, self.classes)[:positional])
        try:
            examples = adapter.load(described.path or domain, split)
        except MissingData as error:
            hint = f"\n{self.how_to_get()}" if positional else ""  # data of another data set say their own
            raise MissingData(f"domain {domain!r} is not here: {error}{hint}") from None
        return checked(examples, self.classes, f"dataset {self.name!r}, domain {domain!r}, {split}")

    def how_to_get(self) -> str:
        """What a user without the data does."""
        here = f"if you have it already: put it, or a link to it, at {self.folder}"
        if self.card.folder is None:
            here += ", or give the folder that contains it by --data-root or UAN_DA_DATA"
        ways = [here]
        if self.card.downloads:
            ways.insert(0, f"get it: uan-da datasets fetch {self.name}")
        if self.card.manual:
            ways.insert(0, self.card.manual.strip().replace("{folder}", str(self.folder)))
        return "\n".join(ways)


def _reads_files(block: AdapterBlock) -> int:
    """How many of the folder and the classes an adapter takes: both where it reads files; others take options alone."""
    parameters = inspect.signature(block.target).parameters.values()
    return sum(parameter.kind is parameter.POSITIONAL_OR_KEYWORD for parameter in parameters)
