"""``uan-da doctor``."""

from typing import Annotated

import typer


def doctor(device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps")] = "auto") -> None:
    """What works on this machine, and what to do if something does not; exit code 1 if there is a defect."""
    from uan_da.training.doctor import examine

    defects = 0
    for found in examine(device):
        typer.echo(f"{found.state:<7} {found.name:<12} {found.what}")
        if found.remedy:
            typer.echo(f"{'':<7} {'':<12} → {found.remedy}")
        defects += found.state == "defect"
    raise typer.Exit(int(defects > 0))
