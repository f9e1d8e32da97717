"""``uan-da compare``."""

import shlex
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from uan_da.cli.options import DataRoot, Trusted, trust_of

if TYPE_CHECKING:
    from uan_da.sweeps.grid import Grid
    from uan_da.sweeps.jobs import Executor


class ExecutorName(StrEnum):
    """Who trains the runs."""

    local = "local"
    ray = "ray"


Jobs = Annotated[
    int | None,
    typer.Option(min=1, help="The most runs at once.  [default: one per device; on the CPU one per core]"),
]
Threads = Annotated[
    int | None,
    typer.Option(min=1, help="CPU threads of each run; results depend on it.  [default: 1]"),
]
Devices = Annotated[str, typer.Option(help="auto, cpu, mps, or CUDA devices: cuda:0,cuda:1")]
ExecutorOption = Annotated[ExecutorName, typer.Option(help="local: this machine; ray: a Ray cluster (optional extra)")]
RayAddress = Annotated[
    str | None, typer.Option(help="Address of the cluster's head.  [default: RAY_ADDRESS, else Ray on this machine]")
]


def compare(
    recipe: Annotated[str, typer.Argument(help="A shipped recipe's name, or a YAML file.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Changes to the recipe; several values form an axis: train.optimizer.lr=1e-3,1e-2"),
    ] = None,
    method: Annotated[str | None, typer.Option(help="Methods: dann,adamatch; source_only is always included.")] = None,
    norm: Annotated[str | None, typer.Option(help="Norms: bn,uan")] = None,
    task: Annotated[
        str | None, typer.Option(help="Tasks: amazon:webcam,dslr:webcam, or all of the data set: all")
    ] = None,
    seed: Annotated[str | None, typer.Option(help="Seeds: 0..4 or 0,1,2")] = None,
    reference: Annotated[
        str | None,
        typer.Option(help="The row to compare all others with: 'dann bn'.  [default: source_only, first norm]"),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The sweep's folder.  [default: runs/RECIPE/compare]")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print finished and missing runs; train nothing.")] = False,
    jobs: Jobs = None,
    threads: Threads = None,
    device: Devices = "auto",
    executor: ExecutorOption = ExecutorName.local,
    ray_address: RayAddress = None,
    trust: Trusted = False,
    data_root: DataRoot = None,
) -> None:
    """Train a grid of runs, and print its table. Repeat the command to continue."""
    from uan_da.sweeps.server import start_server

    if executor is ExecutorName.local and not dry_run:
        start_server()  # it imports while this process does
    from uan_da.cli.sweep_console import SweepConsole
    from uan_da.data.adapter import MissingData
    from uan_da.sweeps.compare import compare as run_grid
    from uan_da.sweeps.grid import build_grid
    from uan_da.training.interrupt import Interrupted

    axes = {"method": method, "norm": norm, "task": task, "seed": seed}
    spans = [*(overrides or []), *(f"{key}={values}" for key, values in axes.items() if values is not None)]
    folder = out or Path("runs") / Path(recipe).stem / "compare"
    if dry_run:
        given = trust_of(trust)
        try:
            _say_what_is_left(build_grid(recipe, spans, given, threads=threads or 1), folder)
        except MissingData as error:
            count = len(build_grid(recipe, spans, given, reads_data=False).cells)
            typer.echo(f"{count} runs; which of them are done is unknown, for their data are not here:\n{error}")
        return
    with SweepConsole() as console:
        trains = choose_executor(executor, device, jobs, threads, ray_address)
        try:
            table = run_grid(recipe, spans, out=folder, reference=reference, executor=trains, view=console)
        except Interrupted as stop:
            console.say(f"{stop}; go on with: uan-da {shlex.join(sys.argv[1:])}")
            raise typer.Exit(stop.exit_code) from None
        console.table(table)
        if table.done:  # there is no report of nothing
            console.say(f"report: {folder / 'report.html'}   also there: results.csv, table.md, table.tex")
        if table.failed:
            raise typer.Exit(1)


def choose_executor(
    name: ExecutorName, device: str, jobs: int | None, threads: int | None, ray_address: str | None
) -> "Executor":
    """Who trains the runs, from a command's options.

    Raises:
        UserError: a device cannot be used, or Ray is asked for and not installed.
    """
    from uan_da.errors import UserError
    from uan_da.sweeps.local import Local
    from uan_da.sweeps.ray import OnRay

    if name is ExecutorName.local:
        if ray_address is not None:
            raise UserError("--ray-address goes with --executor ray")
        return Local.on(device, jobs, threads)
    if device not in ("auto", "cpu", "cuda"):
        raise UserError("--device: which GPU a run gets is for Ray to say: auto, cpu or cuda")
    return OnRay(ray_address, jobs, threads or 1, gpus={"auto": None, "cpu": 0.0, "cuda": 1.0}[device])


def _say_what_is_left(grid: "Grid", folder: Path) -> None:
    from uan_da.sweeps.results import read_result

    found = [(cell.name, read_result(cell, folder)) for cell in grid.cells]
    for name, result in found:
        what = f"failed, to be tried again: {result.error}" if result.status == "failed" else result.status
        typer.echo(f"{result.run_id}  {name}: {what}")
    done = sum(result.status == "done" for _, result in found)
    typer.echo(f"{len(found)} runs: {done} done, {len(found) - done} left")
