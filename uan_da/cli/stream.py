"""``uan-da stream``."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from uan_da.cli.compare import Devices, ExecutorName, ExecutorOption, Jobs, RayAddress, Threads, choose_executor
from uan_da.cli.evaluate import Checkpoint
from uan_da.cli.options import DataRoot

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from rich.table import Table

    from uan_da.cli.sweep_console import SweepConsole
    from uan_da.streams.grid import Network, StreamGrid
    from uan_da.sweeps.jobs import Executor


Settings = Annotated[
    str, typer.Option(help="single, continual, gradual, mixed, correlated, mixed_correlated; several: mixed,single")
]
Gamma = Annotated[
    float | None,
    typer.Option(min=1e-6, help="Correlated: classes in Dirichlet(γ) proportions.  [default: sorted]"),
]


def stream(
    runs: Annotated[
        list[str],
        typer.Argument(help="Run folders, then options of methods: uan.num_clusters=8. With --weights a recipe."),
    ],
    domain: Annotated[str, typer.Option(help="Domains, in the order of the stream: fog,snow")],
    method: Annotated[str, typer.Option(help="Methods: bn_1,uan,tent; source is always included.")] = "bn_1,uan",
    setting: Settings = "mixed",
    batch: Annotated[str, typer.Option(help="Batch sizes: 64,8,1")] = "64",
    seed: Annotated[
        str | None, typer.Option(help="Seeds of the order: 0..2 or 0,1  [default: of each run, its own]")
    ] = None,
    length: Annotated[int | None, typer.Option(min=1, help="Images of each domain.  [default: all]")] = None,
    gamma: Gamma = None,
    dataset: Annotated[str | None, typer.Option(help="The data set of the domains.  [default: the run's]")] = None,
    split: Annotated[str, typer.Option(help="test or train")] = "test",
    checkpoint: Annotated[Checkpoint, typer.Option(help="The checkpoint to predict with.")] = Checkpoint.last,
    weights: Annotated[
        str | None, typer.Option(help="A published network, head included, in place of a run: a file, or IMAGENET1K_V1")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The folder for the results.  [default: RUN/stream]")] = None,
    jobs: Jobs = None,
    threads: Threads = None,
    device: Devices = "auto",
    executor: ExecutorOption = ExecutorName.local,
    ray_address: RayAddress = None,
    data_root: DataRoot = None,
) -> None:
    """Predict streams of test images once while methods adapt. Repeat the command to continue."""
    from uan_da.sweeps.server import start_server

    if executor is ExecutorName.local:
        start_server()  # it imports while this process does
    from uan_da.cli.sweep_console import SweepConsole
    from uan_da.streams.cells import stream_methods
    from uan_da.streams.grid import StreamGrid
    from uan_da.streams.values import batches_of, seeds_of, settings_of, split_of
    from uan_da.sweeps.folder import check_grid_folder
    from uan_da.training.interrupt import Interrupted

    folders, options = [text for text in runs if "=" not in text], [text for text in runs if "=" in text]
    first = Path(folders[0] if folders else "")
    folder = out or (first / "stream" if weights is None else Path("runs") / first.stem / "stream")
    methods = stream_methods([name for name in method.split(",") if name], options)
    domains = tuple(name for name in domain.split(",") if name)
    settings, batches, asked = settings_of(setting), batches_of(batch), split_of(split)
    seeds = [] if seed is None else seeds_of(seed)
    does = choose_executor(executor, device, jobs, threads, ray_address)
    networks = _networks(folders, checkpoint, weights)
    check_grid_folder(folder, streams=True)
    grid = StreamGrid(networks, methods, settings, batches, domains, seeds, asked, length, gamma, dataset)
    grid.check()
    with SweepConsole() as console:
        try:
            failed = _run_cells(grid, folder, does, console)
        except Interrupted as stop:
            console.say(f"{stop}; go on with: uan-da {shlex.join(sys.argv[1:])}")
            raise typer.Exit(stop.exit_code) from None
    if failed:
        raise typer.Exit(1)


def _networks(folders: "Sequence[str]", checkpoint: Checkpoint, weights: str | None) -> "list[Network]":
    """Those of the runs; with ``weights`` the published one, in the recipe that is named in a run's place."""
    import torch

    from uan_da.data.open_dataset import open_dataset
    from uan_da.errors import UserError
    from uan_da.recipe import load_recipe
    from uan_da.streams.grid import Network
    from uan_da.training.run import Run
    from uan_da.training.trained import Trained

    if not folders:
        raise UserError("expected a run folder, or with --weights a recipe")
    cpu, found = torch.device("cpu"), []
    for name in folders:
        if weights is None:
            trained = Trained.load(Run.open(Path(name)), checkpoint.value, cpu)
        else:
            recipe = load_recipe(name, [f"backbone.weights={weights}"])
            trained = Trained.published(recipe, open_dataset(recipe.dataset).classes, cpu)
        found.append(Network(name, trained))
    return found


def _run_cells(grid: "StreamGrid", folder: Path, executor: "Executor", console: "SweepConsole") -> bool:
    """Do what is left, and write the table of all; whether a job failed."""
    from uan_da.files import whole_file
    from uan_da.spreadsheet import to_csv
    from uan_da.streams.grid import results_table
    from uan_da.streams.report import write_report

    jobs = grid.jobs(folder)
    cells = [cell for job in jobs for cell in job.cells]
    left = [job for job in jobs if job.left]
    done = len(cells) - sum(len(job.left) for job in left)
    console.say(f"{len(cells)} cells of {len(jobs)} streams: {done} done   in {folder}")
    console.begin({job.run_id: job.name for job in left})
    executor.run(left, console.event)
    console.live.stop()
    table = results_table(folder, cells)
    if not table.empty:
        with whole_file(folder / "results.csv") as file:
            file.write(to_csv(table))
        console.rich.print(summary(table))
        console.say(f"report: {write_report(folder, table, cells)}   also there: results.csv")
    return bool(console.progress.failed)


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
