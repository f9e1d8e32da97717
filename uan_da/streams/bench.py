"""A grid of methods, settings, batch sizes and seeds on one trained network; what is done is not done again."""

import copy
import hashlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from uan_da.data.adapter import Adapter
from uan_da.data.open_dataset import open_dataset
from uan_da.data.storage import store
from uan_da.errors import UserError
from uan_da.recipe import Block
from uan_da.streams.cells import Cell, Stream, StreamBlock, read, write
from uan_da.streams.domains import ALL, Images, load_domains
from uan_da.streams.evaluator import Answers, StreamDomain, answer_stream
from uan_da.streams.method import StreamMethod, Surroundings
from uan_da.streams.oracle import oracle_answers
from uan_da.streams.scores import error_over_time, scores
from uan_da.streams.setting import Segment, segments
from uan_da.training.trained import Trained

SOURCE_BATCH = 256
"""The source's answers do not depend on the batch."""

COLUMNS = (
    *("method", "setting", "batch", "seed", "domain", "n", "error", "ece"),
    *("end_error", "source_end_error", "collapsed", "ms_per_image", "stored_bytes", "memory_bytes"),
    *("forwards", "backwards", "gradients"),
)


@dataclass(frozen=True)
class StreamBench:
    """A trained network, its data, and a folder for results."""

    trained: Trained
    dataset: str
    out: Path

    def run(self, streams: Sequence[Stream], batches: Sequence[int], methods: Sequence[StreamBlock]) -> Iterator[Cell]:
        """Do what is left of the grid, and yield each cell once its result is kept.

        Streams of the same domains share their images, which are in memory. The oracle is a cell of its own.
        """
        for stream in streams:
            todo = [
                Cell(self.network, stream, batch, method)
                for batch, method in itertools.product(batches, [*methods, oracle_block()])
            ]
            bench: _OnOneStream | None = None
            for cell in todo:
                if read(cell.file(self.out)) is None:
                    bench = bench or _OnOneStream(self, stream)
                    write(cell.file(self.out), bench.result(cell))
                yield cell

    def domains(self, stream: Stream) -> list[StreamDomain]:
        """The stream's domains; those of the last call, where they are the same."""
        images = ALL if stream.length is None else Images(stream.length, stream.seed)
        key = (stream.domains, stream.setting == "gradual", stream.split, images)
        if key not in self._loaded:
            self._loaded.clear()
            input, device = self.trained.recipe.input, self.trained.device
            loaded = load_domains(self.data, stream.domains, stream.setting, stream.split, input, device, images)
            self._loaded[key] = loaded
        return self._loaded[key]

    @cached_property
    def _loaded(self) -> dict[tuple[tuple[str, ...], bool, str, Images], list[StreamDomain]]:
        return {}

    @cached_property
    def network(self) -> str:
        """A digest of the network's weights and statistics."""
        digest = hashlib.blake2b(digest_size=8)
        for name, tensor in sorted(self.trained.model.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    @cached_property
    def data(self) -> Adapter:
        """The data set.

        Raises:
            UserError: its classes are not the run's.
        """
        opened = open_dataset(self.dataset)
        if tuple(opened.classes) != tuple(self.trained.classes):
            raise UserError(f"data set {self.dataset!r} has other classes than the run was trained on")
        return opened

    def source_pixels(self, count: int) -> Tensor:
        """Pixels of the first ``count`` source images that the run was trained on, in a random order."""
        recipe = self.trained.recipe
        data = open_dataset(recipe.dataset)
        parts = store([data.load(name, "train") for name in recipe.task.sources], recipe.input, self.trained.device)
        chosen = [
            torch.randperm(len(p), generator=torch.Generator().manual_seed(0))[: count // len(parts)] for p in parts
        ]
        return torch.cat([next(iter(p.stream([c]))).pixels for p, c in zip(parts, chosen, strict=True)])


class _OnOneStream:
    """One stream's images, and the source's answers to them."""

    def __init__(self, bench: StreamBench, stream: Stream) -> None:
        self.bench, self.trained = bench, bench.trained
        self.domains = bench.domains(stream)
        labels = [domain.labels for domain in self.domains]
        self.segments: list[Segment] = segments(labels, stream.setting, stream.seed, stream.gamma)
        self.seed = stream.seed

    @cached_property
    def source(self) -> Answers:
        from uan_da.streams.methods.source import Source

        return self._answers(Source, SOURCE_BATCH)

    def result(self, cell: Cell) -> dict[str, Any]:
        """Rows and the error over time."""
        if cell.method.name == ORACLE:
            oracle = oracle_answers(self.trained.model, self._surroundings(cell.batch), self.domains, self.segments)
            answers, cost = oracle, {"forwards": 2.0, "backwards": 0.0, "gradients": False}
            if answers is None:
                return {"rows": [], "curve": []}
        else:
            kind = cell.method.target
            answers = self._answers(cell.method, cell.batch)
            cost = {key: getattr(kind, key) for key in ("forwards", "backwards", "gradients")}
        rows = scores(answers, self.source, self.domains)
        rows[0] |= {
            "ms_per_image": 1000 * answers.seconds / len(answers.domain),
            "stored_bytes": answers.stored_bytes,
            "memory_bytes": answers.memory_bytes,
        }
        return {"rows": [cell.heads | row | cost for row in rows], "curve": error_over_time(answers, self.domains)}

    def _answers(self, method: Callable[..., StreamMethod], batch: int) -> Answers:
        surroundings = self._surroundings(batch)

        def make() -> StreamMethod:
            with torch.random.fork_rng():
                torch.manual_seed(self.seed)
                return method(copy.deepcopy(self.trained.model), len(self.trained.classes), surroundings)

        return answer_stream(make, self.domains, self.segments, batch)

    def _surroundings(self, batch: int) -> Surroundings:
        recipe = self.trained.recipe
        return Surroundings(
            recipe.input,
            self.trained.domain,
            batch,
            [augmentation() for augmentation in recipe.augment.weak],
            [augmentation() for augmentation in recipe.augment.strong],
            self.seed,
            self.trained.device,
            self.bench.source_pixels,
        )


ORACLE = "oracle"


def oracle_block() -> Block[Any]:
    """The oracle as a cell's method."""
    return Block(ORACLE, oracle_answers, {})


def results_table(out: Path, cells: Sequence[Cell]) -> pd.DataFrame:
    """A row a method and domain, of all ``cells`` that are done; columns :data:`COLUMNS`."""
    found = [read(cell.file(out)) for cell in cells]
    rows: list[Mapping[str, Any]] = [row for result in found if result is not None for row in result["rows"]]
    return pd.DataFrame(rows, columns=pd.Index(COLUMNS))
