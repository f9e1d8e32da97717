"""What holds for every method."""

import copy
import math
import re
from pathlib import Path
from typing import ClassVar

import pytest
import torch

from uan_da.data.adapter import Examples
from uan_da.data.digits import Arrays, Digits
from uan_da.methods.bounds import SourceOnly
from uan_da.methods.method import Method
from uan_da.names import METHODS
from uan_da.recipe import load_recipe
from uan_da.training.training import Training

CPU = torch.device("cpu")
BOUNDS = ["source_only", "source_and_target", "joint", "target_oracle"]
READ_LABELS = [
    "target_oracle",
    *(name for name in METHODS.targets if METHODS.load(name).settings == ("semi_supervised",)),
]
PROMPTED = ["zero_shot", "dapl"]
"""They read text by a CLIP, and tests of their own have one."""
TRAINED = [name for name in METHODS.targets if issubclass(METHODS.load(name), Method) and name not in PROMPTED]
"""The methods that train from the source on; the others start from a trained run."""


CLASSES = {
    "partial": "{shared: 6, source: 4}",
    "open_set": "{shared: 6, target: 4}",
    "universal": "{shared: 6, source: 2, target: 2}",
    "semi_supervised": "null",
}
PRIVATE = ("partial", "open_set", "universal")
IN_SETTINGS = [(name, setting) for name in TRAINED for setting in PRIVATE if setting in METHODS.load(name).settings]


def build(method: str, *overrides: str) -> Training:
    """In the first of its settings."""
    setting = METHODS.load(method).settings[0]
    common = [] if setting == "closed_set" else [f"classes={CLASSES[setting]}"]
    common += ["target.labelled=3"] if setting == "semi_supervised" else []
    if METHODS.load(method).head_per_source:
        common += [f"dataset={Path(__file__).with_name('few_digits.yaml')}", "task=optdigits+synthetic:optdigits_m"]
    common += ["norm=bn", "backbone.width=8", "input.size=16", "train.epochs=1", "train.steps_per_epoch=null"]
    common += ["train.batch.source=64", "train.batch.target=32"]
    return Training.build(load_recipe("digits", [f"method={method}", *common, *overrides]), CPU)


def one_epoch(method: str) -> Training:
    """One pass over the digits, after an epoch of pre-training where the method has one."""
    pretrains = bool(METHODS.load(method).pretrain_epochs)
    training = build(method, *(["method.pretrain_epochs=1"] if pretrains else []))
    while training.step < training.total_steps:
        training.advance()
    return training


def moved(fresh: Training, trained: Training) -> bool:
    """Whether the network and all that the method trains beside it has moved."""
    return all(
        not torch.equal(old, new)
        for before, after in ((fresh.model, trained.model), (fresh.method, trained.method))
        for old, new in zip(before.parameters(), after.parameters(), strict=False)
        if old.requires_grad
    )


class GarbledDigits(Digits):
    """The digits with the target's labels replaced by one wrong class."""

    def load(self, domain: str, split: str) -> Examples:  # type: ignore[override]
        examples = super().load(domain, split)  # type: ignore[arg-type]
        if domain == "optdigits_m" and isinstance(examples, Arrays):
            examples.labels[:] = 3  # all of them, so that an open set keeps its images
        return examples


@pytest.mark.parametrize("method", TRAINED)
def test_a_method_learns_an_epoch_and_never_sees_a_target_label(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = one_epoch(method)
    assert honest.step >= 5
    assert all(bool(value.isfinite().all()) for value in honest.model.state_dict().values())
    assert moved(build(method), honest)
    monkeypatch.setattr("uan_da.data.digits.Digits", GarbledDigits)
    garbled = one_epoch(method)
    same = [
        torch.equal(a, b)
        for part in ("model", "method")
        for a, b in zip(honest.state_dict()[part].values(), garbled.state_dict()[part].values(), strict=True)
    ]
    assert all(same) is (method not in READ_LABELS)


class ShiftedDigits(Digits):
    """The digits with each label of the target replaced by the next class that the target has."""

    kept: ClassVar[list[int]]

    def load(self, domain: str, split: str) -> Examples:  # type: ignore[override]
        examples = super().load(domain, split)  # type: ignore[arg-type]
        if domain == "optdigits_m" and isinstance(examples, Arrays):
            after = dict(zip(self.kept, [*self.kept[1:], self.kept[0]], strict=True))
            examples.labels[:] = [after.get(label, label) for label in examples.labels.tolist()]
        return examples


@pytest.mark.parametrize(("method", "setting"), IN_SETTINGS)
def test_no_method_sees_a_target_label_in_any_setting(
    method: str, setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recipe's classes choose the target's images, and that is all that its labels decide."""

    def trained() -> Training:
        own = [f"method={method}", f"classes={CLASSES[setting]}"]
        common = ["norm=bn", "backbone.width=4", "input.size=16", "train.batch.source=16", "train.batch.target=16"]
        training = Training.build(load_recipe("digits-open", [*own, *common]), CPU)
        for _ in range(3):
            training.advance()
        return training

    honest = trained()
    assert all(bool(value.isfinite().all()) for value in honest.model.state_dict().values())
    ShiftedDigits.kept = [0, 1, 2, 3, 4, 5, *{"partial": [], "open_set": [6, 7, 8, 9], "universal": [8, 9]}[setting]]
    monkeypatch.setattr("uan_da.data.digits.Digits", ShiftedDigits)
    garbled = trained()
    assert not torch.equal(honest.task.target.train.labels, garbled.task.target.train.labels)
    same = [
        torch.equal(a, b)
        for part in ("model", "method")
        for a, b in zip(honest.state_dict()[part].values(), garbled.state_dict()[part].values(), strict=True)
    ]
    assert all(same) is (method != "target_oracle")


@pytest.mark.parametrize("method", TRAINED)
def test_a_training_goes_on_from_its_state_to_the_same_bits(method: str) -> None:
    """All that a method keeps is in its state."""
    whole, second = (build(method, "method.pretrain_epochs=0") for _ in range(2))
    for _ in range(2):
        whole.advance()
    second.load_state_dict(copy.deepcopy(whole.state_dict()))
    for training in (whole, second):
        for _ in range(2):
            training.advance()
    expected, got = whole.state_dict(), second.state_dict()
    for part in ("model", "method", "sums", "answering"):
        for name, value in expected.get(part, {}).items():
            assert torch.equal(value, got[part][name]), name
    for number, state in expected["optimizer"]["state"].items():
        for name, value in state.items():
            assert torch.equal(value, got["optimizer"]["state"][number][name]), (number, name)


@pytest.mark.parametrize("method", METHODS.targets)
def test_a_method_says_what_it_is_and_needs(method: str) -> None:
    target = METHODS.load(method)
    first = (target.__doc__ or "").partition("\n")[0]
    assert method in BOUNDS or re.search(r"\(.+ et al\.|\(.+, .*\b(19|20)\d\d\b", first), first
    assert target.needs


def test_source_only_is_cross_entropy() -> None:
    training = build("source_only")
    assert isinstance(training.method, SourceOnly)
    batch = training.task.batch(0, ("weak",))
    loss = training.method.loss(training.model, batch, training.progress)
    p = training.model(batch.source.weak).logits.softmax(1)
    expected = -sum(math.log(float(p[i, y].detach())) for i, y in enumerate(batch.source.labels)) / len(p)
    assert float(loss.total.detach()) == pytest.approx(float(expected), rel=1e-5)
