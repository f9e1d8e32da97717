"""Whose code may run.

A recipe or a card may name code as ``module:object``. What the user names, on a command line or in Python, is the
user's own. What a file names is its author's: commands that read do not import it, unless the user says that they may.
"""

import sys
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from uan_da.errors import DataWarning, UserError


@dataclass(frozen=True)
class Trust:
    """What of the code that files name is run.

    Args:
        files: all of it.
        told: each with a line that says so.
        names: and else these, which the user named.
    """

    files: bool = False
    told: bool = False
    names: frozenset[str] = frozenset()

    def check(self, kind: str, name: str) -> None:
        """UserError where the ``module:object`` of that name, a ``kind``, is not to be run."""
        if name.partition(":")[0].partition(".")[0] in sys.stdlib_module_names:
            raise UserError(f"{kind} {name!r}: nothing in Python's own library is a {kind}")
        if name in self.names:
            return
        if not self.files:
            raise UserError(
                f"{kind} {name!r} is code that a file names, and code of its author would be run. If you trust it: "
                f"--trust"
            )
        if self.told:
            warnings.warn(f"this runs code that a file names: {kind} {name!r}", DataWarning, stacklevel=2)

    def naming(self, words: Iterable[Any]) -> "Trust":
        """The same, and whatever ``words`` of the user, or what they hold, names."""
        return Trust(self.files, self.told, self.names.union(*map(_named, words)))


NOTHING = Trust()
"""For what only reads."""
FILES = Trust(files=True)
"""For a file whose author is trusted."""
TELLING = Trust(files=True, told=True)
"""For what trains."""


def trust_in(context: Any) -> Trust:
    """The trust that a validation was given as its context: nothing, where it was given none."""
    return context if isinstance(context, Trust) else NOTHING


def _named(word: Any) -> set[str]:
    if isinstance(word, str):
        return {word} if ":" in word else set()
    items = [*word.values()] if isinstance(word, Mapping) else word if isinstance(word, list | tuple) else []
    return set().union(*map(_named, items))
