"""The folder that a training writes."""

import json
import os
import shutil
import warnings
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from uan_da.data.digest import digest
from uan_da.errors import DataWarning, UserError
from uan_da.files import read_bytes, read_json, whole_file, write_json, write_text
from uan_da.models.classifier import Classifier
from uan_da.recipe import Recipe, load_recipe
from uan_da.training.checkpoint import Checkpoints, Manifest
from uan_da.training.device import ran_out_of_memory
from uan_da.training.environment import environment
from uan_da.training.lock import LOCK, is_empty
from uan_da.training.recipe_file import as_started, identity, recipe_text
from uan_da.training.record import Record
from uan_da.training.signature import is_ours, names_code, sign
from uan_da.trust import FILES, NOTHING, Trust

MODEL = "model.safetensors"
OF_TRAINING = ("metrics.jsonl", "timing.json", "results.json")
OF_ADAPTING = ("adapt.json", "adapt.npz", "predictions.csv")
SEALED = ("recipe.yaml", "record.json", "environment.json", MODEL, *OF_TRAINING, *OF_ADAPTING)
"""Files that do not change after the end of a training or an adaptation, which leave not all of them."""


class Run:
    """One training and its folder: recipe, record, environment, metrics, checkpoints, results.

    Example:
        >>> from uan_da import load_recipe, train
        >>> recipe = load_recipe("digits", ["norm=bn", "train.epochs=1", "train.steps_per_epoch=1"])
        >>> _ = train(recipe, "runs/first", device="cpu")
        >>> sorted(Run.open("runs/first").results["selections"])
        ['last', 'oracle', 'selected']
    """

    def __init__(self, folder: Path | str, trust: Trust = NOTHING) -> None:
        self.folder, self._trust = Path(folder), trust

    @classmethod
    def open(cls, folder: Path | str, trust: Trust = NOTHING) -> "Run":
        """The run that was written to ``folder``; ``trust`` says whether code that its recipe names is run.

        Raises:
            UserError: ``folder`` holds no run.
        """
        run = cls(folder, trust)
        if not run.recipe_file.is_file():
            raise UserError(
                f"{folder}: holds no run (no recipe.yaml in it); expected the --out of uan-da train or adapt"
            )
        return run

    @property
    def recipe_file(self) -> Path:
        """The resolved recipe."""
        return self.folder / "recipe.yaml"

    @property
    def recipe(self) -> Recipe:
        """The recipe that was trained, every default spelled out."""
        return load_recipe(self.recipe_file, trust=self.trust)

    @property
    def trust(self) -> Trust:
        """Whether code that the recipe names is run: the opener's word, or that this machine trained it."""
        mark = self.folder / "signature"
        if mark.is_file():
            recipe, name = as_started(read_bytes(self.recipe_file)), read_bytes(mark).decode("ascii", "replace")
            return FILES if is_ours(recipe, name) else self._trust
        return self._trust

    @property
    def record_file(self) -> Path:
        """What it was trained on."""
        return self.folder / "record.json"

    @property
    def record(self) -> Record:
        """What it was trained on: its classes, its input, and a digest of its data."""
        return Record.read(self.record_file)

    @property
    def identity(self) -> str:
        """A digest of recipe and record, which every checkpoint names."""
        return identity(read_bytes(self.recipe_file), read_bytes(self.record_file))

    @property
    def done(self) -> bool:
        """Whether the training came to its end; an adaptation is none."""
        return (self.folder / "done").is_file() and not self.is_adaptation

    @property
    def is_adaptation(self) -> bool:
        """Whether it is of ``uan-da adapt``, and no training."""
        return (self.folder / "adapt.json").is_file()

    @property
    def results(self) -> dict[str, Any]:
        """``results.json``.

        Raises:
            UserError: the run is not finished, or is an adaptation; or the file is not as it was written.
        """
        path = self.folder / "results.json"
        if self.is_adaptation:
            raise UserError(f"{self.folder}: an adaptation has no results: the labels of its images are not known")
        if not path.is_file():
            raise UserError(f"{self.folder}: the run is not finished (no results.json in it)")
        self.check_whole(path.name)
        return read_json(path)

    @property
    def timing(self) -> dict[str, Any]:
        """``timing.json`` of a finished run.

        Raises:
            UserError: as :attr:`results`.
        """
        self.check_whole("timing.json")
        return read_json(self.folder / "timing.json")

    def check_whole(self, *names: str) -> None:
        """UserError where one of these files, or of all that the end of the run sealed, has changed since."""
        if not (self.folder / "done").is_file():
            return
        sealed = read_json(self.folder / "done")
        for name in names or sealed:
            path = self.folder / name
            if sealed.get(name) != digest([read_bytes(path)]):
                way_out = "adapt anew" if "adapt.json" in sealed else "uan-da train … --resume derives it anew"
                raise UserError(f"{path}: is damaged: its digest is another. {way_out}")

    @property
    def checkpoints(self) -> Checkpoints:
        """All of them."""
        return Checkpoints(self.folder / "checkpoints")

    @property
    def seconds(self) -> float:
        """Of training so far."""
        manifest = self._newest()
        return manifest.seconds if manifest else 0.0

    def metrics(self) -> list[dict[str, Any]]:
        """A row for each epoch that the newest checkpoint has seen. ``metrics.jsonl`` is a copy of them, which is read
        of a finished run whose checkpoints were removed."""
        manifest, copy = self._newest(), self.folder / "metrics.jsonl"
        if manifest is None and self.done and copy.is_file():
            self.check_whole(copy.name)
            return [json.loads(line) for line in copy.read_text(encoding="utf-8").splitlines()]
        return [dict(row) for row in manifest.metrics] if manifest else []

    def checkpoint(self, name: str) -> Path:
        """The file of the checkpoint ``last``, ``selected`` or ``oracle``, whether there is one or not."""
        manifest, folder = self._newest(), self.checkpoints.folder
        return folder / (manifest.files[name].file if manifest and name in manifest.files else f"{name}.pt")

    def load(self, name: str, device: torch.device) -> dict[str, Any]:
        """The state of a checkpoint.

        Raises:
            UserError: there is none of that name, or none that is whole.
        """
        manifest = self.checkpoints.find(self.identity, name)
        if manifest is None:
            way_out = ": the best by target labels is kept where selection.oracle=true" if name == "oracle" else ""
            raise UserError(f"{self.checkpoint(name)}: there is no such checkpoint{way_out}")
        self._tell_of_a_lost_end(manifest)
        return self.checkpoints.load(manifest.files[name], device)

    def _newest(self) -> Manifest | None:
        """The newest manifest, with a warning where it is not the last one."""
        manifest = self.checkpoints.newest()
        if manifest is not None:
            self._tell_of_a_lost_end(manifest)
        return manifest

    def _tell_of_a_lost_end(self, manifest: Manifest) -> None:
        """Warn where the last checkpoint of a finished run has been removed: nothing else shows that it was there."""
        try:
            steps = int(self.timing["steps"]) if self.done else 0
        except UserError:  # which concerns those who read it
            return
        path = self.checkpoints.folder / f"step-{steps}.json"
        if manifest.step < steps and not os.path.lexists(path):
            told = f"{path}: is missing. The checkpoint before, of step {manifest.step}, is used"
            warnings.warn(told, DataWarning, stacklevel=3)

    def load_weights(self, model: Classifier, name: str, device: torch.device) -> int:
        """Load a checkpoint's weights into ``model``; returns its step.

        Raises:
            UserError: there is no such checkpoint, or it does not fit the model.
        """
        return self.fill(model, self.load(name, device))

    def fill(self, model: Classifier, state: dict[str, Any]) -> int:
        """The weights of a state of this run into ``model``, as :meth:`load_weights` does."""
        try:
            model.load_state_dict(state.get("answering", state["model"]))
            return int(state["step"])
        except (RuntimeError, TypeError, ValueError, AttributeError) as error:
            if ran_out_of_memory(error):
                raise
            reason = " ".join(str(error).split())
            raise UserError(f"the weights of {self.folder} do not fit this recipe's network: {reason}") from None

    def start_from(self, model: Classifier, device: torch.device) -> None:
        """The last weights into the ``model`` of another run.

        Raises:
            UserError: the run has another network, or no checkpoint.
        """
        try:
            self.load_weights(model, "last", device)
        except UserError as error:
            raise UserError(f"init: {error}") from None

    def create(self, recipe: Recipe, record: Record, overwrite: bool) -> None:
        """Write what is known before the first step into the folder, which is this process's own by its lock.

        Raises:
            UserError: the folder is not empty; it names the ways out.
        """
        self.check_free(overwrite)
        self._clear()
        write_text(self.record_file, record.text)
        self.write_environment()
        mark = sign(recipe_text(recipe).encode()) if names_code(recipe) else None
        if mark is not None:
            write_text(self.folder / "signature", mark)
        write_text(self.recipe_file, recipe_text(recipe))

    def check_free(self, overwrite: bool) -> None:
        """UserError where the folder cannot be one, or holds what is not to be replaced; it names the ways out."""
        check_folder(self.folder)
        if not self.folder.is_dir() or is_empty(self.folder):
            return
        if not overwrite:
            raise UserError(
                f"{self.folder}: is not empty. Continue the run in it: --resume; replace it: --overwrite; or write "
                f"elsewhere: --out DIR"
            )
        self.check_replaceable()

    def check_replaceable(self) -> None:
        """UserError where the folder holds something else than a run, which nothing overwrites."""
        if not self.recipe_file.is_file() and not self.record_file.is_file():  # one comes before the other
            raise UserError(
                f"{self.folder}: holds something else than a run; it is not overwritten. Choose another --out"
            )

    def _clear(self) -> None:
        """Remove all but the lock; the recipe last, for without it nobody would take the folder for a run."""
        for path in sorted(self.folder.iterdir(), key=lambda path: path == self.recipe_file):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name != LOCK:
                path.unlink()

    def publish(self, manifest: Manifest) -> None:
        """Make a checkpoint of what ``manifest`` names; ``metrics.jsonl`` and ``timing.json`` follow it."""
        self.checkpoints.publish(manifest)
        self.write_copies(manifest)

    def write_copies(self, manifest: Manifest) -> None:
        """The files that say again, for people and other programs, what a manifest says."""
        rows = "".join(json.dumps(row) + "\n" for row in manifest.metrics)
        write_text(self.folder / "metrics.jsonl", rows)
        write_json(self.folder / "timing.json", {"train_seconds": manifest.seconds, "steps": manifest.step})

    def write_environment(self) -> None:
        """``environment.json``: see :func:`uan_da.training.environment.environment`."""
        write_json(self.folder / "environment.json", environment())

    def log(self, text: str) -> None:
        """Add a line, with the time, to ``train.log``."""
        path = self.folder / "train.log"
        if path.exists() and not path.is_file():
            raise UserError(f"{path}: is not a regular file")
        with path.open("a", encoding="utf-8") as file:
            file.write(f"{datetime.now():%Y-%m-%d %H:%M:%S}  {text}\n")

    def finish(self) -> None:
        """``done``: the training or the adaptation came to its end, with digests of what it wrote."""
        there = [name for name in SEALED if (self.folder / name).is_file()]
        write_json(self.folder / "done", {name: digest([read_bytes(self.folder / name)]) for name in there})

    def save_model(self, model: Classifier) -> None:
        """``model.safetensors``: the weights alone, for use elsewhere."""
        weights = {name: x.detach().cpu().contiguous() for name, x in model.state_dict().items()}
        with whole_file(self.folder / MODEL) as file:
            file.write(save(weights))

    def load_model(self, model: Classifier) -> None:
        """The weights of ``model.safetensors`` into ``model``.

        Raises:
            UserError: there are none, they are damaged, or they do not fit.
        """
        path = self.folder / MODEL
        self.check_whole(path.name)
        try:
            model.load_state_dict(load(read_bytes(path)))
        except (SafetensorError, RuntimeError) as error:
            raise UserError(f"{path}: does not fit: {' '.join(str(error).split())}") from None


def check_folder(folder: Path) -> None:
    """UserError where no folder can be at that path, for a file is there, or on the way to it."""
    for place in (folder, *folder.parents):
        if os.path.lexists(place) and not place.is_dir():
            raise UserError(f"--out {folder}: {place} is a file, not a folder. Choose another --out")


def metrics_of(folder: Path) -> list[dict[str, Any]]:
    """:meth:`Run.metrics` of a folder, as a report reads it."""
    return Run(folder).metrics()
