"""Commands pay for no import that they do not need."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "pandas", "matplotlib", "sklearn", "scipy.stats", "optuna", "torchvision", "rich", "pydantic")


def imported(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_command_line_alone_imports_nothing_heavy() -> None:
    assert not imported("import uan_da.cli.app") & set(HEAVY)


@pytest.mark.parametrize("module", ["uan_da.training.train", "uan_da.cli.console"])
def test_a_training_imports_neither_tables_nor_figures_nor_models_of_others(module: str) -> None:
    unneeded = {"pandas", "matplotlib", "sklearn", "scipy.stats", "optuna", "torchvision", "jinja2"}
    assert not imported(f"import {module}, uan_da.recipe") & unneeded


def test_the_first_step_comes_before_all_that_only_an_epochs_end_needs() -> None:
    """Nor is the compiler imported, as PyTorch's optimizers do by themselves."""
    build = "t = Training.build(load_recipe('digits', ['train.batch.source=2']), torch.device('cpu'))"
    imports = "import torch; from uan_da.recipe import load_recipe; from uan_da.training.training import Training"
    unneeded = {"torch._dynamo", "torch.onnx", "sklearn.base", "scipy.stats", "pandas"}
    assert not imported(f"{imports}; {build}; t.advance()") & unneeded
