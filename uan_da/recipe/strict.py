"""Frozen parts of a recipe or card, whose errors suggest the nearest key."""

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ModelWrapValidatorHandler, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from uan_da.names import unknown

LARGEST = {int: 1e12, float: 1e30}
"""Beyond it a count is none, and float32 overflows soon."""


class Strict(BaseModel):
    """A frozen part of a recipe. A key that it does not have is an error that suggests the nearest one that it has."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _bounded(cls, value: Any) -> Any:
        """No number of a recipe is NaN, or so large that nothing can be meant by it."""
        for number in value if isinstance(value, list | tuple) else (value,):
            largest = LARGEST.get(type(number))
            if largest is not None and not abs(number) <= largest:
                raise ValueError(f"expected a finite number, {largest:g} at most")
        return value

    @model_validator(mode="wrap")
    @classmethod
    def _suggest_keys(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return handler(data)
        except ValidationError as error:
            keys = [field.alias or name for name, field in cls.model_fields.items()]
            raise ValidationError.from_exception_data(
                cls.__name__, [_with_suggestion(problem, keys) for problem in error.errors(include_url=False)]
            ) from None


def _with_suggestion(problem: ErrorDetails, keys: list[str]) -> InitErrorDetails:
    kind, message, loc = problem["type"], problem["msg"], problem["loc"]
    if kind == "extra_forbidden" and len(loc) == 1:  # deeper ones have been answered by the model they belong to
        key, glued, value = str(loc[0]).partition(":")
        spaced = glued and key in keys  # in YAML {a:1} is the key 'a:1'
        message = f"a space is missing, {{{key}: {value}}}" if spaced else unknown("key", str(loc[0]), keys)
    custom = PydanticCustomError("uan_da", "{message}", {"message": message})
    return InitErrorDetails(type=custom, loc=loc, input=problem["input"])
