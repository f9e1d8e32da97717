"""The address of a run: what its numbers depend on, as one short word."""

import json
from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from uan_da.data.digest import data_digest, digest, file_digest
from uan_da.recipe import Recipe
from uan_da.training.run import Run

SILENT = ("description", "published")
"""Keys of a recipe that change no number."""


def address(recipe: Recipe, data: Sequence[str]) -> str:
    """16 hexadecimal digits of the resolved recipe, digests of the ``data`` that it reads, and our major version.

    The device, the threads and the folder are no part of it: they change at most the last bits of a number.
    """
    said: dict[str, Any] = {key: value for key, value in recipe.to_dict().items() if key not in SILENT}
    major = version("uan-da").partition(".")[0]
    parts = [major, json.dumps(said, sort_keys=True), *data]
    return digest(part.encode() for part in parts)[:16]


class Addresses:
    """Addresses of recipes, whose data are read once."""

    def __init__(self) -> None:
        self._of_data, self._of_file = cache(data_digest), cache(file_digest)

    def of(self, recipe: Recipe) -> str:
        """The address, by the content of the task's domains and of the weights that the run starts from.

        Raises:
            UserError: something of that does not exist.
        """
        data = [self._of_data(recipe.dataset, domain) for domain in recipe.task.domains]
        return address(recipe, data + [self._of_file(path) for path in _weights(recipe)])


def _weights(recipe: Recipe) -> list[Path]:
    """The files that a training starts from, where it is told to."""
    named = Path(recipe.backbone.keys["weights"])
    start = [Run(recipe.init).checkpoint("last")] if recipe.init else []
    return start + ([named] if named.is_file() else [])
