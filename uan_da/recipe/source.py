"""YAML by the rules of YAML 1.2 (``1e-3`` is a number, ``no`` a word, ``012`` twelve), with the line of every key."""

import io
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from uan_da.errors import UserError

KeyPath = tuple[str | int, ...]


@dataclass
class Source:
    """Plain data, and where each of its keys was written (``FILE:LINE``, or the command line)."""

    origin: str
    data: dict[str, Any]
    places: dict[KeyPath, str] = field(default_factory=dict)

    def place(self, path: KeyPath) -> str:
        """Where ``path`` was written; for a key that is missing, where its parent was."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.places:
                return self.places[path[:length]]
        return self.origin


def read_yaml(path: Path) -> Source:
    """Read a YAML file whose top level is a mapping.

    Raises:
        UserError: the file is missing or unreadable, is not YAML (names the line), or is not a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error
    return deepcopy(_parsed(str(path), text))


@lru_cache(maxsize=16)  # a grid reads its recipe once for each cell, and parsing is most of that
def _parsed(origin: str, text: str) -> Source:
    try:
        tree = YAML(typ="rt", pure=True).load(text)
    except MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UserError(f"{origin}{line}: not valid YAML: {error.problem or error.context}") from error
    except (YAMLError, ValueError) as error:
        raise UserError(f"{origin}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(tree, CommentedMap):
        raise UserError(f"{origin}: expected a mapping of keys at the top level")
    places: dict[KeyPath, str] = {}
    data = _plain(tree, (), origin, places)
    return Source(origin, data, places)


def parse_value(text: str) -> Any:
    """A value as a command line gives it, by the same rules; what is not YAML is text."""
    try:
        return _plain(YAML(typ="rt", pure=True).load(text), (), "", {}) if text else ""
    except (YAMLError, ValueError):
        return text


def dump_yaml(data: Mapping[str, Any]) -> str:
    """``data`` as YAML text, keys in their order."""
    stream = io.StringIO()
    yaml = YAML()
    yaml.width = 110
    yaml.dump(dict(data), stream)
    return stream.getvalue()


def _plain(node: Any, path: KeyPath, origin: str, places: dict[KeyPath, str]) -> Any:
    """ruamel's tree as plain Python values; fills ``places`` on the way."""
    tag = getattr(getattr(node, "tag", None), "value", None)
    if tag is not None:
        raise UserError(
            f"{places.get(path, origin)}: {'.'.join(map(str, path))}: a YAML tag ({tag}) has no meaning here"
        )
    if isinstance(node, CommentedMap):
        for key in node:
            places[*path, key] = f"{origin}:{node.lc.key(key)[0] + 1}"
        return {key: _plain(value, (*path, key), origin, places) for key, value in node.items()}
    if isinstance(node, CommentedSeq):
        for index in range(len(node)):
            places[*path, index] = f"{origin}:{node.lc.item(index)[0] + 1}"
        return [_plain(value, (*path, index), origin, places) for index, value in enumerate(node)]
    for kind in (bool, int, float, str):  # ruamel's scalars are subclasses that remember their spelling
        if isinstance(node, kind):
            return kind(node)
    return node
