"""``uan-da recipe show | copy | check``."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from uan_da.cli.options import Trusted, trust_of

app = typer.Typer(help="Show, copy and check recipes.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="A shipped recipe's name, or a YAML file.")]
Overrides = Annotated[list[str] | None, typer.Argument(help="Changes: norm=bn train.epochs=2")]


@app.command()
def show(recipe: Name, overrides: Overrides = None, trust: Trusted = False) -> None:
    """Print a recipe with every default."""
    from uan_da.recipe import load_recipe
    from uan_da.recipe.source import dump_yaml

    typer.echo(dump_yaml(load_recipe(recipe, overrides or [], trust_of(trust)).to_dict()), nl=False)


@app.command()
def copy(
    recipe: Name,
    file: Annotated[Path, typer.Argument(help="The new file.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace FILE if it exists.")] = False,
) -> None:
    """Copy a recipe, comments and all, to a file of your own."""
    from uan_da.errors import UserError
    from uan_da.recipe import find_recipe

    text = find_recipe(recipe).read_text(encoding="utf-8")
    if file.exists() and not overwrite:
        raise UserError(f"{file}: exists already. Replace it: --overwrite")
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{file}: cannot be written: {error.strerror}") from error
    typer.echo(f"{file}   next: uan-da train {shlex.quote(str(file))}")


@app.command()
def check(recipe: Name, overrides: Overrides = None, trust: Trusted = False) -> None:
    """Report every mistake in a recipe, for each of its methods, as FILE:LINE: KEY: PROBLEM."""
    from uan_da.recipe import check_every_method

    check_every_method(recipe, overrides or [], trust_of(trust))
    typer.echo(f"{recipe}: ok")
