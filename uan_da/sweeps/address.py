"""The address of a run: what its numbers depend on, as one short word."""

import json
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from uan_da.data.digest import digest
from uan_da.recipe import Recipe

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
