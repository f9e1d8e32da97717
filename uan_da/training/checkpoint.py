"""The checkpoints of a run, each with a manifest that ties it to all else that the run had written by then.

``step-12.pt`` is the state of the training after step 12, ``step-12.json`` its manifest: the digests of that state and
of those selected by then, the metrics of all epochs before it, and the run that they belong to. The manifest is written
last and in one piece: with it a checkpoint exists, before it nothing of it does. So the last checkpoint, the selected
ones and the metrics are those of one moment, whenever the process is killed. The newest two manifests are kept with
their states: where the last checkpoint is damaged, the one before takes its place.
"""

import hashlib
import json
import os
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Self

import torch

from uan_da.data.digest import digest
from uan_da.errors import DataWarning, Failure, UserError
from uan_da.files import read_json, whole_file, write_json
from uan_da.training.device import ran_out_of_memory

NAME = re.compile(r"step-(\d+)\.(pt|json)")


@dataclass(frozen=True)
class Saved:
    """A state on the disk: after which step, and the digest of its file."""

    step: int
    digest: str

    @property
    def file(self) -> str:
        """Its name."""
        return f"step-{self.step}.pt"


@dataclass(frozen=True)
class Manifest:
    """What belongs to a checkpoint."""

    run: str
    """A digest of what the run is: its recipe, seed included, and its data."""
    step: int = 0
    seconds: float = 0.0
    """Of training so far."""
    metrics: Sequence[Mapping[str, Any]] = ()
    """A row an epoch."""
    files: Mapping[str, Saved] = field(default_factory=dict)
    """``last``, and ``selected`` and ``oracle`` where an epoch has been evaluated."""

    @classmethod
    def read(cls, path: Path) -> Self:
        """The manifest in a file.

        Raises:
            UserError: there is none, or it is damaged.
        """
        content = read_json(path)
        body = content.get("manifest")
        if not isinstance(body, dict) or content.get("digest") != _text_digest(body):
            raise UserError(f"{path}: is damaged: its digest is another")
        files = {name: Saved(**saved) for name, saved in body["files"].items()}
        return cls(**{**body, "files": files})

    def write(self, path: Path) -> None:
        """Write it in one piece."""
        body = {"run": self.run, "step": self.step, "seconds": self.seconds, "metrics": list(self.metrics)}
        body["files"] = {name: {"step": saved.step, "digest": saved.digest} for name, saved in self.files.items()}
        write_json(path, {"digest": _text_digest(body), "manifest": body})


class Checkpoints:
    """The folder ``checkpoints`` of a run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write_state(self, step: int, state: Mapping[str, Any]) -> Saved:
        """Write the state after ``step``; it counts once a manifest names it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with whole_file(self.folder / Saved(step, "").file) as file:
            sink = _Digesting(file)
            try:
                torch.save(state, sink)  # type: ignore[arg-type]
            except RuntimeError as error:  # torch hides what the disk said
                raise sink.error or error from None
        return Saved(step, sink.key.hexdigest())

    def publish(self, manifest: Manifest) -> None:
        """Write the manifest, by which its checkpoint comes to be the last one; what no manifest needs is removed."""
        manifest.write(self.folder / f"step-{manifest.step}.json")
        for name, saved in manifest.files.items():
            self._link(name, saved)
        kept = [step for step in self._steps() if step <= manifest.step][:2]
        needed = {saved.file for step in kept for saved in self._files_of(step)} | {f"step-{s}.json" for s in kept}
        for path in self.folder.iterdir():
            if NAME.fullmatch(path.name) and path.name not in needed:
                path.unlink()

    def newest(self) -> Manifest | None:
        """The newest manifest that can be read, with a warning where it is not the last one; the states that it names
        need not be whole."""
        for step in self._steps():
            try:
                return Manifest.read(self.folder / f"step-{step}.json")
            except UserError as error:
                warnings.warn(f"{error}. The checkpoint before it counts", DataWarning, stacklevel=2)
        return None

    def find(self, run: str, name: str | None = None) -> Manifest | None:
        """The newest manifest that is whole: itself, and the state that it calls ``name``, or all that it names.

        A damaged one is passed over with a warning. None where there is no manifest, or none that knows ``name``.

        Raises:
            UserError: there are manifests, but all are damaged, or of another run.
        """
        problems: list[str] = []
        for step in self._steps():
            try:
                manifest = self._whole(step, run, name)
            except UserError as error:
                problems.append(str(error))
                continue
            if problems:
                told = "; ".join(problems)
                warnings.warn(f"{told}. The checkpoint before, of step {step}, is used", DataWarning, stacklevel=3)
            return manifest if name is None or name in manifest.files else None
        if problems:
            raise UserError(f"{'; '.join(problems)}. There is no checkpoint before it: train anew with --overwrite")
        return None

    def load(self, saved: Saved, device: torch.device) -> dict[str, Any]:
        """A state; only tensors and plain values are read, no code is run.

        Raises:
            UserError: it is no checkpoint.
            OSError: it could not be read; it may be whole, and so it may where memory ran out.
        """
        path = self.folder / saved.file
        try:
            state = torch.load(path, map_location=device, weights_only=True)
        except Exception as error:  # torch raises many kinds for what it does not understand
            if is_of_the_machine(error):
                raise
            raise UserError(f"{path}: is damaged or not a checkpoint: {str(error).splitlines()[0]}") from error
        if not isinstance(state, dict) or not {"step", "model"} <= state.keys():
            raise UserError(f"{path}: is not a checkpoint")
        return state

    def _steps(self) -> list[int]:
        """Of the manifests, the newest first."""
        found = [NAME.fullmatch(name) for name in (os.listdir(self.folder) if self.folder.is_dir() else [])]
        return sorted((int(match[1]) for match in found if match and match[2] == "json"), reverse=True)

    def _files_of(self, step: int) -> list[Saved]:
        try:
            return list(Manifest.read(self.folder / f"step-{step}.json").files.values())
        except UserError:
            return []

    def _whole(self, step: int, run: str, name: str | None) -> Manifest:
        path = self.folder / f"step-{step}.json"
        manifest = Manifest.read(path)
        if manifest.run != run:
            raise UserError(f"{path}: is of another recipe, seed or data than recipe.yaml and record.json say")
        for own, saved in manifest.files.items():
            if name in (None, own) and _file_digest(self.folder / saved.file) != saved.digest:
                raise UserError(f"{self.folder / saved.file}: is damaged: its digest is another")
        return manifest

    def _link(self, name: str, saved: Saved) -> None:
        """``last.pt`` and so on, for people: the manifest says which state is which."""
        link, partial = self.folder / f"{name}.pt", self.folder / f"{name}.pt.partial"
        try:
            partial.unlink(missing_ok=True)
            partial.symlink_to(saved.file)
            partial.replace(link)
        except OSError:  # a file system without links
            return


class _Digesting:
    """Writes to ``file``, and keeps the digest of what it wrote, and the error of a disk that is full."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.key = file, _key()
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        """As a file's."""
        self.key.update(data)
        try:
            return self.file.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        """As a file's."""
        self.file.flush()


def is_of_the_machine(error: BaseException) -> bool:
    """Whether a disk or memory failed: nothing is said about what was read, and another try may succeed."""
    return isinstance(error, OSError | Failure) or ran_out_of_memory(error)


def _key() -> Any:
    return hashlib.blake2b(digest_size=16)


def _text_digest(body: Mapping[str, Any]) -> str:
    return digest([json.dumps(body, sort_keys=True).encode()])


def _file_digest(path: Path) -> str | None:
    """Of a regular file; None where there is none."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, _key).hexdigest()
