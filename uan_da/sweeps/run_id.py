"""The id of a run: what its numbers depend on, as one short word."""

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from uan_da.data.digest import data_digest, digest, file_digest
from uan_da.recipe import Recipe
from uan_da.training.run import Run
from uan_da.version import version


def run_id(recipe: Recipe, data: Sequence[str], threads: int = 1) -> str:
    """16 hexadecimal digits of the resolved recipe, digests of the ``data`` that it reads, our version, and the CPU
    threads of the run where they are not one: sums of another order differ in their last bits, and training makes whole
    points of that.

    The device is not part of it, although it changes numbers too: ``resources.json`` of a run has it.
    """
    parts = [_numbers_since(version()), json.dumps(recipe.meaning, sort_keys=True), *data]
    parts += [f"{threads} threads"] if threads != 1 else []
    return digest(part.encode() for part in parts)[:16]


def _numbers_since(release: str) -> str:
    """What of a version tells that numbers may have changed: the major version, and the minor one before 1.0."""
    major, minor, *_ = release.split(".")
    return f"0.{minor}" if major == "0" else major


class RunIds:
    """The ids of recipes, whose data are read once, or not at all."""

    def __init__(self, threads: int = 1, reads_data: bool = True) -> None:
        self.threads, self.reads_data = threads, reads_data
        self._of_data, self._of_file = cache(data_digest), cache(file_digest)

    def of(self, recipe: Recipe) -> str:
        """The id, by the content of the task's domains and of the weights that the run starts from.

        Raises:
            UserError: something of that does not exist.
        """
        if not self.reads_data:
            return run_id(recipe, [], self.threads)
        data = [self._of_data(recipe.dataset, domain, recipe.trust) for domain in recipe.task.domains]
        return run_id(recipe, data + [self._of_file(path) for path in _weights(recipe)], self.threads)


def _weights(recipe: Recipe) -> list[Path]:
    """The files that a training starts from, where it is told to."""
    start = [Run(recipe.init).checkpoint("last")] if recipe.init else []
    block = recipe.backbone
    named = {**block.keys, **block.options}.get("weights")  # an option, where the backbone has one of that name
    return start + ([Path(named)] if isinstance(named, str | Path) and Path(named).is_file() else [])
