"""``uan-da list``."""

import inspect
from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated

import typer


class Kind(StrEnum):
    """What can be listed."""

    recipes = "recipes"
    datasets = "datasets"
    methods = "methods"
    norms = "norms"
    backbones = "backbones"
    validators = "validators"


def list_names(
    kind: Annotated[Kind | None, typer.Argument(help="One kind; all of them without.")] = None,
) -> None:
    """What a recipe can name: recipes, data sets, methods, norms, backbones, validators."""
    for each in [kind] if kind else list(Kind):
        if kind is None:
            typer.echo(f"{each.value}:")
        rows = list(_rows(each))
        width = max((len(name) for name, _ in rows), default=0)
        for name, summary in rows:
            typer.echo(f"  {name.ljust(width)}  {summary}")


def _rows(kind: Kind) -> Iterable[tuple[str, str]]:
    from uan_da import names
    from uan_da.recipe.source import read_yaml
    from uan_da.shipped import shipped

    if kind is Kind.recipes or kind is Kind.datasets:
        for name, path in shipped("recipes" if kind is Kind.recipes else "datasets").items():
            yield name, str(read_yaml(path).data.get("description", ""))
        return
    table: names.Names = getattr(names, kind.value.upper())
    for name in table.targets:
        thing = table.load(name)
        needs = getattr(thing, "needs", None) if kind is Kind.methods else None
        yield name, _summary(thing) + (f"; needs {needs}" if needs else "")
    for prefix in table.families:
        yield f"{prefix}:NAME", _summary(table.family(prefix))


def _summary(thing: object) -> str:
    return (inspect.getdoc(thing) or "").partition("\n")[0].rstrip(".")
