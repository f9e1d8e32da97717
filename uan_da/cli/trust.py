"""``--trust``, an option of every command that reads a run, a recipe or a card."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from uan_da.trust import Trust

Trusted = Annotated[
    bool, typer.Option("--trust", help="Run code that the run, recipe or card names: you trust its author.")
]


def trust_of(trusted: bool) -> "Trust":
    """What the option says."""
    from uan_da.trust import FILES, NOTHING

    return FILES if trusted else NOTHING
