"""Self-ensembling against its formula, written naively, and the teacher's life."""

import copy
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from uan_da.data.domain_batch import DomainBatch, DomainImages
from uan_da.methods.method import Progress
from uan_da.methods.self_training.mean_teacher import MeanTeacher, imbalance
from uan_da.models.classifier import Classifier
from uan_da.norms import convert_norm
from uan_da.norms.baselines.dsbn import dsbn
from uan_da.norms.uan.conversion import uan

HALF = Progress(1, 2)


def moved(model: Classifier) -> None:
    """The student after some learning."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))


@pytest.mark.parametrize("threshold", [0.0, 0.4, 1.0])
def test_loss_and_gradient_equal_the_formula(model: Classifier, batch: DomainBatch, threshold: float) -> None:
    method = MeanTeacher(model, 4, threshold=threshold, trade_off=2.0, class_balance=0.3)
    moved(model)
    loss = method.loss(model, batch, HALF)

    source, p = model(batch.source.weak).logits, model(batch.target.strong).logits.softmax(1)
    q = method.teacher(batch.target.weak).logits.softmax(1).tolist()
    kept = [i for i in range(9) if max(q[i]) > threshold]
    expected = -sum(source[i].log_softmax(0)[y] / 6 for i, y in enumerate(batch.source.labels))
    for i in kept:
        expected = expected + 2 / 9 * sum((p[i, k] - q[i][k]) ** 2 / 4 for k in range(4))
    for k in range(4):
        mean = sum(p[i, k] for i in range(9)) / 9
        expected = expected - 2 * 0.3 * len(kept) / 9 * (mean.log() / 4 + (1 - mean).log() * 3 / 4)

    assert 0 < len(kept) < 9 or threshold != 0.4  # this threshold does decide something
    assert float(loss.metrics["mask"]) == pytest.approx(len(kept) / 9)
    torch.testing.assert_close(loss.total, expected, rtol=1e-5, atol=1e-5)  # of the 1e-6 in the logarithms
    parameters = list(model.parameters())
    grads = torch.autograd.grad(loss.total, parameters)
    torch.testing.assert_close(grads, torch.autograd.grad(expected, parameters), rtol=1e-5, atol=1e-5)


def test_the_balance_is_least_where_classes_are_used_evenly() -> None:
    even, skewed, one = torch.eye(4), torch.tensor([[0.7, 0.1, 0.1, 0.1]]), torch.eye(4)[[0, 0]]
    assert imbalance(even) < imbalance(skewed) < imbalance(one)
    assert float(imbalance(even)) == pytest.approx(-4 * (math.log(1 / 4) / 4 + math.log(3 / 4) * 3 / 4), abs=1e-4)
    assert imbalance(one).isfinite()
    assert float(imbalance(torch.ones(3, 1))) == pytest.approx(0, abs=1e-5)


def test_the_teacher_follows_and_nothing_else_moves_it(model: Classifier, batch: DomainBatch) -> None:
    method = MeanTeacher(model, 4, decay=0.9)
    old = [parameter.clone() for parameter in method.teacher.parameters()]
    moved(model)
    method.loss(model, batch, HALF).total.backward()
    assert all(parameter.grad is None for parameter in method.parameters())
    assert not any(parameter.requires_grad for parameter in method.parameters())
    method.after_step(model)
    for before, after, student in zip(old, method.teacher.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(after, 0.9 * before + 0.1 * student)
    assert method.predictor(model) is method.teacher


def test_start_makes_the_teacher_the_student(model: Classifier, batch: DomainBatch) -> None:
    method = MeanTeacher(model, 4)
    moved(model)
    model(batch.source.weak)  # running statistics too
    method.start(model)
    for name, value in model.state_dict().items():
        assert torch.equal(method.teacher.state_dict()[name], value), name
    method.after_step(model)  # and it shares no memory with it
    moved(model)
    assert not torch.equal(method.teacher.head.weight, model.head.weight)


def test_the_teachers_statistics_are_the_targets(model: Classifier, batch: DomainBatch) -> None:
    method = MeanTeacher(model, 4)
    method.teacher.eval()  # as an evaluation leaves it
    conv, norm = method.teacher.backbone[0], method.teacher.backbone[1]
    method.loss(model, batch, HALF)
    torch.testing.assert_close(norm.running_mean, 0.1 * conv(batch.target.weak).mean((0, 2, 3)))
    assert int(norm.num_batches_tracked) == 1
    assert int(model.backbone[1].num_batches_tracked) == 2  # source and target have a forward each


def test_all_that_it_keeps_is_in_its_state(model: Classifier, batch: DomainBatch) -> None:
    method, other = MeanTeacher(model, 4), MeanTeacher(copy.deepcopy(model), 4)
    moved(model)
    method.loss(model, batch, HALF)
    method.after_step(model)
    other.load_state_dict(method.state_dict())
    one, two = (each.loss(copy.deepcopy(model), batch, HALF) for each in (method, other))
    assert torch.equal(one.total, two.total)


@pytest.mark.parametrize("norm", [uan, dsbn])
def test_norms_that_know_domains_or_clusters_have_a_teacher_too(model: Classifier, batch: DomainBatch, norm) -> None:
    convert_norm(model, norm)
    model = model.double()
    method = MeanTeacher(model, 4, threshold=0.0)
    method.start(model)
    method.loss(model, batch, HALF).total.backward()
    method.after_step(model)
    assert all(parameter.grad is None for parameter in method.parameters())
    assert all(parameter.isfinite().all() for parameter in method.parameters())


def test_a_branch_per_domain_has_the_sources_statistics_from_the_student(model: Classifier, batch: DomainBatch) -> None:
    convert_norm(model, dsbn)
    model = model.double()
    method = MeanTeacher(model, 4)
    moved(model)
    method.loss(model, batch, HALF)
    method.after_step(model)
    own, students = method.teacher.backbone[1], model.backbone[1]
    torch.testing.assert_close(own.branches[0].running_mean, students.branches[0].running_mean)
    assert own.branches[0].running_mean.abs().min() > 0
    assert not torch.equal(own.branches[1].running_mean, students.branches[1].running_mean)


def test_one_image_of_each(model: Classifier, side: Callable[[int, int, Tensor], DomainImages]) -> None:
    batch = DomainBatch(side(1, 0, torch.tensor([2])), side(1, 1, torch.tensor([-1])))
    MeanTeacher(model, 4, threshold=0.0).loss(model, batch, HALF).total.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
