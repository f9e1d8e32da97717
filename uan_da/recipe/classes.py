"""Which classes the domains of a task share: the setting of an adaptation."""

from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from uan_da.names import unknown
from uan_da.recipe.strict import Strict

Setting = Literal["closed_set", "partial", "open_set", "universal", "semi_supervised"]
"""``closed_set``: source and target have the same classes. Classes are private to the source in ``partial``, to the
target in ``open_set``, and to either in ``universal``. In ``semi_supervised`` some images of the target have labels."""

SETTINGS: tuple[Setting, ...] = ("closed_set", "partial", "open_set", "universal", "semi_supervised")
NO_CLASS = "unknown"
"""The prediction for an image of no class that the source has."""


class ClassNames(NamedTuple):
    """The names of the classes of a task, by the domains that have them."""

    shared: tuple[str, ...]
    source: tuple[str, ...]
    target: tuple[str, ...]


class Classes(Strict):
    """The classes of a task: how many of the data set's, or which.

    Classes that are named are taken first. Of the others, in the data set's order, the first are ``shared``, the next
    are the source's own, and the last are the target's own; classes between them are left out.
    """

    shared: PositiveInt | Annotated[tuple[str, ...], Field(min_length=1)]
    source: NonNegativeInt | tuple[str, ...] = 0
    """Private to the source."""
    target: NonNegativeInt | tuple[str, ...] = 0
    """Private to the target: for a network they are all ``unknown``, and only evaluation tells them."""
    threshold: Annotated[float, Field(gt=0, lt=1)] | None = None
    """A prediction is ``unknown`` above this entropy, in parts of log(number of the source's classes), unless the
    method has a rule of its own.  [default: 0.5]"""

    @model_validator(mode="after")
    def _rejects_something(self) -> Self:
        if self.threshold is not None and not self.target:
            raise ValueError("'threshold' rejects images of classes that are private to the target, and it has none")
        return self

    @property
    def setting(self) -> Setting:
        """What the literature calls it."""
        if self.target:
            return "universal" if self.source else "open_set"
        return "partial" if self.source else "closed_set"

    def of(self, classes: Sequence[str]) -> ClassNames:
        """The names among the ``classes`` of a data set.

        Raises:
            ValueError: a name is none of them or given twice, or there are too few.
        """
        parts = (self.shared, self.source, self.target)
        named = [name for part in parts if isinstance(part, tuple) for name in part]
        for number, name in enumerate(named):
            if name not in classes:
                raise ValueError(unknown("class", name, classes))
            if name in named[:number]:
                raise ValueError(f"the class {name!r} is named twice")
        rest = [name for name in classes if name not in named]
        wanted = sum(part for part in parts if isinstance(part, int))
        if wanted > len(rest):
            raise ValueError(f"{wanted} classes are asked for, and the data set has {len(rest)} that are not named")
        shared, source = (_taken(part, rest) for part in parts[:2])
        last = self.target if isinstance(self.target, tuple) else tuple(rest[len(rest) - self.target :])
        if last and NO_CLASS in (*shared, *source):
            raise ValueError(f"a class of the source is called {NO_CLASS!r}, the prediction for classes that it lacks")
        return ClassNames(shared, source, last)


def _taken(part: int | tuple[str, ...], rest: list[str]) -> tuple[str, ...]:
    """The names that are given, or the first of the ``rest``, which then lacks them."""
    if isinstance(part, tuple):
        return part
    taken = tuple(rest[:part])
    del rest[:part]
    return taken
