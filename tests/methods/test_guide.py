"""The method of docs/methods.md, as it is printed there."""

import re
from pathlib import Path

import pytest
import torch

from uan_da.recipe import load_recipe
from uan_da.training.training import Training

GUIDE = Path(__file__).parents[2] / "docs" / "methods.md"


def test_the_guides_method_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "my_methods.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe("digits", ["method=my_methods:MeanGap", "method.weight=0.5", "norm=bn", "backbone.width=4"])
    training = Training.build(recipe, torch.device("cpu"))
    training.advance()
    assert set(training.sums) == {"loss", "source", "gap"}
    assert training.sums["loss"] == pytest.approx(float(training.sums["source"] + training.sums["gap"]))
