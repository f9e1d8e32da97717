"""The text of a run's ``recipe.yaml``, by which, with ``record.json``, the run is known.

A run may be continued to more epochs or steps than it was started with. The file then has the new number, and in its
first line the old one. Checkpoints and the signature name the text that the run was started with, so they stay valid.
"""

import re

from uan_da.data.digest import digest
from uan_da.recipe import Recipe
from uan_da.recipe.source import dump_yaml

STARTED = re.compile(rb"\A# started with train\.(epochs|steps)=(\d+)\n")


def recipe_text(recipe: Recipe) -> str:
    """A recipe as ``recipe.yaml`` has it."""
    return dump_yaml(recipe.to_dict())


def identity(recipe: bytes, record: bytes) -> str:
    """What a run is, as one digest: of ``recipe.yaml``, which has its seed, and of ``record.json``."""
    return digest([as_started(recipe), record])


def as_started(text: bytes) -> bytes:
    """The ``recipe.yaml`` that the run was started with, from the one that it has."""
    head = STARTED.match(text)
    return _with_length(text[head.end() :], head[1], head[2]) if head else text


def is_lengthened(text: bytes) -> bool:
    """Whether the run was continued to more than it was started with."""
    return STARTED.match(text) is not None


def lengthened(text: bytes, key: str, number: int) -> bytes:
    """The ``recipe.yaml`` of a run that goes on to ``number``; ``key`` is ``epochs`` or ``steps``."""
    start, name = as_started(text), key.encode()
    found = _length(name).search(start)
    assert found is not None, f"no train.{key} in recipe.yaml"
    return b"# started with train.%s=%s\n%s" % (name, found[2], _with_length(start, name, str(number).encode()))


def _length(key: bytes) -> re.Pattern[bytes]:
    """``epochs: 8`` in the block ``train``."""
    return re.compile(rb"(?m)^(train:\n(?: .*\n)*?  %s: )(\d+)$" % key)


def _with_length(text: bytes, key: bytes, number: bytes) -> bytes:
    return _length(key).sub(lambda found: found[1] + number, text, count=1)
