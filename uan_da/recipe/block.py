"""Parts of a recipe that are chosen by name and configured by options: ``method: {name: dann, trade_off: 0.5}``.

The options of a thing are the keyword-only parameters of its function or class, so that they are written down once.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Self, get_type_hints

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    ModelWrapValidatorHandler,
    PlainSerializer,
    ValidationError,
    create_model,
    model_validator,
)
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from uan_da.errors import UserError
from uan_da.names import Names, unknown


class Strict(BaseModel):
    """A frozen part of a recipe that answers a key that it does not have with the nearest one that it has."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

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
        kind, message = "unknown_key", unknown("key", str(loc[0]), keys)
    custom = PydanticCustomError("uan_da", "{message}", {"message": message})
    return InitErrorDetails(type=custom, loc=loc, input=problem["input"])


@dataclass(frozen=True)
class Block:
    """A thing of a recipe: its name, the object that the name stands for, and its complete, validated options."""

    name: str
    target: Callable[..., Any]
    options: Mapping[str, Any] = field(default_factory=dict)
    keys: Mapping[str, Any] = field(default_factory=dict)
    """Keys that every block of this kind has beside the options, such as a norm's ``where``."""

    def __call__(self, *args: Any) -> Any:
        """Build or call the thing: positional arguments from the caller, options from the recipe."""
        return self.target(*args, **self.options)

    def to_dict(self) -> dict[str, Any]:
        """The block as a recipe writes it, every option spelled out."""
        return {"name": self.name, **{key: _plain(value) for key, value in self.keys.items()}, **self.options}


def _plain(value: Any) -> Any:
    """A key's value as YAML has it; it may be a list of blocks."""
    return [item.to_dict() for item in value] if isinstance(value, tuple) else value


def block(names: Names, base: type[Strict] = Strict) -> Any:
    """The annotation of a recipe's key that holds a block of ``names``; ``base`` has the keys beside its options."""

    def resolve(value: Any) -> Block:
        if isinstance(value, Block):
            return value
        given = {"name": value} if isinstance(value, str) else value
        if not isinstance(given, Mapping) or not isinstance(given.get("name"), str):
            raise ValueError(f"expected the name of a {names.kind}, or a mapping with a 'name'")
        rest = {key: item for key, item in given.items() if key != "name"}
        target = names.load(given["name"])
        try:
            model = options_model(target, base)
        except (TypeError, ValueError, NameError, AttributeError) as error:
            raise ValueError(
                f"{given['name']!r} is no {names.kind}: expected a class, or a function, whose keyword-only parameters "
                f"are its options ({error})"
            ) from error
        validated = model.model_validate(rest)
        fields = {name: getattr(validated, name) for name in type(validated).model_fields}
        own = options_of(target)
        keys = {name: fields.pop(name) for name in base.model_fields if name not in own}
        for name in [name for name, value in keys.items() if value is None]:  # the thing's own default, if it has one
            keys[name] = getattr(target, name, None)
        return Block(given["name"], target, fields, keys)

    return Annotated[Any, BeforeValidator(_as_value_error(resolve)), PlainSerializer(Block.to_dict)]


def options_model(target: Callable[..., Any], base: type[Strict] = Strict) -> type[Strict]:
    """A model of the options of ``target``, with their annotations and defaults, on top of ``base``."""
    function = target.__init__ if inspect.isclass(target) else target
    hints = get_type_hints(function, include_extras=True)
    fields: dict[str, Any] = {
        name: (hints.get(name, Any), ... if parameter.default is parameter.empty else parameter.default)
        for name, parameter in options_of(target).items()
    }
    return create_model(getattr(target, "__name__", "Options"), __base__=base, **fields)


def options_of(target: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The options of ``target``: its keyword-only parameters, by name."""
    parameters = inspect.signature(target).parameters
    return {name: parameter for name, parameter in parameters.items() if parameter.kind is parameter.KEYWORD_ONLY}


def _as_value_error(resolve: Callable[[Any], Block]) -> Callable[[Any], Block]:
    """``resolve`` with an unknown name as a ``ValueError``, which pydantic collects with the other mistakes."""

    def wrapped(value: Any) -> Block:
        try:
            return resolve(value)
        except UserError as error:
            raise ValueError(str(error)) from error

    return wrapped
