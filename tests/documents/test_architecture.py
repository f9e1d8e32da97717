"""docs/architecture.md tells the house as it is."""

import ast
import importlib.util
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
STATIONS = re.findall(r"^\d+\. `(uan_da/[\w/]+\.py)`: `([\w.]+)`", PAGE, re.MULTILINE)


def defined(path: Path) -> set[str]:
    """The functions and methods of a module."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{part.name}" for part in node.body if isinstance(part, ast.FunctionDef)}
    return found


def test_a_batch_passes_at_most_twelve_stations_and_all_exist() -> None:
    numbered = re.findall(r"^\d+\. ", PAGE, re.MULTILINE)
    assert 0 < len(numbered) == len(STATIONS) <= 12
    for path, name in STATIONS:
        assert name in defined(ROOT / path), (path, name)


def test_the_floors_are_those_that_the_imports_are_checked_against() -> None:
    spec = importlib.util.spec_from_file_location("rules", ROOT / "tests" / "test_imports.py")
    assert spec is not None
    assert spec.loader is not None
    rules = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(rules)
    floor = {
        package: int(number)
        for number, packages in re.findall(r"^\| (\d) \| ([^|]+) \|", PAGE, re.MULTILINE)
        for package in re.findall(r"`(\w+)`", packages)
    }
    assert set(floor) == set(rules.MAY_IMPORT) | rules.LEAVES
    for package, imported in rules.MAY_IMPORT.items():
        assert all(floor[other] < floor[package] for other in imported), package


def test_every_file_that_the_page_names_exists() -> None:
    for name in re.findall(r"`((?:uan_da|tests)/[\w/]+\.py)`", PAGE):
        assert (ROOT / name).is_file(), name
