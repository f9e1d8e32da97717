"""``uan-da evaluate``."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Checkpoint(StrEnum):
    """Which of a run's checkpoints."""

    last = "last"
    selected = "selected"


def evaluate(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    checkpoint: Annotated[
        Checkpoint, typer.Option(help="The last epoch's, or the validator's choice.")
    ] = Checkpoint.last,
    domain: Annotated[list[str] | None, typer.Option(help="Only this domain; may be repeated.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps")] = "auto",
) -> None:
    """Accuracy, precision, recall and F1 of a run on every domain of its task."""
    from uan_da.cli.console import Console, domains_table
    from uan_da.training.evaluate_run import evaluate_run
    from uan_da.training.run import Run

    with Console() as console:
        opened = Run.open(run)
        report = evaluate_run(opened, checkpoint.value, domain or [], device)
        console.rich.print(domains_table(report["domains"], f"{checkpoint.value}, step {report['step']}"))
        console.say(f"written: {run / 'evaluation' / checkpoint.value}.json")
