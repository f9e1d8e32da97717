"""``uan-da``: its commands, and how a run of one ends."""

import sys
from typing import Annotated

import typer

from uan_da.cli import evaluate, listing, recipe, train
from uan_da.errors import UserError

app = typer.Typer(
    help="Unsupervised domain adaptation whose normalisation layer adapts too.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("train")(train.train)
app.command("evaluate")(evaluate.evaluate)
app.command("list")(listing.list_names)
app.add_typer(recipe.app, name="recipe")


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(version("uan-da"))
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run a command; a user's mistake is one message and exit code 2, never a traceback."""
    try:
        app()
    except UserError as error:
        print(f"error: {error}" if "\n" not in str(error) else str(error), file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:  # the reader of a pipe had enough
        sys.stderr.close()
        sys.exit(0)
