"""Parts of a recipe that are chosen by name and configured by options: ``method: {name: dann, trade_off: 0.5}``.

The options of a thing are the keyword-only parameters of its function or class, so that they are written down once.
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, ClassVar, Generic, Self, TypeVar, get_origin, get_type_hints

from pydantic import Field, GetCoreSchemaHandler, create_model
from pydantic_core import CoreSchema, core_schema

from uan_da.errors import UserError
from uan_da.names import Names
from uan_da.recipe.strict import Strict
from uan_da.trust import NOTHING, Trust, trust_in

T = TypeVar("T")


@dataclass(frozen=True)
class Block(Generic[T]):
    """A thing of a recipe: its name, the object that the name stands for, and its complete, validated options.

    A subclass is one kind of thing, such as a norm. Its own fields are the keys that every block of this kind has
    beside the options, such as a norm's ``where``. ``T`` is what the object returns when it is called.
    """

    names: ClassVar[Names]
    """The names that the block can have."""
    default_name: ClassVar[str | None] = None
    """The name where a recipe leaves the block out."""

    name: str
    target: Callable[..., T]
    options: Mapping[str, Any]

    def __call__(self, *args: Any) -> T:
        """Build or call the thing: positional arguments from the caller, options from the recipe."""
        return self.target(*args, **self.options)

    @property
    def keys(self) -> dict[str, Any]:
        """The keys beside the options. Where an option has a key's name, it takes the key's place."""
        return {key: self.__dict__[key] for key in _keys(type(self)) if key not in self.options}

    def to_dict(self) -> dict[str, Any]:
        """The block as a recipe writes it, every option spelled out."""
        return {"name": self.name, **{key: _plain(value) for key, value in self.keys.items()}, **self.options}

    @classmethod
    def default(cls) -> Self:
        """The block of :attr:`default_name`, all options at their defaults."""
        return cls.parse(cls.default_name)

    @classmethod
    def parse(cls, value: Any, trust: Trust = NOTHING) -> Self:
        """The block that ``value`` describes: a name, or a mapping with a ``name``; ``trust`` says whose code is run.

        Raises:
            ValueError: there is no such name, or its object has no options that can be read.
            ValidationError: a key or an option is wrong.
        """
        if isinstance(value, cls):
            return value
        given = {"name": value} if isinstance(value, str) else value
        if not isinstance(given, Mapping) or not isinstance(given.get("name"), str):
            kind = cls.names.kind
            article = "an" if kind[0] in "aeiou" else "a"
            raise ValueError(f"expected the name of {article} {kind}, or a mapping with a 'name'{_spaced(given)}")
        try:
            cls.names.permit(given["name"], trust)
        except UserError as error:
            raise ValueError(str(error)) from error
        target = cls.load(given["name"])
        rest = {key: item for key, item in given.items() if key != "name"}
        validated = _schema(cls, given["name"], target).model_validate(rest, context=trust)
        values = dict(validated)
        own, defaults = options_of(target), cls.defaults_of(target)
        keys = {key: values.pop(key) for key in _keys(cls) if key not in own}
        keys = {key: defaults.get(key) if value is None else value for key, value in keys.items()}
        return cls(given["name"], target, values, **keys)

    @classmethod
    def load(cls, name: str) -> Any:
        """The object of that name. A subclass may refuse it.

        Raises:
            ValueError: the name is unknown, or its object is none of the kind. Pydantic collects it with the other
                mistakes of the recipe.
        """
        try:
            return cls.names.load(name)
        except UserError as error:
            raise ValueError(str(error)) from error

    @classmethod
    def defaults_of(cls, target: Any) -> Mapping[str, Any]:
        """The keys that ``target`` itself has a default for."""
        return {}

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Any pydantic model can have a block as its field."""
        serialization = core_schema.plain_serializer_function_ser_schema(
            cls.to_dict, return_schema=core_schema.dict_schema()
        )
        return core_schema.with_info_plain_validator_function(
            lambda value, info: cls.parse(value, trust_in(info.context)), serialization=serialization
        )


def _spaced(given: Any) -> str:
    """A hint where a space is missing: ``{name:uan}`` is one key, ``name:uan``."""
    keys = [str(key) for key in given] if isinstance(given, Mapping) else []
    glued = next((key for key in keys if key.startswith("name:")), None)
    return "" if glued is None else f": a space is missing, {{name: {glued.removeprefix('name:')}}}"


def options_of(target: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The options of ``target``: its keyword-only parameters, by name."""
    parameters = inspect.signature(target).parameters
    return {name: parameter for name, parameter in parameters.items() if parameter.kind is parameter.KEYWORD_ONLY}


def _schema(cls: type[Block[Any]], name: str, target: Callable[..., Any]) -> type[Strict]:
    """A model of the keys of ``cls`` and the options of ``target``.

    Raises:
        ValueError: the object has no options that can be read.
    """
    try:
        return _model(cls, name, target)  # type: ignore[arg-type]  # to mypy no class of a dataclass can be hashed
    except (TypeError, ValueError, NameError, AttributeError) as error:
        raise ValueError(
            f"{name!r} is no {cls.names.kind}: expected a class, or a function, whose keyword-only parameters "
            f"are its options ({error})"
        ) from error


@functools.cache
def _model(cls: type[Block[Any]], name: str, target: Callable[..., Any]) -> type[Strict]:
    """With the annotations and defaults; made once, which takes longer than all that it validates."""
    hints = get_type_hints(target.__init__ if inspect.isclass(target) else target, include_extras=True)
    options: dict[str, Any] = {
        option: (hints.get(option, Any), _default(hints.get(option, Any), parameter.default))
        for option, parameter in options_of(target).items()
    }
    return create_model(name, __base__=Strict, **(_keys(cls) | options))


def _default(hint: Any, default: Any) -> Any:
    """A parameter's default as a field's; what an annotation says beside the type holds for it too."""
    if default is inspect.Parameter.empty:
        return ...
    return Field(default, validate_default=True) if get_origin(hint) is Annotated else default


def _keys(cls: type[Block[Any]]) -> dict[str, Any]:
    """The annotations and defaults of the fields that ``cls`` adds to :class:`Block`."""
    hints, common = get_type_hints(cls, include_extras=True), {field.name for field in fields(Block)}
    return {field.name: (hints[field.name], field.default) for field in fields(cls) if field.name not in common}


def _plain(value: Any) -> Any:
    """A key's value as YAML has it; it may be a list of blocks."""
    return [item.to_dict() for item in value] if isinstance(value, tuple) else value
