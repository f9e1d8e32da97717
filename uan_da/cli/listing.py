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
    stream_methods = "stream_methods"
    norms = "norms"
    backbones = "backbones"
    validators = "validators"
    augmentations = "augmentations"
    optimizers = "optimizers"
    schedules = "schedules"
    adapters = "adapters"


class Setting(StrEnum):
    """Which domains of a task have classes of their own; see :data:`uan_da.recipe.classes.Setting`."""

    closed_set = "closed_set"
    partial = "partial"
    open_set = "open_set"
    universal = "universal"
    semi_supervised = "semi_supervised"


def list_names(
    kind: Annotated[Kind | None, typer.Argument(help="One kind; default: all.")] = None,
    name: Annotated[str | None, typer.Argument(help="One name, to see what it is and its options.")] = None,
    setting: Annotated[
        Setting | None, typer.Option(help="Of the methods, those that serve this setting (docs/settings.md).")
    ] = None,
) -> None:
    """List what a recipe, a card or a command can name, or the options of one name."""
    if setting and (name or kind is not Kind.methods):
        raise typer.BadParameter("it chooses among methods: uan-da list methods --setting …", param_hint="--setting")
    if kind and name:
        for line in _described(kind, name):
            typer.echo(line)
        return
    for each in [kind] if kind else list(Kind):
        if kind is None:
            typer.echo(f"{each.value}:")
        rows = list(_rows(each, setting))
        width = max((len(name) for name, _ in rows), default=0)
        for name, summary in rows:
            typer.echo(f"  {name.ljust(width)}  {summary}")


def _described(kind: Kind, name: str) -> Iterable[str]:
    """Its docstring, and a line for each option."""
    from uan_da import names
    from uan_da.errors import UserError
    from uan_da.recipe.block import options_of

    if kind is Kind.recipes or kind is Kind.datasets:
        command = "recipe show" if kind is Kind.recipes else "datasets show"
        raise UserError(f"to see one of the {kind.value}, run uan-da {command} {name}")
    table: names.Names = getattr(names, kind.value.upper())
    thing = table.load(name)
    yield inspect.getdoc(thing) or name
    options = options_of(thing)
    yield f"\noptions of {name}:" if options else f"\n{name} has no options"
    for option, parameter in options.items():
        default = "required" if parameter.default is parameter.empty else f"default {parameter.default!r}"
        yield f"  {option}: {_type(parameter.annotation)}, {default}"


def _type(annotation: object) -> str:
    """``int | None`` of what an annotation says; bounds are told where one is broken."""
    plain = getattr(annotation, "__origin__", annotation) if hasattr(annotation, "__metadata__") else annotation
    return plain.__name__ if isinstance(plain, type) else str(plain).replace("typing.", "")


def _rows(kind: Kind, setting: Setting | None) -> Iterable[tuple[str, str]]:
    from uan_da import names
    from uan_da.folders import shipped
    from uan_da.recipe.source import read_yaml

    if kind is Kind.recipes or kind is Kind.datasets:
        for name, path in shipped("recipes" if kind is Kind.recipes else "datasets").items():
            yield name, str(read_yaml(path).data.get("description", ""))
        return
    table: names.Names = getattr(names, kind.value.upper())
    for name in table.targets:
        thing = table.load(name)
        if setting and setting.value not in thing.settings:
            continue
        needs = getattr(thing, "needs", None) if kind is Kind.methods else None
        yield name, _summary(thing) + (f"; needs {needs}" if needs else "")
    for prefix in table.families:
        yield f"{prefix}:NAME", _summary(table.family(prefix))


def _summary(thing: object) -> str:
    return (inspect.getdoc(thing) or "").partition("\n")[0].rstrip(".")
