"""YAML by the rules of YAML 1.2 (``1e-3`` is a number, ``no`` a word, ``012`` twelve), with the line of every key."""

import io
import itertools
import re
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn

from ruamel.yaml import YAML
from ruamel.yaml.comments import (
    CommentedKeyMap,
    CommentedKeySeq,
    CommentedMap,
    CommentedOrderedMap,
    CommentedSeq,
    CommentedSet,
)
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from uan_da.errors import UserError

KeyPath = tuple[str | int, ...]

LARGEST, MOST_VALUES, MOST_ALIASES, DEEPEST = 1_000_000, 50_000, 100, 50
"""Of a file: characters, values with those of its aliases, aliases, and levels. Cards of many classes are long."""
NOT_YAML = (YAMLError, ValueError, TypeError, KeyError, IndexError, AttributeError, AssertionError)
"""What ruamel raises, the latter four for some texts that are not YAML."""


@dataclass
class Source:
    """Plain data, and where each of its keys was written (``FILE:LINE``, or the command line)."""

    origin: str
    data: dict[str, Any]
    locations: dict[KeyPath, str] = field(default_factory=dict)

    def location(self, path: KeyPath) -> str:
        """Where ``path`` was written; for a key that is missing, where its parent was."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.locations:
                return self.locations[path[:length]]
        return self.origin


def read_yaml(path: Path) -> Source:
    """Read a YAML file whose top level is a mapping.

    Raises:
        UserError: the file is missing or unreadable, is not YAML (names the line), or is not a mapping.
    """
    try:
        if path.exists() and not path.is_file():
            raise UserError(f"{path}: is not a regular file")  # a pipe would be waited for
        with path.open("rb") as file:
            text = file.read(LARGEST + 1).decode()
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: cannot be read: it is no UTF-8: {error.reason} (byte {error.start + 1})") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    return deepcopy(_parsed(str(path), text))


@lru_cache(maxsize=16)  # a grid reads its recipe once for each cell, and parsing is most of that
def _parsed(origin: str, text: str) -> Source:
    try:
        tree = _tree(text)
    except MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UserError(f"{origin}{line}: not valid YAML: {error.problem or error.context}") from error
    except (*NOT_YAML, RecursionError) as error:
        what = "nested too deeply" if isinstance(error, RecursionError) else " ".join(str(error).split())
        raise UserError(f"{origin}: not valid YAML: {what}") from error
    if not isinstance(tree, CommentedMap):
        raise UserError(f"{origin}: expected a mapping of keys at the top level")
    reading = _Reading(origin)
    data = reading.plain(tree, ())
    return Source(origin, data, reading.locations)


def _tree(text: str) -> Any:
    """ruamel's tree of a text; ValueError where it is too large to be read in a second or so."""
    if len(text) > LARGEST:
        raise ValueError(f"it is larger than {LARGEST:,} characters")
    if "&" in text and len(re.findall(r"[\s\[,{:]\*\w", text)) > MOST_ALIASES:
        raise ValueError(f"it has more than {MOST_ALIASES} aliases (*name)")
    if text.count("[") + text.count("{") > DEEPEST and _depth(text) > DEEPEST:
        raise RecursionError
    return YAML(typ="rt", pure=True).load(text)


def _depth(text: str) -> int:
    """How deep brackets are nested at most, those in texts included."""
    steps = (1 if char in "[{" else -1 if char in "]}" else 0 for char in text)
    return max(itertools.accumulate(steps))


def parse_value(text: str) -> Any:
    """A value as a command line gives it, by the same rules; what is not YAML is text."""
    try:
        return _Reading("command line").plain(_tree(text), ()) if text else ""
    except (*NOT_YAML, RecursionError):
        return text


def dump_yaml(data: Mapping[str, Any], *, compact: bool = False) -> str:
    """``data`` as YAML text, keys in their order; ``compact``: what holds plain values alone takes one line."""
    stream = io.StringIO()
    yaml = YAML()
    yaml.default_flow_style = None if compact else False
    yaml.width = 110
    yaml.dump(dict(data), stream)
    return stream.getvalue()


@dataclass
class _Reading:
    """ruamel's tree becomes plain Python values; ``locations`` is filled on the way."""

    origin: str
    locations: dict[KeyPath, str] = field(default_factory=dict)
    values: int = 0
    """So many have been read: an alias is read wherever it stands, and aliases of aliases grow exponentially."""

    def plain(self, node: Any, path: KeyPath) -> Any:
        """The value of ``node``, which stands at ``path``.

        Raises:
            UserError: a tag, or more than what a recipe or a card can be.
        """
        self.values += 1
        if self.values > MOST_VALUES:
            self._refuse(path[:3], f"more than {MOST_VALUES:,} values")
        if len(path) > DEEPEST:
            self._refuse(path[:3], "nested too deeply")
        tag = getattr(getattr(node, "tag", None), "value", None)
        if tag is not None or isinstance(node, CommentedSet | CommentedOrderedMap):
            self._refuse(path, f"a YAML tag ({tag or '!!set, !!omap'}) has no meaning here")
        if isinstance(node, CommentedMap):
            lines = node.lc.data or {}  # without those of keys that are merged in (<<)
            for key in node:
                if isinstance(key, CommentedKeySeq | CommentedKeyMap):
                    self._refuse(path, "a key is a text or a number, neither a list nor a mapping")
                if key in lines:
                    self.locations[*path, key] = f"{self.origin}:{lines[key][0] + 1}"
            return {key: self.plain(value, (*path, key)) for key, value in node.items()}
        if isinstance(node, CommentedSeq):
            for index in range(len(node)):
                self.locations[*path, index] = f"{self.origin}:{node.lc.item(index)[0] + 1}"
            return [self.plain(value, (*path, index)) for index, value in enumerate(node)]
        if isinstance(node, str) and not _is_text(node):
            self._refuse(path, "holds half of a character (a surrogate), which is not text")
        for kind in (bool, int, float, str):  # ruamel's scalars are subclasses that remember their spelling
            if isinstance(node, kind):
                return kind(node)
        return node

    def _refuse(self, path: KeyPath, why: str) -> NoReturn:
        where = next(
            (self.locations[path[:n]] for n in range(len(path), 0, -1) if path[:n] in self.locations), self.origin
        )
        raise UserError(f"{where}: {'.'.join(map(str, path)) or 'top level'}: {why}")


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
