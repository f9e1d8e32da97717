"""Imports go one way, and what should be light is."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import uan_da

PACKAGE = Path(uan_da.__file__).parent
LEAVES = {"errors", "files", "folders", "names", "seeding", "spreadsheet", "trust", "version"}
MAY_IMPORT = {
    "norms": set(),
    "recipe": set(),
    "data": {"recipe", "norms"},
    "models": {"norms", "recipe"},
    "methods": {"models", "data", "norms", "recipe"},
    "evaluation": {"models", "data", "norms", "recipe"},
    "training": {"methods", "evaluation", "models", "data", "norms", "recipe"},
    "streams": {"sweeps", "training", "methods", "evaluation", "models", "data", "norms", "recipe"},
    "benchmarks": {"training", "methods", "evaluation", "models", "data", "norms", "recipe"},
    "sweeps": {"training", "methods", "evaluation", "models", "data", "norms", "recipe"},
    "export": {"training", "methods", "evaluation", "models", "data", "norms", "recipe"},
    "estimator": {"training", "methods", "evaluation", "models", "data", "norms", "recipe"},
    "api": {"export", "sweeps", "streams", "training", "methods", "evaluation", "models", "data", "norms", "recipe"},
    "cli": {
        "benchmarks",
        "sweeps",
        "streams",
        "export",
        "training",
        "methods",
        "evaluation",
        "models",
        "data",
        "norms",
        "recipe",
    },
}


def imported(path: Path) -> set[str]:
    """The parts of uan_da that a module imports, at its top or inside its functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("uan_da"):
            parts = node.module.split(".")
            found |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("uan_da.")}
    return found


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_imports_go_one_way(path: Path) -> None:
    part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if part in ("__init__", "__main__"):
        return
    allowed = LEAVES | (MAY_IMPORT[part] | {part} if part not in LEAVES else set())
    assert imported(path) <= allowed


def modules_after(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(' '.join(sys.modules))"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_the_command_line_does_not_import_torch_before_a_command_runs() -> None:
    assert not {"torch", "pandas", "sklearn", "matplotlib", "pydantic"} & modules_after("import uan_da.cli.app")


def test_norms_import_torch_alone() -> None:
    loaded = modules_after("import uan_da.norms")
    assert "torch" in loaded
    assert not {"sklearn", "pydantic", "pandas", "torchvision", "triton"} & loaded
