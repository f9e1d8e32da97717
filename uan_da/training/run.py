"""The folder that a training writes."""

import json
import os
import platform
import shutil
import subprocess
from collections.abc import Mapping
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from uan_da.errors import UserError
from uan_da.models.classifier import Classifier
from uan_da.recipe import Recipe, load_recipe
from uan_da.recipe.source import dump_yaml
from uan_da.training.checkpoint import load_checkpoint

SILENT = ("description", "published")
"""Keys of a recipe that change no number."""


class Run:
    """One training and its folder: recipe, environment, metrics, checkpoints, results."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)

    @classmethod
    def open(cls, folder: Path | str) -> "Run":
        """The run that was written to ``folder``.

        Raises:
            UserError: ``folder`` holds no run.
        """
        run = cls(folder)
        if not run.recipe_file.is_file():
            raise UserError(f"{folder}: holds no run (no recipe.yaml in it)")
        return run

    @property
    def recipe_file(self) -> Path:
        """The resolved recipe."""
        return self.folder / "recipe.yaml"

    @property
    def recipe(self) -> Recipe:
        """The recipe that was trained, every default spelled out."""
        return load_recipe(self.recipe_file)

    @property
    def done(self) -> bool:
        """Whether the training came to its end."""
        return (self.folder / "done").is_file()

    @property
    def results(self) -> dict[str, Any]:
        """``results.json``."""
        path = self.folder / "results.json"
        if not path.is_file():
            raise UserError(f"{self.folder}: the run is not finished (no results.json in it)")
        results: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return results

    @property
    def seconds(self) -> float:
        """Of training so far, by ``timing.json``."""
        path = self.folder / "timing.json"
        return float(json.loads(path.read_text(encoding="utf-8"))["train_seconds"]) if path.is_file() else 0.0

    def checkpoint(self, name: str) -> Path:
        """The file of the checkpoint ``last`` or ``selected``."""
        return self.folder / "checkpoints" / f"{name}.pt"

    def load_weights(self, model: Classifier, name: str, device: torch.device) -> int:
        """Load a checkpoint's weights into ``model``; returns its step."""
        state = load_checkpoint(self.checkpoint(name), device)
        model.load_state_dict(state.get("answering", state["model"]))
        return int(state["step"])

    def start_from(self, model: Classifier, device: torch.device) -> None:
        """The last weights into the ``model`` of another run.

        Raises:
            UserError: the run has another network, or no checkpoint.
        """
        try:
            self.load_weights(model, "last", device)
        except RuntimeError as error:
            reason = str(error).replace("\n\t", " ")
            raise UserError(f"init: the weights of {self.folder} do not fit this recipe's network: {reason}") from None

    def create(self, recipe: Recipe, overwrite: bool) -> None:
        """Make the folder and write what is known before the first step.

        Raises:
            UserError: the folder cannot be made, or is not empty; it names the ways out.
        """
        check_folder(self.folder)
        if self.folder.is_dir() and any(self.folder.iterdir()):
            self._make_room(overwrite)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.recipe_file.write_text(dump_yaml(recipe.to_dict()), encoding="utf-8")
        self.write_json("environment.json", environment())

    def _make_room(self, overwrite: bool) -> None:
        if not overwrite:
            raise UserError(
                f"{self.folder}: is not empty. Go on with the run in it: --resume; replace it: --overwrite; or write "
                f"elsewhere: --out DIR"
            )
        self.check_replaceable()
        shutil.rmtree(self.folder)

    def check_replaceable(self) -> None:
        """UserError where the folder holds something else than a run, which nothing overwrites."""
        if not self.recipe_file.is_file():
            raise UserError(
                f"{self.folder}: holds something else than a run; it is not overwritten. Choose another --out"
            )

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Write one of the folder's JSON files, in one piece."""
        partial = self.folder / f"{name}.partial"
        partial.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        partial.replace(self.folder / name)

    def log(self, text: str) -> None:
        """Add a line, with the time, to ``train.log``."""
        with (self.folder / "train.log").open("a", encoding="utf-8") as file:
            file.write(f"{datetime.now():%Y-%m-%d %H:%M:%S}  {text}\n")

    def append_metrics(self, row: Mapping[str, Any]) -> None:
        """Add one epoch to ``metrics.jsonl``."""
        with (self.folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def metrics(self) -> list[dict[str, Any]]:
        """The rows of ``metrics.jsonl``, one an epoch."""
        path = self.folder / "metrics.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.is_file() else []
        return [json.loads(line) for line in lines if line.endswith("\n")]  # a crash may have cut the last one short

    def keep_metrics(self, step: int) -> None:
        """Drop the rows of epochs that ended after ``step``: a run that goes on from there writes them again."""
        rows = [row for row in self.metrics() if row["step"] <= step]
        partial = self.folder / "metrics.jsonl.partial"
        partial.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        partial.replace(self.folder / "metrics.jsonl")

    def save_model(self, model: Classifier) -> None:
        """``model.safetensors``: the weights alone, for use elsewhere."""
        save_file(
            {name: x.contiguous() for name, x in model.state_dict().items()},
            self.folder / "model.safetensors",
        )

    def load_model(self, model: Classifier) -> None:
        """The weights of ``model.safetensors`` into ``model``."""
        model.load_state_dict(load_file(self.folder / "model.safetensors"))


def check_folder(folder: Path) -> None:
    """UserError where no folder can be at that path, for a file is there, or on the way to it."""
    for place in (folder, *folder.parents):
        if os.path.lexists(place) and not place.is_dir():
            raise UserError(f"--out {folder}: {place} is a file, not a folder. Choose another --out")


def environment() -> dict[str, Any]:
    """What a number may depend on beside the recipe: versions, machine, threads, the working directory's commit."""
    packages = ("uan-da", "torch", "torchvision", "numpy", "scikit-learn")
    return {
        "python": platform.python_version(),
        "packages": {name: version(name) for name in packages},
        "machine": platform.platform(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "git_commit": _git_commit(),
    }


def _git_commit() -> str | None:
    command = ["git", "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=5).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
