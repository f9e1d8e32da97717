"""No recipe, however wrong, ends in a traceback; one that passes the check can be written and read again.

The short form takes a few hundred mutations; ``pytest -m slow tests/recipe/test_mutations.py`` takes 10,000.
"""

import random
from collections import Counter
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from uan_da.errors import UserError
from uan_da.recipe import find_recipe, load_recipe
from uan_da.recipe.source import dump_yaml, read_yaml

RECIPES = ("digits", "digits-norms")
VALUES: list[Any] = [
    None, True, -1, 0, 1, 2, 0.5, -0.5, 1e-300, 1e300, 10**30, -(10**30), float("inf"), float("-inf"), float("nan"),
    100_000, "", " ", "no", "1e-3", "ü→源", "a:b", "a:b:c", "../x", "os:system", "uan", "x" * 5000, "\x07", "\u2028",
    [], [[]], [1, 2, 3], ["flip"], [None], {}, {"name": None}, {"name": "uan"}, {"name": []}, {1: 2}, {None: None},
    {"name": "crop", "padding": -1},
]  # fmt: skip
TEXTS = [
    "\x00",
    "\t",
    "\x85",
    "\ufeff",
    "&a ",
    "*a",
    "!!python/name:os.system ",
    "<<: ",
    "? ",
    "- ",
    "---\n",
    "%",
    "{",
    "[",
]


def mutated(data: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    """One to three changes at random keys: another value, no key, another key, or the value of elsewhere."""
    data = deepcopy(data)
    for _ in range(chance.randint(1, 3)):
        holder, key = chance.choice(list(_keys(data)))
        change = chance.choice(["value", "value", "value", "drop", "rename", "move", "nest"])
        if change == "value":
            holder[key] = deepcopy(chance.choice(VALUES))
        elif change == "drop":
            del holder[key]
        elif change == "rename" and isinstance(holder, dict):
            holder[chance.choice(["nam", "", "name", 3, None])] = holder.pop(key)
        elif change == "move":
            other, place = chance.choice(list(_keys(data)))
            holder[key] = deepcopy(other[place])
        else:
            holder[key] = {"name": holder[key]}
        if not data:
            break
    return data


def _keys(data: Any) -> Any:
    for key in data if isinstance(data, dict) else range(len(data)):
        yield data, key
        if isinstance(data[key], dict | list):
            yield from _keys(data[key])


def _fate(text: str, folder: Path) -> str:
    """What becomes of a recipe of that text; anything but a UserError fails the test."""
    path = folder / "recipe.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        recipe = load_recipe(path)
    except UserError as error:
        return "refused" if str(error) else "refused without a word"
    again = folder / "again.yaml"
    again.write_text(dump_yaml(recipe.to_dict()), encoding="utf-8")
    assert load_recipe(again).to_dict() == recipe.to_dict()
    return "read"


def mutate(count: int, folder: Path) -> Counter[str]:
    chance = random.Random(0)
    originals = [read_yaml(find_recipe(name)).data for name in RECIPES]
    fates: Counter[str] = Counter()
    for i in range(count):
        text = dump_yaml(mutated(chance.choice(originals), chance))
        if i % 4 == 0:  # and its text
            place = chance.randrange(len(text))
            text = text[:place] + chance.choice(TEXTS) + text[place + chance.randint(0, 2) :]
        fates[_fate(text, folder)] += 1
        if i % 1000 == 999:
            print(f"{i + 1}: {dict(fates)}")
    print(f"{count} mutated recipes: {dict(fates)}, 0 tracebacks")
    return fates


def test_a_few(tmp_path: Path) -> None:
    assert set(mutate(300, tmp_path)) == {"read", "refused"}


@pytest.mark.slow
def test_many(tmp_path: Path) -> None:
    assert set(mutate(10_000, tmp_path)) == {"read", "refused"}
