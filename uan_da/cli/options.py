"""Options that many commands have: ``--data-root`` and ``--trust``."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from uan_da.folders import DATA_VARIABLE, expanded

if TYPE_CHECKING:
    from uan_da.trust import Trust


def _use(root: Path | None) -> Path | None:
    if root is not None:
        os.environ[DATA_VARIABLE] = str(expanded(root).absolute())  # so that worker processes know it too
    return root


DataRoot = Annotated[
    Path | None,
    typer.Option(
        "--data-root",
        envvar=DATA_VARIABLE,
        callback=_use,
        help="The folder of data sets.  [default: ~/.cache/uan-da/data]",
        show_default=False,
    ),
]
Trusted = Annotated[
    bool, typer.Option("--trust", help="Run code that the run, recipe or card names, because you trust its author.")
]


def trust_of(trusted: bool) -> "Trust":
    """What the option says."""
    from uan_da.trust import FILES, NOTHING

    return FILES if trusted else NOTHING
