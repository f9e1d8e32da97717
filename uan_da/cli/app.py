"""``uan-da``: its commands, and how a run of one ends."""

import sys
import warnings
from typing import Annotated, TextIO

import typer

from uan_da.cli import (
    adapt,
    bench,
    compare,
    datasets,
    evaluate,
    listing,
    predict,
    recipe,
    report,
    train,
    tune,
    validators,
)
from uan_da.errors import DataWarning, Failure, UserError

app = typer.Typer(
    help="Unsupervised domain adaptation whose normalisation layer adapts too.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("train")(train.train)
app.command("compare")(compare.compare)
app.command("tune")(tune.tune)
app.command("evaluate")(evaluate.evaluate)
app.command("predict")(predict.predict)
app.command("adapt")(adapt.adapt)
app.command("validators")(validators.validators)
app.command("report")(report.report)
app.command("list")(listing.list_names)
app.add_typer(recipe.app, name="recipe")
app.add_typer(datasets.app, name="datasets")
app.add_typer(bench.app, name="bench")


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


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """One line for what concerns the user's data; the rest as Python has it."""
    if issubclass(category, DataWarning):
        print(f"warning: {message}", file=sys.stderr)
    else:
        print(warnings.formatwarning(message, category, filename, lineno, line), file=file or sys.stderr, end="")


def main() -> None:
    """Run a command; a user's mistake is one message and exit code 2, never a traceback."""
    warnings.showwarning = _show_warning
    try:
        app()
    except UserError as error:
        print(f"error: {error}" if "\n" not in str(error) else str(error), file=sys.stderr)
        sys.exit(2)
    except Failure as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except PermissionError as error:
        print(f"error: {error.filename}: permission denied", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:  # the reader of a pipe had enough
        sys.stderr.close()
        sys.exit(0)
