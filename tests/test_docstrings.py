"""The examples of what is public run, and print what they say."""

import doctest
import importlib
import inspect
from pathlib import Path

import pytest
import torch

import uan_da
import uan_da.norms
from uan_da import names

PARTS = [getattr(uan_da.norms, name) for name in uan_da.norms.__all__]
FUNCTIONS = [part for part in PARTS if inspect.isfunction(part)]
PUBLIC = [*FUNCTIONS, *(getattr(uan_da, name) for name in uan_da._PUBLIC)]
LAYERS = [uan_da.norms.UAN1d, uan_da.norms.UAN2d, uan_da.norms.UAN3d]


@pytest.mark.parametrize("part", [*PUBLIC, *LAYERS], ids=lambda part: part.__qualname__)
def test_an_example_runs(part: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(part.__module__)  # type: ignore[attr-defined]
    scope = {**vars(module), "torch": torch, "nn": torch.nn}
    torch.manual_seed(0)
    (examples,) = doctest.DocTestFinder(recurse=False).find(part, globs=scope)
    assert examples.examples, "it has no example"
    failed, _ = doctest.DocTestRunner(optionflags=doctest.REPORT_NDIFF).run(examples)
    assert failed == 0


TABLES = [table for table in vars(names).values() if isinstance(table, names.Names)]


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.kind)
def test_a_name_is_listed_with_a_whole_sentence(table: names.Names) -> None:
    """``uan-da list`` prints the first line of each docstring."""
    lines = {name: (inspect.getdoc(table.load(name)) or "").partition("\n")[0] for name in table.targets}
    assert [name for name, line in lines.items() if not line.endswith(".") or ":class:" in line] == []
