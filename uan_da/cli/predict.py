"""``uan-da predict``."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from uan_da.cli.evaluate import Checkpoint
from uan_da.cli.options import DataRoot, Trusted, trust_of
from uan_da.cli.prediction_rows import PredictionFormat, Rows

if TYPE_CHECKING:
    from uan_da.data.image_files import DamagedImage
    from uan_da.training.predict_files import Prediction

STANDARD_INPUT = "-"


def predict(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    images: Annotated[
        list[str],
        typer.Argument(help="Image files, folders, patterns ('**/*.jpg'); -: a list on standard input."),
    ],
    checkpoint: Annotated[Checkpoint, typer.Option(help="The checkpoint to predict with.")] = Checkpoint.last,
    out: Annotated[Path | None, typer.Option(help="A file.  [default: standard output]")] = None,
    format: Annotated[PredictionFormat, typer.Option(help="CSV, or one JSON object per line.")] = PredictionFormat.csv,
    top: Annotated[int, typer.Option(min=1, help="Number of the most probable classes.")] = 1,
    features: Annotated[bool, typer.Option("--features", help="Also the features of each image.")] = False,
    clusters: Annotated[
        bool, typer.Option("--clusters", help="Also the cluster of each image in every UAN layer.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace --out if it exists.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps")] = "auto",
    trust: Trusted = False,
    data_root: DataRoot = None,
) -> None:
    """Classify images: file, class, confidence. Images that cannot be read are named, and the exit code is 1."""
    from uan_da.errors import UserError
    from uan_da.training.device import choose_device
    from uan_da.training.predict_files import predict_files
    from uan_da.training.run import Run
    from uan_da.training.trained import Trained

    if out is not None and out.exists() and not overwrite:
        raise UserError(f"{out}: exists already. Replace it: --overwrite")
    trained = Trained.load(Run.open(run, trust_of(trust)), checkpoint.value, choose_device(device))
    files, total = _files(images)
    rows = Rows(format, trained.classes, top, features)
    with _writer(out) as write:
        found = _counted(predict_files(trained, files, clusters=clusters), total, bar=out is not None)
        written, bad = _write(found, rows, write)
    if out is not None:
        typer.echo(f"{out}: {written} images")
    if bad:
        typer.echo(f"error: {bad} of {written + bad} images could not be read", err=True)
        raise typer.Exit(1)


def _files(words: list[str]) -> "tuple[Iterable[Path], int | None]":
    """What the words name, and how many there are; nobody knows of a list that is still being read."""
    from uan_da.data.own_images import expand, images_at

    parts = [None if word == STANDARD_INPUT else images_at(expand(word)).paths for word in words]
    known = None if None in parts else sum(len(part) for part in parts if part is not None)
    return chain.from_iterable(_listed() if part is None else part for part in parts), known


def _listed() -> Iterator[Path]:
    """The lines of standard input; a file's name need not be text."""
    for line in sys.stdin.buffer:
        if name := line.rstrip(b"\r\n"):
            yield Path(os.fsdecode(name))


def _write(found: "Iterable[Prediction | DamagedImage]", rows: Rows, write: Callable[[str], None]) -> tuple[int, int]:
    """Write the predictions, and tell of what could not be read; how many there are of both."""
    from uan_da.data.image_files import DamagedImage

    written = bad = 0
    for each in found:
        if isinstance(each, DamagedImage):
            typer.echo(f"warning: left out: {each}", err=True)
            bad += 1
        else:
            write(rows.line(each))
            written += 1
    write(rows.head())
    return written, bad


def _counted(
    found: "Iterable[Prediction | DamagedImage]", total: int | None, bar: bool
) -> "Iterator[Prediction | DamagedImage]":
    """A bar on standard error, where the predictions themselves are not on the same screen."""
    from uan_da.cli.progress import image_bars

    if not bar:
        yield from found
        return
    with image_bars() as start:
        tell = start("images")
        for number, each in enumerate(found, 1):
            tell(number, total)
            yield each


@contextmanager
def _writer(out: Path | None) -> Iterator[Callable[[str], None]]:
    """Writes text where it belongs: a file appears once it is complete."""
    from uan_da.errors import UserError
    from uan_da.files import whole_file

    if out is None:
        yield lambda text: typer.echo(text.encode("utf-8", "surrogateescape"), nl=False)
        return
    if not out.parent.is_dir():
        raise UserError(f"{out}: cannot be written: there is no folder {out.parent}")
    with whole_file(out) as file:

        def write(text: str) -> None:
            file.write(text.encode("utf-8", "surrogateescape"))

        yield write
