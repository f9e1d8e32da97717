"""``uan-da``: its commands, and how a run of one ends."""

import sys
import warnings
from collections.abc import Sequence
from typing import Annotated, Any, TextIO

import typer
from typer.core import TyperGroup

from uan_da.cli import (
    adapt,
    bench,
    compare,
    datasets,
    doctor,
    evaluate,
    export,
    label_first,
    listing,
    predict,
    recipe,
    report,
    start,
    stream,
    train,
    tune,
    validators,
)
from uan_da.cli.failures import OF_THE_USER, OUT_OF_MEMORY, what_failed
from uan_da.cli.terminal import prepare_streams
from uan_da.errors import DataWarning, Failure, UserError

USAGE = 2
"""What wrong usage exits with."""


class Group(TyperGroup):
    """Says of a wrong value what is wrong with it, without the name of a Python error."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was named."""
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            error.message = error.message.removeprefix("Value error, ")
            raise


app = typer.Typer(
    cls=Group,
    help="Unsupervised domain adaptation whose normalisation layer adapts too.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # [bn, uan] in a help text is no markup
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("start")(start.start)
app.command("train")(train.train)
app.command("compare")(compare.compare)
app.command("label-first")(label_first.label_first)
app.command("tune")(tune.tune)
app.command("evaluate")(evaluate.evaluate)
app.command("predict")(predict.predict)
app.command("adapt")(adapt.adapt)
app.command("stream")(stream.stream)
app.command("export")(export.export)
app.command("validators")(validators.validators)
app.command("report")(report.report)
app.command("doctor")(doctor.doctor)
app.command("list")(listing.list_names)
app.add_typer(recipe.app, name="recipe")
app.add_typer(datasets.app, name="datasets")
app.add_typer(bench.app, name="bench")


def _version(wanted: bool) -> None:
    if wanted:
        from uan_da.version import version

        typer.echo(version())
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
    """Run a command; a user's mistake is one message and exit code 2, a fault of the machine 1, never a traceback."""
    warnings.showwarning = _show_warning
    warnings.filterwarnings("ignore", r"Image size \(\d+ pixels\) exceeds limit")  # Pillow's; ours is an error
    output = prepare_streams()
    code = _run()
    sys.stdout.flush()
    if output is not None and output.error is not None:
        code = code or _fail(f"standard output: cannot be written: {output.error.strerror}", 1)
    sys.exit(code)


def _run() -> int:
    """The exit code of the command in ``sys.argv``."""
    try:
        app()
    except SystemExit as end:
        if end.code == USAGE:
            _hint(sys.argv[1:])
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except UserError as error:
        return _fail(str(error), 2)
    except Failure as error:
        return _fail(str(error), 1)
    except OSError as error:
        return _fail(what_failed(error), 2 if error.errno in OF_THE_USER else 1)
    except MemoryError:
        return _fail(OUT_OF_MEMORY, 1)
    return 0


def _hint(arguments: Sequence[str]) -> None:
    """After wrong usage: a key of the recipe is no option."""
    command: Any = typer.main.get_command(app)
    for word in arguments:
        command = getattr(command, "commands", {}).get(word, command)
    if not any(parameter.name in ("overrides", "options") for parameter in command.params):
        return
    known = {option for parameter in command.params for option in parameter.opts}
    options = [word.partition("=")[0] for word in arguments if word[:2] == "--"]
    unknown = [option.removeprefix("--").replace("-", "_") for option in options if option not in known]
    if not any(unknown):
        return
    from uan_da.recipe.keys import key_of_option

    for option in unknown:
        if meant := key_of_option(option):
            print(f"keys of a recipe are given without dashes: {meant}=VALUE", file=sys.stderr)


def _fail(message: str, code: int) -> int:
    print(message if "\n" in message else f"error: {message}", file=sys.stderr)
    return code
