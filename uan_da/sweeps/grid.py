"""The grid of a sweep: one recipe, and several values of some of its keys."""

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from uan_da.data.open_dataset import open_dataset
from uan_da.errors import UserError
from uan_da.recipe import Recipe, load_recipe
from uan_da.recipe.published import Published
from uan_da.sweeps.labels import short
from uan_da.sweeps.run_id import RunIds
from uan_da.trust import NOTHING, Trust

BASELINE = "source_only"
MAIN = ("task", "method", "norm", "seed")
"""Axes that every grid has, of one value at least."""
MOST = 10_000
"""Values of a range: a slip of the keyboard would fill the memory."""


@dataclass(frozen=True)
class Cell:
    """One run of a grid: where it stands on each axis, its recipe, and its run id."""

    settings: Mapping[str, str]
    recipe: Recipe = field(repr=False)
    run_id: str

    @property
    def name(self) -> str:
        """As a line of text names it."""
        rest = [f"{key}={value}" for key, value in self.settings.items() if key not in MAIN]
        names = [self.settings[key] for key in ("task", "method", "norm")]
        return " ".join([*names, *rest, f"seed {self.recipe.seed}"])


@dataclass(frozen=True)
class Grid:
    """All cells, those of the first seed first."""

    cells: Sequence[Cell]
    axes: Sequence[str]
    """The keys with several values, beside the four axes of every grid."""
    published: Sequence[Published] = ()
    """Figures of others on the grid's tasks."""


def build_grid(
    recipe: str | Path,
    overrides: Iterable[str] = (),
    trust: Trust = NOTHING,
    *,
    threads: int = 1,
    reads_data: bool = True,
) -> Grid:
    """The grid that ``key=v1,v2`` texts span over a recipe, ``source_only`` always in it.

    Values are separated by commas outside of brackets and quotes; integers may be a range, ``seed=0..4``; ``task=all``
    is what :func:`~uan_da.sweeps.grid.all_tasks` says. Every cell is the original recipe with the cell's own
    overrides. Keys below ``method`` are options of the methods that adapt, and ``init`` is another run's work: neither
    reaches ``source_only``. ``trust`` says whether code that the recipe names is run, ``threads`` how many of the CPU a
    run gets. Without ``reads_data`` the data need not be here, and the ids of the cells are not those of runs.

    Raises:
        UserError: a cell is no recipe, or its data set or domain does not exist.
    """
    given: dict[str, list[str]] = {}
    for key, values in map(_values, overrides):
        if key in given:
            raise UserError(f"command line: {key} is given twice")
        given[key] = values
    if given.get("task") == ["all"]:
        given["task"] = list(all_tasks(_on_its_dataset(recipe, given, trust)))
    axes = [key for key, values in given.items() if len(values) > 1 and key not in MAIN]
    found: dict[str, Cell] = {}
    published: dict[Published, None] = {}
    run_ids = RunIds(threads, reads_data)
    for method in dict.fromkeys([BASELINE, *_methods(recipe, given, trust)]):
        own = {key: values for key, values in given.items() if method != BASELINE or not is_of_adaptation(key)}
        own["method"] = [method]
        without = ["init=null"] if method == BASELINE else []
        for one_of_each in itertools.product(*own.values()):
            chosen = dict(zip(own, one_of_each, strict=True))
            resolved = load_recipe(recipe, [*(f"{key}={value}" for key, value in chosen.items()), *without], trust)
            where = run_ids.of(resolved)
            published |= dict.fromkeys(resolved.published or ())
            own_recipe = resolved.model_copy(update={"published": None})
            found.setdefault(where, Cell(_settings(resolved, chosen, axes), own_recipe, where))
    seeds = list(dict.fromkeys(cell.settings["seed"] for cell in found.values()))
    tasks = {cell.settings["task"] for cell in found.values()}
    cells = sorted(found.values(), key=lambda cell: seeds.index(cell.settings["seed"]))
    return Grid(cells, axes, [row for row in published if str(row.task) in tasks])


def is_of_adaptation(key: str) -> bool:
    """Whether a key does not reach ``source_only``: a method's option, or the run that it starts from."""
    return key == "init" or key.startswith("method.")


def _methods(recipe: str | Path, given: Mapping[str, Sequence[str]], trust: Trust) -> Sequence[str]:
    if "method" in given:
        return given["method"]
    return [load_recipe(recipe, [f"{key}={values[0]}" for key, values in given.items()], trust).method.name]


def _on_its_dataset(recipe: str | Path, given: Mapping[str, Sequence[str]], trust: Trust) -> Recipe:
    datasets = given.get("dataset", [])
    if len(datasets) > 1:
        raise UserError(f"command line: task=all is of one dataset, and there are several: {', '.join(datasets)}")
    return load_recipe(recipe, [f"dataset={name}" for name in datasets], trust)


def _settings(recipe: Recipe, chosen: Mapping[str, str], axes: Sequence[str]) -> dict[str, str]:
    """What the command line gave, in short where it is a block with options."""
    norm = short(chosen.get("norm", recipe.norm.name))
    own = {"task": str(recipe.task), "method": short(chosen["method"]), "norm": norm, "seed": str(recipe.seed)}
    return own | {key: short(chosen[key]) if key in chosen else "–" for key in axes}


def _values(text: str) -> tuple[str, list[str]]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise UserError(f"command line: {text!r}: expected KEY=VALUE or KEY=V1,V2, such as norm=bn,uan")
    values = [part for piece in split_values(value) for part in _range(piece)]
    return key.removesuffix(".name"), list(dict.fromkeys(values))


def _range(text: str) -> Iterator[str]:
    found = re.fullmatch(r"(\d+)\.\.(\d+)", text)
    if not found:
        if re.fullmatch(r"\d+-\d+", text):
            raise UserError(f"command line: {text!r}: a range is written {text.replace('-', '..')}")
        yield text
        return
    first, last = map(int, found.groups())
    if last < first:
        raise UserError(f"command line: {text!r}: a range goes up, such as 0..4")
    if last - first >= MOST:
        raise UserError(f"command line: {text!r}: a range has at most {MOST:,} values")
    yield from map(str, range(first, last + 1))


def split_values(text: str) -> list[str]:
    """``text`` at its commas, but for those within brackets, braces, parentheses or quotes."""
    parts, depth, quote = [""], 0, ""
    for char in text:
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        else:
            depth += (char in "[{(") - (char in "]})")
        if char == "," and not quote and depth == 0:
            parts.append("")
        else:
            parts[-1] += char
    return [part.strip() for part in parts]


def all_tasks(recipe: Recipe) -> Sequence[str]:
    """Every task of the recipe's data set that is of the kind of the recipe's own, in the order of the domains.

    With one source these are all ordered pairs of domains; with several, each domain is the target of all others; a
    domain alone is joined by each of the others alone.

    Raises:
        UserError: the data set does not exist.
    """
    domains, task = open_dataset(recipe.dataset, recipe.trust).domains, recipe.task
    if task.alone:
        return list(domains)
    if len(task.sources) == 1:
        return [f"{source}:{target}" for source, target in itertools.permutations(domains, 2)]
    return [f"{'+'.join(name for name in domains if name != target)}:{target}" for target in domains]
