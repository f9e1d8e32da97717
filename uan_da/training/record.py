"""What a run was trained on, as its folder says it: nothing else is needed to predict with its network."""

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import ValidationError

from uan_da.data.fingerprint import DataRecord, differences, fingerprint
from uan_da.errors import DataWarning, UserError
from uan_da.files import read_json
from uan_da.recipe import Recipe
from uan_da.recipe.network import Input


@dataclass(frozen=True)
class Record:
    """``record.json``: classes, input, and a digest of the data."""

    fingerprint: Mapping[str, Any]
    """See :mod:`uan_da.data.fingerprint`."""
    classes: tuple[str, ...]
    """The names of the network's predictions, in their order."""
    input: Input
    """What the network is given."""

    @classmethod
    def of(cls, recipe: Recipe) -> Self:
        """Of the data as they are now.

        Raises:
            UserError: they cannot be read.
        """
        return cls._parse(fingerprint(recipe))

    @classmethod
    def read(cls, path: Path) -> Self:
        """That of a run.

        Raises:
            UserError: there is none, or it is damaged.
        """
        try:
            return cls._parse(read_json(path))
        except (KeyError, TypeError, ValidationError) as error:
            raise UserError(f"{path}: is damaged: {' '.join(str(error).split())}") from None

    @classmethod
    def _parse(cls, content: Mapping[str, Any]) -> Self:
        DataRecord.model_validate(content)
        return cls(content, tuple(content["classes"]), Input.model_validate(content["input"]))

    @property
    def text(self) -> str:
        """As ``record.json`` has it."""
        return json.dumps(self.fingerprint, indent=1) + "\n"

    def check_same(self, now: "Record", what: str) -> None:
        """UserError, for ``what``, where anything of the data has changed."""
        if changes := differences(self.fingerprint, now.fingerprint):
            raise UserError(f"{what}: the data are not those it was started with: {_listed(changes)}")

    def check_classes(self, now: "Record", what: str) -> None:
        """UserError where the predictions of the network would get wrong names; a warning of what else has changed."""
        changes = differences(self.fingerprint, now.fingerprint)
        if self.classes != now.classes:
            raise UserError(
                f"{what}: the classes of its data set are not those it was trained on: {_listed(changes)}. Give it "
                f"the data that it was trained on, or train anew"
            )
        if changes:
            warnings.warn(f"{what}: its data have changed since: {_listed(changes)}", DataWarning, stacklevel=2)


def _listed(changes: list[str], most: int = 8) -> str:
    more = f"; and {len(changes) - most} more" if len(changes) > most else ""
    return "; ".join(changes[:most]) + more
