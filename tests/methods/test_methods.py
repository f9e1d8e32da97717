"""What holds for every method."""

import math

import pytest
import torch
from torch import nn

from uan_da.data.adapter import Examples
from uan_da.data.digits import Arrays, Digits
from uan_da.methods.source_only import SourceOnly
from uan_da.names import METHODS
from uan_da.recipe import load_recipe
from uan_da.training.training import Training

CPU = torch.device("cpu")


def trained(method: str, steps: int = 3) -> Training:
    overrides = [f"method={method}", "norm=bn", "train.batch.source=16", "train.batch.target=24"]
    training = Training.build(load_recipe("digits", overrides), CPU)
    for _ in range(steps):
        training.advance()
    return training


class GarbledDigits(Digits):
    """The digits with the target's labels replaced by one wrong class."""

    def load(self, domain: str, split: str) -> Examples:  # type: ignore[override]
        examples = super().load(domain, split)  # type: ignore[arg-type]
        if domain == "optdigits_m" and isinstance(examples, Arrays):
            examples.labels[:] = 3
        return examples


@pytest.mark.parametrize("method", METHODS.targets)
def test_a_method_never_sees_a_target_label(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = trained(method).state_dict()
    monkeypatch.setattr("uan_da.data.digits.Digits", GarbledDigits)
    garbled = trained(method).state_dict()
    assert honest["model"].keys() == garbled["model"].keys()
    for part in ("model", "method"):
        for name, value in honest[part].items():
            assert torch.equal(value, garbled[part][name]), name


@pytest.mark.parametrize("method", METHODS.targets)
def test_a_method_moves_the_model_and_what_it_owns(method: str) -> None:
    fresh, moved = trained(method, 0), trained(method, 2)
    for part in (("model", fresh.model, moved.model), ("method", fresh.method, moved.method)):
        _, before, after = part
        assert isinstance(before, nn.Module)
        assert isinstance(after, nn.Module)
        for (name, old), new in zip(before.named_parameters(), after.parameters(), strict=True):
            assert not torch.equal(old, new), name


@pytest.mark.parametrize("method", METHODS.targets)
def test_the_docstring_cites_or_says_what_it_is(method: str) -> None:
    doc = METHODS.load(method).__doc__
    assert doc
    assert "arXiv" in doc or method == "source_only"


def test_source_only_is_cross_entropy() -> None:
    training = trained("source_only", 0)
    assert isinstance(training.method, SourceOnly)
    batch = training.task.batch(0, ("weak",))
    loss = training.method.loss(training.model, batch, 0.0)
    p = training.model(batch.source.weak).logits.softmax(1)
    expected = -sum(math.log(float(p[i, y])) for i, y in enumerate(batch.source.labels)) / len(p)
    assert float(loss.total.detach()) == pytest.approx(expected, rel=1e-5)
