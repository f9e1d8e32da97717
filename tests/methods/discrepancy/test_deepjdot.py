"""DeepJDOT against its formula, and its coupling against SciPy's linear programs."""

import copy
import math
import sys

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment, linprog
from torch import Tensor, nn

from uan_da.errors import UserError
from uan_da.methods.discrepancy.deepjdot import DeepJDOT
from uan_da.methods.method import Loss, Progress
from uan_da.models.classifier import Classifier, Output


def method(**options: float) -> DeepJDOT:
    return DeepJDOT(Classifier(nn.Flatten(), 4, 3), 3, **options)


def outputs(n: int, m: int, dtype: torch.dtype = torch.float64) -> tuple[Output, Output, Tensor]:
    """Of a source and a target, and the source's labels."""
    sides = [
        Output(torch.randn(k, 4, dtype=dtype).requires_grad_(), torch.randn(k, 3, dtype=dtype).requires_grad_())
        for k in (n, m)
    ]
    return sides[0], sides[1], torch.randint(3, (n,))


def transfer(jdot: DeepJDOT, source: Output, target: Output, labels: Tensor) -> Loss:
    loss = jdot.transfer(source, target, labels, Progress(1, 10))
    assert set(loss.terms) == {"transport_features", "transport_labels"}
    return loss


def naive_cost(source: Output, target: Output, labels: Tensor, alpha: float, weight: float) -> list[list[Tensor]]:
    rows = []
    for z, y in zip(source.features, labels.tolist(), strict=True):
        row = []
        for other, logits in zip(target.features, target.logits, strict=True):
            entropy = -torch.log(logits[y].exp() / logits.exp().sum())
            row.append(alpha * ((z - other) ** 2).sum() + weight * entropy)
        rows.append(row)
    return rows


def plan(cost: np.ndarray) -> np.ndarray:
    """The optimal coupling of uniform weights, as a linear program."""
    n, m = cost.shape
    rows = np.kron(np.eye(n), np.ones(m))
    columns = np.kron(np.ones(n), np.eye(m))
    sums = np.concatenate([np.full(n, 1 / n), np.full(m, 1 / m)])
    return linprog(cost.ravel(), A_eq=np.concatenate([rows, columns]), b_eq=sums).x.reshape(n, m)


@pytest.mark.parametrize(("n", "m"), [(6, 6), (5, 7), (8, 3), (1, 4), (4, 1), (1, 1)])
def test_loss_and_gradient_equal_the_formula(n: int, m: int) -> None:
    torch.manual_seed(0)
    source, target, labels = outputs(n, m)
    loss = transfer(method(feature_weight=0.3, label_weight=0.7), source, target, labels)
    cost = naive_cost(source, target, labels, 0.3, 0.7)
    coupling = plan(np.array([[float(c.detach()) for c in row] for row in cost]))
    expected = sum(float(coupling[i, j]) * cost[i][j] for i in range(n) for j in range(m))
    torch.testing.assert_close(loss.total, expected)
    moved = [source.features, target.features, target.logits]  # the source's logits have no part in it
    torch.testing.assert_close(torch.autograd.grad(loss.total, moved), torch.autograd.grad(expected, moved))


def test_equal_batches_are_assigned_one_to_one() -> None:
    torch.manual_seed(0)
    cost = torch.rand(32, 32)
    coupling = method()._coupling(cost)
    rows, columns = linear_sum_assignment(cost.numpy())
    expected = torch.zeros(32, 32)
    expected[rows, columns] = 1 / 32
    torch.testing.assert_close(coupling, expected)


def test_terms_are_the_two_parts_of_the_cost() -> None:
    torch.manual_seed(0)
    source, target, labels = outputs(5, 5)
    loss = transfer(method(feature_weight=0.3, label_weight=0.0), source, target, labels)
    assert float(loss.terms["transport_labels"].detach()) == 0
    loss = transfer(method(feature_weight=0.0, label_weight=0.7), source, target, labels)
    assert float(loss.terms["transport_features"].detach()) == 0


def test_identical_domains_cost_nothing_but_doubt() -> None:
    """Whatever their order, each sample is paired with itself; what is left is the target's own cross-entropy."""
    torch.manual_seed(0)
    source, _, labels = outputs(9, 1)
    logits = 3 * torch.eye(3, dtype=torch.float64)[labels]
    order = torch.randperm(9)
    target = Output(source.features[order].detach(), logits[order])
    loss = transfer(method(feature_weight=1.0, label_weight=1.0), source, target, labels)
    assert float(loss.terms["transport_features"].detach()) == pytest.approx(0, abs=1e-12)
    assert float(loss.terms["transport_labels"].detach()) == pytest.approx(math.log(1 + 2 * math.exp(-3)))


def test_a_step_down_the_gradient_makes_transport_cheaper() -> None:
    torch.manual_seed(0)
    source, target, labels = outputs(12, 10, torch.float32)
    jdot = method(feature_weight=1.0, label_weight=1.0)
    before = transfer(jdot, source, target, labels).total
    grads = torch.autograd.grad(before, [*target])
    moved = Output(*(x - 0.1 * grad for x, grad in zip(target, grads, strict=True)))
    assert transfer(jdot, source, moved, labels).total < before


def test_far_features_and_certain_wrong_predictions_are_finite() -> None:
    source = Output(torch.zeros(4, 4, requires_grad=True), torch.zeros(4, 3))
    target = Output(torch.full((3, 4), 1e5, requires_grad=True), torch.tensor([[0.0, 0.0, 1e4]] * 3).requires_grad_())
    loss = transfer(method(), source, target, torch.zeros(4, dtype=torch.long)).total
    assert float(loss.detach()) == pytest.approx(0.001 * 4e10 + 0.0001 * 1e4, rel=1e-5)
    grads = torch.autograd.grad(loss, [source.features, *target])
    assert all(grad.isfinite().all() for grad in grads)


@pytest.mark.filterwarnings("ignore:Problem")  # POT's own words, before the training's
def test_what_is_not_finite_stays_visible() -> None:
    """The training stops at a loss that is not finite; a coupling must not hide it."""
    source, target, labels = outputs(4, 4, torch.float32)
    broken = Output(target.features.detach().index_fill(0, torch.tensor([1]), math.nan), target.logits)
    assert not transfer(method(), source, broken, labels).total.isfinite()


def test_half_precision_is_widened() -> None:
    torch.manual_seed(0)
    source, target, labels = outputs(6, 6, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        inside = transfer(method(), source, target, labels).total
    torch.testing.assert_close(inside, transfer(method(), source, target, labels).total)
    half = [Output(side.features.bfloat16(), side.logits.bfloat16()) for side in (source, target)]
    exact = [Output(side.features.float(), side.logits.float()) for side in half]
    torch.testing.assert_close(transfer(method(), *half, labels).terms, transfer(method(), *exact, labels).terms)


def test_defaults_are_the_authors_and_it_can_be_copied() -> None:
    jdot = copy.deepcopy(method())
    assert (jdot.feature_weight, jdot.label_weight, jdot.routing) == (0.001, 0.0001, "joint")
    assert not jdot.state_dict()


def test_without_pot_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ot", None)
    with pytest.raises(UserError, match=r'method deepjdot: .*pip install "uan-da\[ot\]"'):
        method()
