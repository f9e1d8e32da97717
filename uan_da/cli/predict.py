"""``uan-da predict``."""

from pathlib import Path
from typing import Annotated

import typer

from uan_da.cli.evaluate import Checkpoint
from uan_da.cli.options import DataRoot, Trusted, trust_of


def predict(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    images: Annotated[list[Path], typer.Argument(help="Image files, and folders of them.")],
    checkpoint: Annotated[Checkpoint, typer.Option(help="The checkpoint to predict with.")] = Checkpoint.last,
    out: Annotated[Path | None, typer.Option(help="A CSV file.  [default: standard output]")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace --out if it exists.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps")] = "auto",
    trust: Trusted = False,
    data_root: DataRoot = None,
) -> None:
    """Classify images: a CSV of file, class, confidence."""
    from uan_da.data.own_images import images_at
    from uan_da.errors import UserError
    from uan_da.training.device import choose_device
    from uan_da.training.run import Run
    from uan_da.training.trained import Trained, answers_table

    if out is not None and out.exists() and not overwrite:
        raise UserError(f"{out}: exists already. Replace it: --overwrite")
    trained = Trained.load(Run.open(run, trust_of(trust)), checkpoint.value, choose_device(device))
    files = images_at(images)
    table = answers_table(files.paths, trained.classify(files), trained.classes)
    text = table.to_csv(index=False).encode("utf-8", "surrogateescape")  # the names of files need not be text
    if out is None:
        typer.echo(text, nl=False)
        return
    try:
        out.write_bytes(text)
    except OSError as error:
        raise UserError(f"{out}: cannot be written: {error.strerror}") from error
    typer.echo(f"{out}: {len(files)} images")
