"""docs/fidelity.md has a row for every method, norm and validator, and no other."""

import re
from pathlib import Path

import pytest

from uan_da.names import METHODS, NORMS, VALIDATORS, Names

TEXT = (Path(__file__).parents[1] / "docs" / "fidelity.md").read_text()
SECTIONS = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL))


@pytest.mark.parametrize(("section", "names"), [("Methods", METHODS), ("Norms", NORMS), ("Validators", VALIDATORS)])
def test_every_name_has_a_row_that_says_how(section: str, names: Names) -> None:
    rows = [line.split(" | ") for line in SECTIONS[section].splitlines() if line.startswith("| `")]
    found = [name for row in rows for name in re.findall(r"`([^`]+)`", row[0])]
    assert sorted(found) == sorted(names.targets)
    assert all(len(row) == 4 and re.search("run|read|naive|own", row[2]) for row in rows)
