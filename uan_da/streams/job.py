"""One trained network on one stream: the predictions of its methods, and their errors."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from uan_da.data.open_dataset import open_dataset
from uan_da.data.storage import store
from uan_da.errors import UserError
from uan_da.recipe import Block
from uan_da.streams.cells import Cell, Stream, cells_folder, read, write
from uan_da.streams.domains import ALL, Images, load_domains
from uan_da.streams.evaluator import StreamDomain, StreamPredictions, predict_stream
from uan_da.streams.method import StreamMethod, Surroundings
from uan_da.streams.methods.source import Source
from uan_da.streams.oracle import oracle_predictions
from uan_da.streams.scores import error_over_time, scores
from uan_da.streams.setting import Segment, segments
from uan_da.sweeps.jobs import Event, Job, Tell
from uan_da.sweeps.work import only_one
from uan_da.training.trained import Trained

SOURCE_BATCH = 256
"""The source's predictions do not depend on the batch."""
ORACLE = "oracle"


@dataclass(frozen=True)
class StreamJob(Job):
    """The ``cells`` of one network on one stream, for an executor; the images are read once."""

    trained: Trained
    cells: Sequence[Cell]

    @property
    def name(self) -> str:
        """The network, the setting and the seed."""
        cell = self.cells[0]
        return f"{cell.run}  {cell.stream.setting}  seed {cell.stream.seed}"

    @property
    def folder(self) -> Path:
        """The folder of the cells."""
        return cells_folder(self.sweep, self.run_id)

    @property
    def left(self) -> list[Cell]:
        """The missing cells."""
        return [cell for cell in self.cells if read(cell.file(self.sweep)) is None]

    def work(self, device: str, threads: int, tell: Tell) -> None:
        """Compute the missing cells, and write each when it ends. A method that cannot adapt stops no other cell.

        Raises:
            UserError: the data or a method cannot be used; all other cells are finished.
        """
        torch.set_num_threads(threads)
        failed: list[str] = []
        with only_one(self.sweep / "locks" / self.run_id):
            left, here = self.left, moved(self.trained, torch.device(device))
            for number, cell in enumerate(left):
                tell(Event("step" if number else "started", self.run_id, number, len(left)))
                if not number:
                    stream = OnStream(here, cell.stream)
                try:
                    write(cell.file(self.sweep), stream.result(cell))
                except UserError as error:
                    failed.append(f"{cell.method.name}: {error}")
        if failed:
            raise UserError("; ".join(dict.fromkeys(failed)))


def moved(trained: Trained, device: torch.device) -> Trained:
    """A copy of the network on ``device``."""
    return replace(trained, model=copy.deepcopy(trained.model).to(device), device=device)


class OnStream:
    """One stream's images in memory, and the source network's predictions on them."""

    def __init__(self, trained: Trained, stream: Stream) -> None:
        self.trained, self.seed = trained, stream.seed
        images = ALL if stream.length is None else Images(stream.length, stream.seed)
        self.domains: list[StreamDomain] = load_domains(
            open_dataset(stream.dataset),
            stream.domains,
            stream.setting,
            stream.split,
            trained.recipe.input,
            trained.device,
            images,
        )
        labels = [domain.labels for domain in self.domains]
        self.segments: list[Segment] = segments(labels, stream.setting, stream.seed, stream.gamma)

    @cached_property
    def source(self) -> StreamPredictions:
        """The network's own."""
        return self._predictions(Source, SOURCE_BATCH)

    def result(self, cell: Cell) -> dict[str, Any]:
        """Rows and the error over time; neither for an oracle of a network without statistics."""
        predictions, cost = self._oracle() if cell.method.name == ORACLE else self._of_method(cell.method, cell.batch)
        if predictions is None:
            return {"rows": [], "curve": []}
        rows = scores(predictions, self.source, self.domains)
        rows[0] |= {
            "ms_per_image": 1000 * predictions.seconds / len(predictions.domain),
            "stored_bytes": predictions.stored_bytes,
            "memory_bytes": predictions.memory_bytes,
        }
        return {"rows": [cell.heads | row | cost for row in rows], "curve": error_over_time(predictions, self.domains)}

    def _oracle(self) -> tuple[StreamPredictions | None, dict[str, Any]]:
        around = surroundings(self.trained, SOURCE_BATCH, self.seed)
        predictions = oracle_predictions(self.trained.model, around, self.domains, self.segments)
        return predictions, {"forwards": 2.0, "backwards": 0.0, "gradients": False}

    def _of_method(self, method: Block[StreamMethod], batch: int) -> tuple[StreamPredictions, dict[str, Any]]:
        kind: Any = method.target
        cost = {key: getattr(kind, key) for key in ("forwards", "backwards", "gradients")}
        return self._predictions(method, batch), cost

    def _predictions(self, method: Callable[..., StreamMethod], batch: int) -> StreamPredictions:
        def make() -> StreamMethod:
            return built(method, self.trained, surroundings(self.trained, batch, self.seed))

        return predict_stream(make, self.domains, self.segments, batch)


def built(method: Callable[..., StreamMethod], trained: Trained, around: Surroundings) -> StreamMethod:
    """The method on a copy of the network; its draws are a function of the seed.

    Raises:
        UserError: it cannot adapt this network.
    """
    with torch.random.fork_rng():
        torch.manual_seed(around.seed)
        return method(copy.deepcopy(trained.model), len(trained.classes), around)


def surroundings(
    trained: Trained, batch: int, seed: int, source: Callable[[int], Tensor] | None = None
) -> Surroundings:
    """What a method may use besides the network; ``source`` replaces the source images of the run."""
    recipe = trained.recipe
    weak, strong = ([augmentation() for augmentation in v] for v in (recipe.augment.weak, recipe.augment.strong))
    source = source or (lambda count: source_pixels(trained, count))
    return Surroundings(recipe.input, trained.domain, batch, weak, strong, seed, trained.device, source)


def source_pixels(trained: Trained, count: int) -> Tensor:
    """Pixels of ``count`` of the source images that a run was trained on, in a random order."""
    recipe = trained.recipe
    data = open_dataset(recipe.dataset)
    parts = store([data.load(name, "train") for name in recipe.task.sources], recipe.input, trained.device)
    chosen = [torch.randperm(len(p), generator=torch.Generator().manual_seed(0))[: count // len(parts)] for p in parts]
    return torch.cat([next(iter(p.stream([c]))).pixels for p, c in zip(parts, chosen, strict=True)])
