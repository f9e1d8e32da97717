import sys
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from uan_da.data.domain_batch import DomainBatch, DomainImages
from uan_da.errors import UserError
from uan_da.methods.method import Loss, Method, Progress, TransferMethod
from uan_da.methods.transfer import TransferLoss, build_method
from uan_da.models.classifier import Classifier, Output
from uan_da.recipe import load_recipe


class Gap(TransferMethod):
    """The distance of the means, as a method."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = weight

    def transfer(self, source: Output, target: Output, labels: Tensor, progress: Progress) -> Loss:
        gap = (source.features.mean(0) - target.features.mean(0)).square().sum()
        return Loss({"gap": self.weight * gap}, {"part": torch.tensor(progress.part)})


@pytest.fixture
def batch() -> DomainBatch:
    torch.manual_seed(1)
    source = DomainImages({"weak": torch.randn(4, 3, 2, 2)}, torch.randint(3, (4,)), torch.zeros(4).long())
    return DomainBatch(
        source, DomainImages({"weak": torch.randn(5, 3, 2, 2)}, torch.full((5,), -1), torch.ones(5).long())
    )


def test_the_loss_is_cross_entropy_plus_every_methods_terms(batch: DomainBatch) -> None:
    model = Classifier(nn.Flatten(), 12, 3)
    loss = TransferLoss([Gap(2.0), Gap(0.5)], "joint").loss(model, batch, Progress(1, 4))
    gap = (batch.source.weak.mean(0) - batch.target.weak.mean(0)).square().sum()
    assert list(loss.terms) == ["source", "gap", "gap_2"]
    torch.testing.assert_close(
        loss.terms["source"], F.cross_entropy(model(batch.source.weak).logits, batch.source.labels)
    )
    torch.testing.assert_close(loss.terms["gap"], 2 * gap)
    torch.testing.assert_close(loss.total, loss.terms["source"] + 2.5 * gap)
    assert float(loss.metrics["part"]) == 0.25


@pytest.mark.parametrize(("routing", "forwards"), [("joint", 1), ("separate", 2)])
def test_all_methods_share_the_forwards(batch: DomainBatch, routing: str, forwards: int) -> None:
    norm = nn.BatchNorm2d(3)
    model = Classifier(nn.Sequential(norm, nn.Flatten()), 12, 3)
    TransferLoss([Gap(1.0), Gap(1.0)], routing).loss(model, batch, Progress(0, 1))  # type: ignore[arg-type]
    assert int(norm.num_batches_tracked) == forwards


def test_each_method_is_told_of_the_training(batch: DomainBatch) -> None:
    told: list[tuple[str, int]] = []

    class Listening(Gap):
        def terms(self, model: Classifier, batch: DomainBatch, *rest: object) -> Loss:
            return Loss({"images": torch.tensor(float(len(batch.target.labels)))})

        def prepare(self, model: Classifier, target_images: int) -> None:
            told.append(("prepare", target_images))

        def start(self, model: Classifier) -> None:
            told.append(("start", 0))

        def after_step(self, model: Classifier) -> None:
            told.append(("after_step", 0))

    model, method = Classifier(nn.Flatten(), 12, 3), TransferLoss([Gap(1.0), Listening(1.0)], "joint")
    method.prepare(model, 7)
    method.start(model)
    assert float(method.loss(model, batch, Progress(0, 1)).terms["images"]) == 5
    method.after_step(model)
    assert told == [("prepare", 7), ("start", 0), ("after_step", 0)]


def test_a_recipe_composes_methods() -> None:
    recipe = load_recipe("digits", ["method=dann", "method.then=[{name: mcc, temperature: 3.0}, bnm]", "norm=bn"])
    method = build_method(recipe.method, Classifier(nn.Flatten(), 12, 10), 10)
    assert isinstance(method, TransferLoss)
    assert [type(part).__name__ for part in method.methods] == ["DANN", "MCC", "BNM"]
    assert method.routing == "joint"
    again = type(recipe).model_validate(recipe.to_dict())
    assert again == recipe
    assert again.method.then[0].options["temperature"] == 3.0


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["method=adamatch", "method.routing=separate"], "makes its own forwards"),
        (["method=adamatch", "method.then=[mcc]"], "makes its own forwards"),
        (["method=dann", "method.then=[adamatch]"], "'adamatch' makes its own forwards, and cannot be added to 'dann'"),
        (["method=dann", "task=optdigits"], "'dann' adapts to a target, and the task optdigits has none"),
        (["method=dann", "method.then=[nonsense]"], "unknown method"),
        (["method=dann", "method.then=[{name: mcc, routing: joint}]"], "then.0.routing: unknown key .routing."),
        (["method=dann", "method.then=[tent]"], "then.0: .tent. does not train"),
        (["method=dann", "method.pretrain_epochs=-1"], "greater than or equal to 0"),
    ],
)
def test_combinations_without_sense_are_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_recipe("digits", overrides)


@pytest.mark.parametrize("part", ["loss", "phases", "pretrain_loss", "predictor"])
def test_a_part_that_the_shared_forward_would_never_call_is_refused(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = type("Mine", (Gap,), {"__init__": lambda self, model, num_classes: Gap.__init__(self, 1.0)})
    monkeypatch.setitem(sys.modules, "mine", SimpleNamespace(Mine=mine))  # type: ignore[arg-type]
    model = Classifier(nn.Flatten(), 12, 10)
    for overrides in (["method=mine:Mine", "method.routing=joint"], ["method=dann", "method.then=['mine:Mine']"]):
        block = load_recipe("digits", [*overrides, "norm=bn"]).method
        with monkeypatch.context() as patch:
            patch.setattr(mine, part, lambda *_: None, raising=False)
            with pytest.raises(
                UserError, match=f"method 'mine:Mine' has 'transfer' and '{part}'.* give it the whole loss"
            ):
                build_method(block, model, 10)
        build_method(block, model, 10)


def refused(monkeypatch: pytest.MonkeyPatch, mine: object) -> str:
    monkeypatch.setitem(sys.modules, "mine", SimpleNamespace(Mine=mine))  # type: ignore[arg-type]
    try:
        recipe = load_recipe("digits", ["method=mine:Mine", "norm=bn"])
        build_method(recipe.method, Classifier(nn.Flatten(), 12, 10), 10)
    except UserError as error:
        return str(error)
    return "accepted"


def test_an_own_class_that_is_no_method_is_refused_with_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    bases = "does not inherit a base class of uan_da.methods.method: Method, TransferMethod, SourceFreeMethod"
    assert bases in refused(monkeypatch, type("Mine", (nn.Module,), {"transfer": lambda *_: Loss({})}))
    assert bases in refused(monkeypatch, lambda model, num_classes: nn.Identity())

    class NoLoss(Method):
        def __init__(self, model: Classifier, num_classes: int) -> None:
            super().__init__()

    class NoTransfer(TransferMethod):
        def __init__(self, model: Classifier, num_classes: int) -> None:
            super().__init__()

    assert "'mine:Mine' lacks 'loss'" in refused(monkeypatch, NoLoss)
    assert "'mine:Mine' lacks 'transfer'" in refused(monkeypatch, NoTransfer)


def test_a_transfer_method_has_a_loss_of_its_own_routing(batch: DomainBatch) -> None:
    model = Classifier(nn.Flatten(), 12, 3)
    alone, shared = Gap(2.0).loss(model, batch, Progress(1, 4)), TransferLoss([Gap(2.0)], "joint")
    torch.testing.assert_close(alone.terms, shared.loss(model, batch, Progress(1, 4)).terms)
