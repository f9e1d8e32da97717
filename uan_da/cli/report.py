"""``uan-da report``."""

from pathlib import Path
from typing import Annotated

import typer

from uan_da.cli.options import DataRoot, Trusted, trust_of


def report(
    folder: Annotated[Path, typer.Argument(help="A run, also an adapted one, or a folder of runs: a sweep.")],
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps")] = "auto",
    trust: Trusted = False,
    data_root: DataRoot = None,
) -> None:
    """Write report.html: one file with figures and tables, without scripts or network requests."""
    typer.echo(write_report(folder, device, trust=trust))


def write_report(folder: Path, device: str, *, trust: bool = False) -> Path:
    """Write and return ``report.html`` of a run, evaluated first where it has not been, or of a folder of runs."""
    from uan_da.cli.validators import runs_in
    from uan_da.evaluation.report import adapted_report, run_report, sweep_report
    from uan_da.training.evaluate_run import evaluate_run
    from uan_da.training.run import Run, metrics_of

    if not (folder / "recipe.yaml").is_file():
        runs = runs_in(folder)
        for run in runs:
            Run(run).check_whole()
        return sweep_report(folder, runs, metrics_of)
    if (folder / "adapt.json").is_file():
        Run(folder).check_whole()
        return adapted_report(folder)
    for run in (folder, folder / "baseline"):
        Run(run).check_whole()
        if (run / "done").is_file() and _is_stale(run):
            evaluate_run(Run.open(run, trust_of(trust)), "last", device_name=device)
    return run_report(folder, metrics_of)


def _is_stale(run: Path) -> bool:
    """Whether the evaluation is missing, damaged, or older than the checkpoint."""
    from uan_da.training.evaluate_run import is_whole
    from uan_da.training.run import Run

    if not is_whole(run / "evaluation", "last"):
        return True
    made = run / "evaluation" / "last.json"
    return made.stat().st_mtime < Run(run).checkpoint("last").stat().st_mtime
