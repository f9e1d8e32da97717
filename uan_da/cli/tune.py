"""``uan-da tune``."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from uan_da.cli.compare import Devices, ExecutorName, ExecutorOption, Jobs, RayAddress, Threads, choose_executor
from uan_da.cli.options import DataRoot

if TYPE_CHECKING:
    from uan_da.cli.sweep_console import SweepConsole
    from uan_da.sweeps.jobs import Job
    from uan_da.sweeps.space import Space
    from uan_da.sweeps.tune import Search


def tune(
    recipe: Annotated[str, typer.Argument(help="A shipped recipe's name, or a YAML file.")],
    space: Annotated[
        Path,
        typer.Option(help="A YAML file: 'train.optimizer.lr: {low: 1e-4, high: 1e-2, log: true}', 'norm: [bn, uan]'"),
    ],
    trials: Annotated[int, typer.Option(min=1, help="Number of trials, including finished ones.")],
    validator: Annotated[
        str, typer.Option(help="The validator that selects, without target labels: uan-da list validators")
    ],
    overrides: Annotated[list[str] | None, typer.Argument(help="Changes to the recipe, for all trials.")] = None,
    out: Annotated[Path | None, typer.Option(help="The search's folder.  [default: runs/RECIPE/tune]")] = None,
    jobs: Jobs = None,
    threads: Threads = None,
    device: Devices = "auto",
    executor: ExecutorOption = ExecutorName.local,
    ray_address: RayAddress = None,
    data_root: DataRoot = None,
) -> None:
    """Search hyper-parameters with a validator, without target labels. Repeat the command to continue."""
    from uan_da.sweeps.server import start_server

    if executor is ExecutorName.local:
        start_server()  # it imports while this process does
    from uan_da.cli.sweep_console import SweepConsole
    from uan_da.sweeps.local import Local
    from uan_da.sweeps.space import read_space
    from uan_da.sweeps.tune import tune as search
    from uan_da.training.interrupt import Interrupted

    folder, searched = out or Path("runs") / Path(recipe).stem / "tune", read_space(space)
    with SweepConsole() as console:
        trains = choose_executor(executor, device, jobs, threads, ray_address)
        at_once = trains.jobs if isinstance(trains, Local) else jobs or 1

        def start(over: int, next_jobs: Sequence["Job"]) -> None:
            console.begin({job.run_id: f"run {job.run_id}" for job in next_jobs}, f"{over} of {trials} trials before")

        try:
            found = search(
                recipe,
                overrides or [],
                searched,
                out=folder,
                trials=trials,
                validator=validator,
                executor=trains,
                at_once=at_once,
                start=start,
                tell=console.event,
            )
        except Interrupted as stop:
            console.say(f"{stop}; go on with: uan-da {shlex.join(sys.argv[1:])}")
            raise typer.Exit(stop.exit_code) from None
        _conclude(console, found, searched, folder, [recipe, *(overrides or [])])
    if found.best is None:
        raise typer.Exit(1)


def _conclude(console: "SweepConsole", found: "Search", space: "Space", folder: Path, arguments: Sequence[str]) -> None:
    """The table, and the command that trains what was chosen."""
    from uan_da.sweeps.formats import markdown
    from uan_da.sweeps.results import write_text
    from uan_da.sweeps.tune import sheet

    page = sheet(found, space)
    failed = [f"failed: trial {t.number}, {' '.join(t.point)}: {t.error}" for t in found.trials if t.state == "failed"]
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "trials.md", markdown([page], failed))
    console.sheets([page], failed)
    if found.best is not None:
        chosen = [*arguments, *found.best.point, f"selection.validator={found.validator}"]
        console.say(f"chosen by {found.validator}: trial {found.best.number}, {folder / 'runs' / found.best.run_id}")
        console.say(f"again: uan-da train {shlex.join(chosen)}")
