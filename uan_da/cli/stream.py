"""``uan-da stream``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from uan_da.cli.evaluate import Checkpoint
from uan_da.cli.options import DataRoot

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table


def stream(
    run: Annotated[Path, typer.Argument(help="A run folder; with --weights a recipe.")],
    options: Annotated[list[str] | None, typer.Argument(help="Options of methods: uan.num_clusters=8")] = None,
    domain: Annotated[str, typer.Option(help="Domains, in the order of the stream: fog,snow")] = ...,  # type: ignore[assignment]
    method: Annotated[str, typer.Option(help="Methods: bn_1,uan,tent; source is always included.")] = "bn_1,uan",
    setting: Annotated[
        str, typer.Option(help="single, continual, gradual, mixed, correlated, mixed_correlated; several: mixed,single")
    ] = "mixed",
    batch: Annotated[str, typer.Option(help="Batch sizes: 64,8,1")] = "64",
    seed: Annotated[str, typer.Option(help="Seeds of the order: 0..2 or 0,1")] = "0",
    length: Annotated[int | None, typer.Option(min=1, help="Images of each domain.  [default: all]")] = None,
    gamma: Annotated[
        float | None,
        typer.Option(min=1e-6, help="Correlated: classes in Dirichlet(γ) proportions.  [default: sorted]"),
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="Of the domains.  [default: the run's]")] = None,
    split: Annotated[str, typer.Option(help="test or train")] = "test",
    checkpoint: Annotated[Checkpoint, typer.Option(help="The checkpoint to predict with.")] = Checkpoint.last,
    weights: Annotated[
        str | None, typer.Option(help="A published network, head included, in place of a run: a file, or IMAGENET1K_V1")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Where results go.  [default: RUN/stream]")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps")] = "auto",
    data_root: DataRoot = None,
) -> None:
    """Predict a stream of test images once while methods adapt. Repeat the command to continue."""
    from uan_da.cli.console import Console
    from uan_da.data.open_dataset import open_dataset
    from uan_da.files import whole_file
    from uan_da.recipe import load_recipe
    from uan_da.spreadsheet import to_csv
    from uan_da.streams.bench import StreamBench, results_table
    from uan_da.streams.cells import Stream, stream_methods
    from uan_da.streams.report import write_report
    from uan_da.streams.values import batches_of, seeds_of, settings_of, split_of
    from uan_da.training.device import choose_device
    from uan_da.training.run import Run, check_folder
    from uan_da.training.trained import Trained

    folder = out or (run / "stream" if weights is None else Path("runs") / run.stem / "stream")
    methods = stream_methods([name for name in method.split(",") if name], options or [])
    domains = tuple(name for name in domain.split(",") if name)
    asked = split_of(split)
    settings, seeds, batches = settings_of(setting), seeds_of(seed), batches_of(batch)
    on = choose_device(device)
    if weights is None:
        trained = Trained.load(Run.open(run), checkpoint.value, on)
    else:
        recipe = load_recipe(run, [f"backbone.weights={weights}"])
        trained = Trained.published(recipe, open_dataset(recipe.dataset).classes, on)
    check_folder(folder)
    bench = StreamBench(trained, dataset or trained.recipe.dataset, folder)
    streams = [Stream(bench.dataset, domains, asked, s, n, length, gamma) for n in seeds for s in settings]
    total, cells = len(streams) * len(batches) * (len(methods) + 1), []
    with Console() as console:
        for cell in bench.run(streams, batches, methods):
            cells.append(cell)
            heads = cell.heads
            console.say(f"{len(cells)}/{total}  {'  '.join(f'{key} {value}' for key, value in heads.items())}")
        table = results_table(folder, cells)
        with whole_file(folder / "results.csv") as file:
            file.write(to_csv(table))
        console.rich.print(summary(table))
        console.say(f"report: {write_report(folder, table, cells)}   also there: results.csv")


def summary(table: "pd.DataFrame") -> "Table":
    """The error of all domains together, in percent: a row a method, a column a setting and batch."""
    from rich.markup import escape
    from rich.table import Table

    from uan_da.streams.report import pivot

    errors = pivot(table)
    shown = Table("method", title="error, in percent", title_justify="left")
    for head in errors.columns:
        shown.add_column(head, justify="right")
    for name, row in errors.iterrows():
        shown.add_row(escape(str(name)), *row)
    return shown
