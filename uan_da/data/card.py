"""Cards: the YAML files that describe data sets."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Annotated, Any, ClassVar, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, NonNegativeInt, ValidationError, model_validator

from uan_da.data.checked import looks_alike, unicode_twins
from uan_da.errors import UserError
from uan_da.folders import shipped
from uan_da.names import ADAPTERS, unknown
from uan_da.recipe.block import Block
from uan_da.recipe.load import describe_problems
from uan_da.recipe.source import read_yaml
from uan_da.recipe.strict import Strict
from uan_da.trust import FILES, NOTHING, Trust


def _digest(length: int) -> Any:
    def check(text: str) -> str:
        if text != "unknown" and (len(text) != length or set(text) - set("0123456789abcdef")):
            raise ValueError(f"expected 'unknown' or {length} hexadecimal digits, but got {text!r}")
        return text

    return Annotated[str, AfterValidator(check)]


@dataclass(frozen=True)
class AdapterBlock(Block[Any]):
    """An adapter: called with the data set's folder and, where it takes them, its classes, it is built."""

    names: ClassVar = ADAPTERS


def _check_url(text: str) -> str:
    try:
        url = urlsplit(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is no URL ({error})") from None
    if url.scheme not in {"http", "https"} or not url.hostname or Path(url.path).name in {"", ".", ".."}:
        raise ValueError(f"expected http:// or https:// and the path of a file, but got {text!r}")
    return text


def _check_place(text: str) -> str:
    path = PurePosixPath(text)
    if path.is_absolute() or ".." in path.parts or not path.name or "\\" in text or PureWindowsPath(text).drive:
        raise ValueError(f"expected a path inside the data set's folder, but got {text!r}")
    return text


class Download(Strict):
    """A file of the official source, and where it goes."""

    url: Annotated[str, AfterValidator(_check_url)]
    to: Annotated[str, AfterValidator(_check_place)]
    """The file, or with ``unpack`` the folder, that it becomes; relative to the data set's folder."""
    unpack: bool = False
    sha256: _digest(64) = "unknown"  # type: ignore[valid-type]
    md5: _digest(32) = "unknown"  # type: ignore[valid-type]
    """For files whose SHA-256 is not public knowledge."""
    size: NonNegativeInt | None = None
    """Bytes."""


class DomainCard(Strict):
    """One domain: what its images are, how many, and what they may be used for."""

    description: str = ""
    train: NonNegativeInt | None = None
    test: NonNegativeInt | None = None
    image_size: str = "unknown"
    licence: str = "unknown"
    source: str = "unknown"
    path: str | None = None
    """What the adapter gets for the domain's name: its folder or file, where that is called otherwise."""
    adapter: AdapterBlock | None = None
    """Where the domain is stored otherwise than the rest."""


class Card(Strict):
    """A data set: its domains, the code that serves them, and what a user must know before using them."""

    version: int = Field(default=1, alias="schema")
    description: str = ""
    adapter: AdapterBlock | None = None
    domains: dict[str, DomainCard]
    classes: Annotated[tuple[str, ...], Field(min_length=1)]
    folder: str | None = None
    """Where the data lie; relative to the card's file. Default: the card's name, in the data root."""
    downloads: tuple[Download, ...] = ()
    manual: str = ""
    """How to get the data where no download can be automatic; ``{folder}`` is where it should lie."""
    citation: str = "unknown"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if twins := unicode_twins(self.classes):
            raise ValueError("a class appears twice in 'classes'" if twins[0] == twins[1] else looks_alike(*twins))
        bare = [name for name, domain in self.domains.items() if (domain.adapter or self.adapter) is None]
        if bare:
            raise ValueError(f"no adapter for the domain {bare[0]!r}: neither 'adapter' nor its own 'adapter' is given")
        return self


def load_card(name: str) -> Card:
    """The shipped card of that name.

    Raises:
        UserError: there is no such card, or it is not one (all its mistakes, ``FILE:LINE: KEY: PROBLEM``).
    """
    cards = shipped("datasets")
    if name not in cards:
        raise UserError(unknown("dataset", name, cards))
    return read_card(cards[name], FILES)


def read_card(path: Path, trust: Trust = NOTHING) -> Card:
    """The card in a file; ``trust`` says whether code that it names is run.

    Raises:
        UserError: it is no card (all its mistakes, ``FILE:LINE: KEY: PROBLEM``).
    """
    source = read_yaml(path)
    if "dataset" in source.data and "domains" not in source.data:
        raise UserError(f"{path}: is a recipe; the card that describes its images is what its key 'dataset' names")
    try:
        return Card.model_validate(source.data, context=trust)
    except ValidationError as error:
        raise UserError(describe_problems(source, error)) from None
