"""The table of docs/norms.md has the rows that are tested."""

import re
from pathlib import Path
from typing import Any


def test_the_table_has_the_rows_that_are_tested(works: Any) -> None:
    tests = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    marked = re.findall(r'^@pytest\.mark\.works\("(.+)"\)$', tests, re.MULTILINE)
    assert len(marked) == len(set(marked))
    assert set(works.table) == set(marked)
