"""``--data-root``, an option of every command that opens a data set."""

import os
from pathlib import Path
from typing import Annotated

import typer

VARIABLE = "UAN_DA_DATA"


def _use(root: Path | None) -> Path | None:
    if root is not None:
        os.environ[VARIABLE] = str(root.expanduser().absolute())  # so that worker processes know it too
    return root


DataRoot = Annotated[
    Path | None,
    typer.Option(
        "--data-root",
        envvar=VARIABLE,
        callback=_use,
        help="The folder that holds a folder for each data set.  [default: ~/.cache/uan-da/data]",
        show_default=False,
    ),
]
