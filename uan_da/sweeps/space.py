"""The space of a search: keys of a recipe, and the values that they may take."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from uan_da.errors import UserError
from uan_da.recipe.source import read_yaml
from uan_da.recipe.strict import Strict

Value = bool | int | float | str


class Range(Strict):
    """Numbers from ``low`` to ``high``, both included; whole ones where both are whole."""

    low: int | float
    high: int | float
    log: bool = False
    """Draw the logarithm: for what spans orders of magnitude, such as a learning rate."""

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"expected 'low' below 'high', but got {self.low} and {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"with 'log', 'low' is above 0, but got {self.low}")
        return self


Choices = Annotated[tuple[Value, ...], Field(min_length=2)]


@dataclass(frozen=True)
class Space:
    """Key → the values that it may take."""

    keys: Mapping[str, Range | tuple[Value, ...]]

    def draw(self, trial: Any) -> list[str]:
        """A point, by an Optuna ``trial``, as ``key=value`` texts."""
        return [f"{key}={_draw(trial, key, values)}" for key, values in self.keys.items()]


def _draw(trial: Any, key: str, values: Range | tuple[Value, ...]) -> Value:
    if isinstance(values, tuple):
        chosen: Value = trial.suggest_categorical(key, list(values))
        return chosen
    suggest = trial.suggest_int if isinstance(values.low, int) and isinstance(values.high, int) else trial.suggest_float
    number: Value = suggest(key, values.low, values.high, log=values.log)
    return number


def read_space(path: Path) -> Space:
    """A YAML file: ``train.optimizer.lr: {low: 1e-4, high: 1e-2, log: true}``, ``norm: [bn, uan]``.

    Raises:
        UserError: everything that is wrong with it, one ``FILE:LINE: KEY: PROBLEM`` a line.
    """
    source = read_yaml(path)
    keys: dict[str, Range | tuple[Value, ...]] = {}
    problems = []
    for key, values in source.data.items():
        if not isinstance(values, list | dict) or (isinstance(values, dict) and not {"low", "high"} & values.keys()):
            problems.append(f"{source.location((key,))}: {key}: expected a list of values, or {{low, high}}")
            continue
        kind: TypeAdapter[Any] = TypeAdapter(Choices if isinstance(values, list) else Range)
        try:
            keys[key] = kind.validate_python(values)
        except ValidationError as error:
            problems += [f"{source.location((key,))}: {key}: {line}" for line in _messages(error)]
    if problems:
        raise UserError("\n".join(problems))
    return Space(keys)


def _messages(error: ValidationError) -> list[str]:
    problems = error.errors(include_url=False)
    return [
        f"{p['loc'][-1]!r} is missing" if p["msg"] == "Field required" else p["msg"].removeprefix("Value error, ")
        for p in problems
    ]
