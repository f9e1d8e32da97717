"""The rows of docs/fidelity.md speak of methods, norms and validators that exist, once each."""

import re
from pathlib import Path

import pytest

from uan_da.names import METHODS, NORMS, VALIDATORS, Names

TEXT = (Path(__file__).parents[1] / "docs" / "fidelity.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL))


@pytest.mark.parametrize(("section", "names"), [("Methods", METHODS), ("Norms", NORMS), ("Validators", VALIDATORS)])
def test_every_row_is_of_a_name_and_says_how(section: str, names: Names) -> None:
    rows = [line.split(" | ") for line in SECTIONS[section].splitlines() if line.startswith("| `")]
    found = [name for row in rows for name in re.findall(r"`([^`]+)`", row[0])]
    assert rows
    assert not set(found) - set(names.targets)
    assert len(found) == len(set(found))
    assert all(len(row) == 4 and re.search("run|read|naive|own", row[2]) for row in rows)
