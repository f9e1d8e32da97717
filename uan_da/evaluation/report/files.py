"""The files of a run folder, as a report reads them."""

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from uan_da.errors import UserError
from uan_da.files import read_json
from uan_da.recipe.source import read_yaml
from uan_da.spreadsheet import meant

MetricsOf = Callable[[Path], list[dict[str, Any]]]
"""Reads the rows of a run folder, one an epoch: ``Run.metrics`` of the training."""

TEXTS = ("domain", "label", "predicted")


class RunFiles:
    """One run folder; what is not there is empty, but for the recipe."""

    def __init__(self, folder: Path, metrics_of: MetricsOf) -> None:
        self.folder, self._metrics_of = folder, metrics_of

    @cached_property
    def recipe(self) -> dict[str, Any]:
        """The resolved recipe."""
        recipe: dict[str, Any] = read_yaml(self.folder / "recipe.yaml").data
        return recipe

    @property
    def recipe_text(self) -> str:
        """The same, as it stands in the folder."""
        return (self.folder / "recipe.yaml").read_text(encoding="utf-8")

    @cached_property
    def results(self) -> dict[str, Any]:
        """``results.json``.

        Raises:
            UserError: the run is not finished.
        """
        found = self._json("results.json")
        if not found:
            raise UserError(f"{self.folder}: the run is not finished (no results.json in it)")
        return found

    @cached_property
    def environment(self) -> dict[str, Any]:
        """``environment.json``."""
        return self._json("environment.json")

    @cached_property
    def metrics(self) -> list[dict[str, Any]]:
        """A row for each epoch."""
        return self._metrics_of(self.folder)

    @cached_property
    def evaluation(self) -> dict[str, Any]:
        """``evaluation/last.json``."""
        return self._json("evaluation/last.json")

    @cached_property
    def predictions(self) -> pd.DataFrame | None:
        """``evaluation/last.csv``; classes are text even where they look like numbers."""
        path = self.folder / "evaluation" / "last.csv"
        if not path.is_file():
            return None
        table = pd.read_csv(path, dtype=dict.fromkeys(TEXTS, str))
        return table.assign(**{name: table[name].map(meant, na_action="ignore") for name in TEXTS})

    @cached_property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """``evaluation/last.npz``: features and images."""
        path = self.folder / "evaluation" / "last.npz"
        if not path.is_file():
            return {}
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}

    @property
    def features(self) -> dict[str, NDArray[Any]]:
        """Of the test images, by domain, ``(N, F)`` each."""
        kept = [name for name in self.arrays if name.startswith("features/")]
        return {name.removeprefix("features/"): self.arrays[name] for name in kept}

    @property
    def baseline(self) -> "RunFiles | None":
        """The source-only run beside this one."""
        folder = self.folder / "baseline"
        return RunFiles(folder, self._metrics_of) if (folder / "results.json").is_file() else None

    @property
    def target(self) -> str:
        """The name of the target domain."""
        return str(self.recipe["task"]).rpartition(":")[2]

    def _json(self, name: str) -> dict[str, Any]:
        path = self.folder / name
        return read_json(path) if path.is_file() else {}
