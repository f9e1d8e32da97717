"""The cells of a grid of streams: each is one method on one stream, with its result in one file."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from pydantic import ValidationError

from uan_da.data.adapter import Split
from uan_da.errors import UserError
from uan_da.files import read_json, write_json
from uan_da.names import STREAM_METHODS
from uan_da.recipe import Block
from uan_da.recipe.block import options_of
from uan_da.recipe.load import describe_problems
from uan_da.recipe.overrides import apply_overrides
from uan_da.recipe.source import Source
from uan_da.recipe.strict import Strict
from uan_da.streams.method import StreamMethod
from uan_da.streams.setting import Setting
from uan_da.trust import FILES


@dataclass(frozen=True)
class StreamBlock(Block[StreamMethod]):
    """A stream method; call it with the model, the number of classes and the surroundings to build the method."""

    names: ClassVar = STREAM_METHODS


class _Options(Strict):
    method: StreamBlock


@dataclass(frozen=True)
class Stream:
    """Everything that determines a stream, except the batch size: equal streams have the same images in order."""

    dataset: str
    domains: tuple[str, ...]
    split: Split
    setting: Setting
    seed: int
    length: int | None
    gamma: float | None


@dataclass(frozen=True)
class Cell:
    """One method on one stream in batches of ``batch``; ``run`` names the network, ``network`` digests its weights."""

    run: str
    network: str
    stream: Stream
    batch: int
    method: Block[Any]

    @property
    def run_id(self) -> str:
        """The id that all cells of one network on one stream share."""
        return _digest(self.network, asdict(self.stream))

    def file(self, folder: Path) -> Path:
        """The file of the result."""
        return cells_folder(folder, self.run_id) / f"{_digest(self.batch, self.method.to_dict())}.json"

    @property
    def heads(self) -> dict[str, Any]:
        """The first cells of its rows in a table."""
        stream, method = self.stream, label(self.method)
        return {"run": self.run, "method": method, "setting": stream.setting, "batch": self.batch, "seed": stream.seed}


def cells_folder(folder: Path, run_id: str) -> Path:
    """The folder of the results of one network on one stream."""
    return folder / "cells" / run_id


def _digest(*parts: Any) -> str:
    return hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=8).hexdigest()


def stream_methods(names: Sequence[str], options: Iterable[str] = ()) -> list[StreamBlock]:
    """The methods called ``names``, with ``options`` such as ``uan.num_clusters=8``; the source is always first.

    Raises:
        UserError: all that is wrong with them.
    """
    of_each: dict[str, list[str]] = {name: [] for name in dict.fromkeys(["source", *names])}
    for option in options:
        name, _, rest = option.partition(".")
        if name not in of_each:
            raise UserError(f"{option}: expected METHOD.OPTION=VALUE of one of the methods: {', '.join(of_each)}")
        of_each[name].append(f"method.{rest}")
    return [stream_method(name, given) for name, given in of_each.items()]


def label(method: Block[Any]) -> str:
    """The method's name, and the options that differ from their defaults."""
    defaults = options_of(method.target)
    told = [f"{key}={value}" for key, value in method.options.items() if value != defaults[key].default]
    return " ".join([method.name, *told])


def stream_method(name: str, options: Sequence[str] = ()) -> StreamBlock:
    """The stream method of that name with ``options`` such as ``method.lr=1e-3``.

    Raises:
        UserError: all that is wrong with them.
    """
    source = Source("command line", {"method": {"name": name}})
    apply_overrides(source, options)
    try:
        return _Options.model_validate(source.data, context=FILES).method
    except ValidationError as error:
        raise UserError(describe_problems(source, error)) from None


def read(path: Path) -> Mapping[str, Any] | None:
    """A cell's result; None if it is missing or damaged."""
    try:
        return read_json(path) if path.is_file() else None
    except UserError:
        return None


def write(path: Path, result: Mapping[str, Any]) -> None:
    """Write a cell's result atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, result)
