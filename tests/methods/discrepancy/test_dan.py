"""DAN against its formula, written naively."""

import pytest
import torch
from torch import Tensor, nn

from uan_da.methods.discrepancy.dan import DAN
from uan_da.methods.discrepancy.kernels import Estimator
from uan_da.methods.method import Progress
from uan_da.models.classifier import Classifier, Output

PROGRESS = Progress(1, 10)


def method(**options: object) -> DAN:
    return DAN(Classifier(nn.Flatten(), 4, 3), 3, **options)  # type: ignore[arg-type]


def output(features: Tensor) -> Output:
    return Output(features, torch.zeros(len(features), 3, dtype=features.dtype))


def discrepancy(dan: DAN, source: Tensor, target: Tensor) -> Tensor:
    loss = dan.transfer(output(source), output(target), torch.zeros(len(source), dtype=torch.long), PROGRESS)
    assert set(loss.terms) == {"mmd"}
    return loss.terms["mmd"]


def naive(source: Tensor, target: Tensor, estimator: str) -> Tensor:
    """The mean, over pairs of neighbours or over pairs of two samples, of k(s, s′) + k(t, t′) − k(s, t′) − k(s′, t)."""
    samples = [*source, *target]
    spread = sum((a - b).detach().square().sum() for a in samples for b in samples) / len(samples) ** 2

    def k(a: Tensor, b: Tensor) -> Tensor:
        return sum(torch.exp(-(a - b).square().sum() / (2 * 2.0**p * spread)) for p in (-3, -2, -1, 0, 1))

    n, m = len(source), len(target)
    if estimator == "linear":
        quadruples = [(i % n, (i + 1) % n, i % m, (i + 1) % m) for i in range(max(n, m))]
    else:
        own = [[(i, j) for i in range(size) for j in range(size) if i != j or size == 1] for size in (n, m)]
        within = sum(
            sum(k(x[i], x[j]) for i, j in pairs) / len(pairs) for x, pairs in zip((source, target), own, strict=True)
        )
        return within - 2 * sum(k(a, b) for a in source for b in target) / (n * m)
    s, t = source, target
    terms = [k(s[i], s[j]) + k(t[p], t[q]) - k(s[i], t[q]) - k(s[j], t[p]) for i, j, p, q in quadruples]
    return sum(terms) / len(terms)


@pytest.mark.parametrize("estimator", ["linear", "quadratic"])
@pytest.mark.parametrize(("n", "m"), [(4, 4), (5, 3), (3, 5), (1, 4), (1, 1)])
def test_loss_and_gradient_equal_the_formula(estimator: Estimator, n: int, m: int) -> None:
    torch.manual_seed(0)
    source = torch.randn(n, 4, dtype=torch.float64, requires_grad=True)
    target = (torch.randn(m, 4, dtype=torch.float64) + 1).requires_grad_()
    loss = discrepancy(method(trade_off=0.7, estimator=estimator), source, target)
    expected = 0.7 * naive(source, target, estimator)
    torch.testing.assert_close(loss, expected)
    both = [source, target]
    torch.testing.assert_close(torch.autograd.grad(loss, both), torch.autograd.grad(expected, both))


def test_defaults_are_the_published_ones() -> None:
    dan = method()
    assert (dan.trade_off, dan.estimator, dan.routing) == (1.0, "linear", "joint")
    assert not dan.state_dict()


def test_identical_domains_have_no_discrepancy() -> None:
    torch.manual_seed(0)
    x = torch.randn(7, 4)
    assert float(discrepancy(method(estimator="linear"), x, x)) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("estimator", ["linear", "quadratic"])
def test_separated_domains_are_finite_and_drawn_together(estimator: Estimator) -> None:
    torch.manual_seed(0)
    source = (1e-3 * torch.randn(8, 4)).requires_grad_()
    target = (1e-3 * torch.randn(6, 4) + 1e3).requires_grad_()
    dan = method(estimator=estimator)
    before = discrepancy(dan, source, target)
    to_source, to_target = torch.autograd.grad(before, [source, target])
    assert before > 1
    assert (to_source.mean(0) < 0).all()  # down the gradient is towards the other domain
    assert (to_target.mean(0) > 0).all()


@pytest.mark.parametrize("estimator", ["linear", "quadratic"])
def test_collapsed_features_are_finite(estimator: Estimator) -> None:
    source, target = (torch.zeros(n, 4, requires_grad=True) for n in (5, 3))
    loss = discrepancy(method(estimator=estimator), source, target)
    assert float(loss.detach()) == pytest.approx(0, abs=1e-6)
    assert all(grad.isfinite().all() for grad in torch.autograd.grad(loss, [source, target]))
