"""``uan-da export``."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from uan_da.cli.evaluate import Checkpoint
from uan_da.cli.options import DataRoot, Trusted, trust_of


class ExportFormat(StrEnum):
    """A kind of file."""

    onnx = "onnx"
    pt2 = "pt2"


def export(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    out: Annotated[Path, typer.Option(help="The file to write.")],
    format: Annotated[
        ExportFormat | None,
        typer.Option(help="ONNX, or a program of torch.export.  [default: what --out ends in]"),
    ] = None,
    checkpoint: Annotated[Checkpoint, typer.Option(help="The checkpoint.")] = Checkpoint.last,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace --out if it exists.")] = False,
    trust: Trusted = False,
    data_root: DataRoot = None,
) -> None:
    """Write a run's network as one file that runs without this package, and compare its output with PyTorch's."""
    from uan_da.export.export import export_run
    from uan_da.training.run import Run

    written = export_run(
        Run.open(run, trust_of(trust)),
        None if format is None else format.value,
        out,
        checkpoint=checkpoint.value,
        overwrite=overwrite,
    )
    typer.echo(
        f"compared with PyTorch on {written.images} {written.what}: probabilities differ by at most "
        f"{written.difference:.1e}"
    )
    typer.echo(f"written: {written.file}, and its classes as {written.labels}")
