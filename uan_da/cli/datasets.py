"""``uan-da datasets show | check | fetch | init | preview``."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from uan_da.cli.options import DataRoot, Trusted, trust_of
from uan_da.cli.progress import download_bars, image_bars

if TYPE_CHECKING:
    from rich.table import Table

    from uan_da.data.adapter import Adapter
    from uan_da.data.card_dataset import CardDataset
    from uan_da.data.check import Report

app = typer.Typer(help="Show, check, fetch and preview data sets.", no_args_is_help=True)

Dataset = Annotated[str, typer.Argument(help="A name, a card (./plates.yaml), a folder, or module:Class.")]


@app.command()
def show(dataset: Dataset, trust: Trusted = False, data_root: DataRoot = None) -> None:
    """Domains, classes, counts and licences, and where the data are or how to get them."""
    from uan_da.data.card_dataset import CardDataset
    from uan_da.data.open_dataset import open_dataset

    adapter = open_dataset(dataset, trust_of(trust))
    card = adapter.card if isinstance(adapter, CardDataset) else None
    if card and card.description:
        typer.echo(card.description)
    typer.echo(f"{len(adapter.classes)} classes: {', '.join(adapter.classes)}")
    table, missing = _domains(adapter)
    _print(table)
    if not isinstance(adapter, CardDataset):
        return
    for name, domain in adapter.card.domains.items():
        typer.echo(f"{name}: {domain.description or 'images'}; licence: {domain.licence}; source: {domain.source}")
    typer.echo(f"citation: {adapter.card.citation}")
    typer.echo(f"not here:\n{adapter.how_to_get()}" if missing else _where(adapter))


def _where(adapter: "CardDataset") -> str:
    return f"found at: {adapter.folder}" if adapter.folder.exists() else "made here: no data to get"


def _domains(adapter: "Adapter") -> tuple["Table", bool]:
    """The domains and their counts (from the card if data is missing), and whether any data is missing."""
    from rich.table import Table

    from uan_da.data.adapter import MissingData
    from uan_da.data.card_dataset import CardDataset

    table, missing = Table(), False
    for head in ("domain", "train", "test", "image size", "here"):
        table.add_column(head, justify="right" if head in {"train", "test"} else "left")
    for name in adapter.domains:
        card = adapter.card.domains[name] if isinstance(adapter, CardDataset) else None
        try:
            counts = [str(len(adapter.load(name, split))) for split in ("train", "test")]
            here = "yes"
        except MissingData:
            said = (card.train, card.test) if card else (None, None)
            counts, here, missing = ["unknown" if count is None else str(count) for count in said], "no", True
        table.add_row(name, *counts, card.image_size if card else "unknown", here)
    return table, missing


@app.command()
def check(
    dataset: Dataset,
    task: Annotated[str | None, typer.Option(help="Only this task's domains: SOURCE:TARGET")] = None,
    trust: Trusted = False,
    data_root: DataRoot = None,
) -> None:
    """Open every image and report every problem; exit code 2 if training would refuse the data."""
    from uan_da.data.check import check_dataset
    from uan_da.data.open_dataset import open_dataset
    from uan_da.errors import UserError
    from uan_da.names import unknown
    from uan_da.recipe.task_name import parse_task

    adapter = open_dataset(dataset, trust_of(trust))
    try:
        parsed = parse_task(task) if task else None
    except ValueError as error:
        raise UserError(f"--task: {error}") from None
    for name in parsed.domains if parsed else ():
        if name not in adapter.domains:
            raise UserError(f"--task: {unknown('domain', name, adapter.domains)}")
    with image_bars() as start:
        report = check_dataset(adapter, parsed, start)
    _print(_counts(report, adapter.classes))
    for finding in report.findings:
        text = f"{finding.severity}: {finding.domain}: {finding.message}"
        typer.echo(text.encode("utf-8", "backslashreplace").decode())  # names of files need not be text
    warnings = sum(finding.severity == "warning" for finding in report.findings)
    typer.echo(f"{dataset}: {report.defects} defect(s), {warnings} warning(s)")
    if report.defects:
        raise typer.Exit(2)


def _counts(report: "Report", classes: Sequence[str]) -> "Table":
    from rich.table import Table

    table = Table()
    for head in ("domain", "split", "images", "unreadable", "unlabelled", "images a class"):
        table.add_column(head, justify="left" if head in {"domain", "split"} else "right")
    for (domain, split), images in report.images.items():
        labels = [image.label for image in images if image.label >= 0]
        sizes = [labels.count(label) for label in range(len(classes))]
        per_class = f"{min(sizes)} to {max(sizes)}" if labels else "-"
        unreadable = sum(bool(image.problem) for image in images)
        table.add_row(domain, split, str(len(images)), str(unreadable), str(len(images) - len(labels)), per_class)
    return table


@app.command()
def fetch(dataset: Dataset, trust: Trusted = False, data_root: DataRoot = None) -> None:
    """Download, verify and unpack. Repeat the command to continue."""
    from uan_da.data.card_dataset import CardDataset
    from uan_da.data.fetch import fetch as fetch_files
    from uan_da.data.open_dataset import open_dataset
    from uan_da.errors import UserError

    adapter = open_dataset(dataset, trust_of(trust))
    if not isinstance(adapter, CardDataset):
        raise UserError(f"dataset {dataset!r} has no card, and so nothing to fetch")
    with download_bars() as start:
        fetched = fetch_files(adapter, start)
    for path in fetched:
        typer.echo(str(path))
    if not fetched:
        typer.echo(f"all of it is here: {adapter.folder}")
    typer.echo(f"next: uan-da datasets check {shlex.quote(dataset)}")


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="<domain>/<class>/*.jpg")],
    card: Annotated[
        Path | None, typer.Option(help="The card to write.  [default: FOLDER's name + .yaml, here]")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the card if it exists.")] = False,
) -> None:
    """Write a card for a folder of images."""
    from uan_da.data.folder_card import card_of_folder, write_card
    from uan_da.errors import UserError

    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    path = card or Path(f"{folder.resolve().name}.yaml")
    if path.exists() and not overwrite:
        raise UserError(f"{path}: exists already. Replace it: --overwrite")
    write_card(card_of_folder(folder), folder, path)
    named = path if path.is_absolute() else f"./{path}"
    typer.echo(f"{path}   next: uan-da datasets check {shlex.quote(str(named))}")


@app.command()
def preview(
    dataset: Dataset,
    out: Annotated[Path, typer.Option(help="The folder for the pictures.")] = Path("previews"),
    domain: Annotated[list[str] | None, typer.Option(help="Only this domain; may be repeated.")] = None,
    size: Annotated[int, typer.Option(min=8, max=512, help="Side of an image, in pixels.")] = 32,
    trust: Trusted = False,
    data_root: DataRoot = None,
) -> None:
    """Write a picture of each domain, and of its weak and strong views."""
    from uan_da.data.open_dataset import open_dataset
    from uan_da.data.preview import write_previews
    from uan_da.errors import UserError
    from uan_da.names import unknown

    adapter = open_dataset(dataset, trust_of(trust))
    for name in domain or []:
        if name not in adapter.domains:
            raise UserError(f"{dataset}: {unknown('domain', name, adapter.domains)}")
    for path in write_previews(adapter, domain or adapter.domains, out, size):
        typer.echo(str(path))


def _print(table: "Table") -> None:
    from uan_da.cli.terminal import rich_console

    rich_console().print(table, soft_wrap=True)
