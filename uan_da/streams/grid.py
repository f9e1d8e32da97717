"""A grid of networks, methods, settings, batch sizes and seeds; finished cells are not computed again."""

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from uan_da.data.adapter import Split
from uan_da.data.open_dataset import open_dataset
from uan_da.errors import UserError
from uan_da.recipe import Block
from uan_da.streams.cells import Cell, Stream, StreamBlock, read
from uan_da.streams.domains import found_domains
from uan_da.streams.job import ORACLE, StreamJob, built, surroundings
from uan_da.streams.oracle import oracle_predictions
from uan_da.streams.setting import Setting
from uan_da.training.trained import Trained

COLUMNS = (
    *("run", "method", "setting", "batch", "seed", "domain", "n", "error", "ece"),
    *("end_error", "source_end_error", "collapsed", "ms_per_image", "stored_bytes", "memory_bytes"),
    *("forwards", "backwards", "gradients"),
)


@dataclass(frozen=True)
class Network:
    """A trained network in CPU memory, and its name in tables."""

    name: str
    trained: Trained

    @cached_property
    def digest(self) -> str:
        """The digest of its weights and statistics."""
        digest = hashlib.blake2b(digest_size=8)
        for name, tensor in sorted(self.trained.model.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class StreamGrid:
    """Every combination of its parts. The oracle is a method of every grid."""

    networks: Sequence[Network]
    methods: Sequence[StreamBlock]
    settings: Sequence[Setting]
    batches: Sequence[int]
    domains: tuple[str, ...]
    seeds: Sequence[int] = ()
    """Without any, each run has its own."""
    split: Split = "test"
    length: int | None = None
    gamma: float | None = None
    dataset: str | None = None
    """None: each run has its own."""

    def streams(self, network: Network) -> list[Stream]:
        """The streams of one network."""
        recipe = network.trained.recipe
        dataset, seeds = self.dataset or recipe.dataset, self.seeds or [recipe.seed]
        return [
            Stream(dataset, self.domains, self.split, setting, seed, self.length, self.gamma)
            for seed, setting in itertools.product(seeds, self.settings)
        ]

    def jobs(self, folder: Path) -> list[StreamJob]:
        """All cells, by network and stream; the results go to ``folder``."""
        oracle: Block[Any] = Block(ORACLE, oracle_predictions, {})
        found = []
        for network in self.networks:
            for stream in self.streams(network):
                cells = [
                    Cell(network.name, network.digest, stream, batch, method)
                    for batch, method in itertools.product(self.batches, [*self.methods, oracle])
                ]
                found.append(StreamJob(cells[0].run_id, folder.absolute(), network.trained, cells))
        return found

    def check(self) -> None:
        """Check that each method can adapt each network, and that the domains exist.

        Raises:
            UserError: what is wrong.
        """
        for network in self.networks:
            trained = network.trained
            trained.require_closed_set()
            input = trained.recipe.input
            few = torch.zeros(2, input.channels, input.size, input.size, dtype=torch.uint8)
            around = surroundings(trained, self.batches[0], seed=0, source=lambda _, few=few: few)  # type: ignore[misc]
            for method in self.methods:
                built(method, trained, around)
            name = self.dataset or trained.recipe.dataset
            dataset = open_dataset(name)
            if tuple(dataset.classes) != tuple(trained.classes):
                raise UserError(f"data set {name!r} has other classes than the run was trained on")
            for setting in self.settings:
                for source, domain in found_domains(dataset, self.domains, setting):
                    source.load(domain, self.split)


def results_table(folder: Path, cells: Sequence[Cell]) -> pd.DataFrame:
    """One row per method and domain, of all finished ``cells``; columns :data:`COLUMNS`."""
    found = [read(cell.file(folder)) for cell in cells]
    rows: list[Mapping[str, Any]] = [row for result in found if result is not None for row in result["rows"]]
    return pd.DataFrame(rows, columns=pd.Index(COLUMNS))
