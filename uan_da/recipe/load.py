"""From a recipe's name or file to a checked :class:`Recipe`."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from uan_da.errors import UserError
from uan_da.folders import shipped
from uan_da.names import unknown
from uan_da.recipe.keys import with_full_key
from uan_da.recipe.overrides import apply_overrides, methods_of
from uan_da.recipe.schema import Recipe
from uan_da.recipe.source import Source, parse_value, read_yaml
from uan_da.trust import NOTHING, Trust


def find_recipe(name: str) -> Path:
    """The file of a shipped recipe, or of the user's own (a path, or anything that ends in ``.yaml``).

    Raises:
        UserError: there is no such recipe (names the nearest).
    """
    recipes = shipped("recipes")
    if name in recipes:
        return recipes[name]
    path = Path(name)
    if path.is_file():
        return path
    if path.is_dir():
        raise UserError(f"recipe {name!r}: is a folder. For one of images, `uan-da start {name}` writes a recipe")
    if path.suffix in {".yaml", ".yml"} or len(path.parts) > 1:
        raise UserError(f"recipe {name!r}: no such file")
    raise UserError(unknown("recipe", name, recipes))


def load_recipe(name: str | Path, overrides: Iterable[str] = (), trust: Trust = NOTHING) -> Recipe:
    """Load, override and check a recipe.

    Args:
        name: a shipped recipe's, or a file.
        overrides: ``key=value``; code that they name is the caller's own.
        trust: whether code that the file names is run.

    Raises:
        UserError: everything that is wrong, one ``FILE:LINE: KEY: PROBLEM`` a line.

    Example:
        >>> recipe = load_recipe("digits", ["norm=dsbn", "seed=3"])
        >>> recipe.norm.name, str(recipe.task), recipe.seed
        ('dsbn', 'optdigits:optdigits_m', 3)
    """
    overrides = list(overrides)
    return _load(name, overrides, _naming(trust, overrides))


def _load(name: str | Path, overrides: Iterable[str], trust: Trust) -> Recipe:
    source = read_yaml(find_recipe(str(name)))
    if "domains" in source.data and "dataset" not in source.data:
        raise UserError(f"{source.origin}: is a card, which describes images; a recipe names it by its key 'dataset'")
    apply_overrides(source, overrides)
    return check_recipe(source, trust)


def _naming(trust: Trust, overrides: Iterable[str]) -> Trust:
    """``trust``, and the code that the overrides name."""
    return trust.naming(parse_value(text.partition("=")[2]) for text in overrides)


def check_every_method(name: str | Path, overrides: Iterable[str] = (), trust: Trust = NOTHING) -> None:
    """Load a recipe as it is, and once for each method that it has something to say ``per_method`` of.

    Raises:
        UserError: everything that is wrong with it.
    """
    overrides = list(overrides)
    methods = methods_of(read_yaml(find_recipe(str(name))))
    problems: dict[str, None] = {}
    for choice in [[], *([f"method={method}"] for method in methods)]:
        try:
            _load(name, [*choice, *overrides], _naming(trust, overrides))
        except UserError as error:
            problems |= dict.fromkeys(str(error).splitlines())
    if problems:
        raise UserError("\n".join(problems))


def check_recipe(source: Source, trust: Trust = NOTHING) -> Recipe:
    """Validate ``source``; all its mistakes are told at once."""
    try:
        return Recipe.model_validate(source.data, context=trust)
    except ValidationError as error:
        raise UserError(describe_problems(source, error)) from None


def describe_problems(source: Source, error: ValidationError) -> str:
    """Every problem of a validation, ``FILE:LINE: KEY: PROBLEM`` each, in the order of the lines."""
    problems = {
        _describe(source, problem["loc"], _several(problem["input"]) or problem["msg"])
        for problem in error.errors(include_url=False)
    }
    return "\n".join(sorted(problems, key=_line_number))


def _describe(source: Source, loc: tuple[str | int, ...], message: str) -> str:
    path = tuple(part for part in loc if part not in _UNION_BRANCHES and not str(part).startswith("tuple["))
    message = " ".join(message.removeprefix("Value error, ").split())
    if message == "Field required":
        message = "is missing"
    key = ".".join(map(str, path)) or "recipe"
    if len(path) == 1 and message.startswith("unknown key"):
        message = with_full_key(message, key)
    return f"{source.location(path)}: {key}: {message[:1].lower()}{message[1:]}"


def _several(value: Any) -> str:
    """What is said of a range where one number is expected; pydantic itself reads ``0-2`` as −2."""
    found = re.fullmatch(r"(\d+)(?:-|\.\.)(\d+)", value) if isinstance(value, str) else None
    return (
        f"expected one number, but got {value!r}; uan-da compare takes several: {found[1]}..{found[2]}" if found else ""
    )


def _line_number(problem: str) -> tuple[str, int]:
    origin, _, rest = problem.partition(":")
    line = rest.partition(":")[0]
    return origin, int(line) if line.isdigit() else 0


# pydantic names the branch of a union in an error's location; the user wrote no such key
_UNION_BRANCHES = {"int", "float", "str", "bool", "none", "constrained-int", "constrained-float"}
