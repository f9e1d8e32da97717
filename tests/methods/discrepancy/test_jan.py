"""JAN against its formula, written naively."""

import pytest
import torch
from torch import Tensor, nn

from uan_da.methods.discrepancy.dan import DAN
from uan_da.methods.discrepancy.jan import JAN
from uan_da.methods.discrepancy.kernels import Estimator
from uan_da.methods.method import Progress
from uan_da.models.classifier import Classifier, Output

PROGRESS = Progress(1, 10)


def method(**options: object) -> JAN:
    return JAN(Classifier(nn.Flatten(), 4, 3), 3, **options)  # type: ignore[arg-type]


def discrepancy(jan: JAN | DAN, source: Output, target: Output) -> Tensor:
    labels = torch.zeros(len(source.features), dtype=torch.long)
    (term,) = jan.transfer(source, target, labels, PROGRESS).terms.values()
    return term


def random_output(n: int, shift: float = 0.0) -> Output:
    features, logits = torch.randn(n, 4, dtype=torch.float64) + shift, torch.randn(n, 3, dtype=torch.float64) * 2
    return Output(features.requires_grad_(), logits.requires_grad_())


def naive(source: Output, target: Output, estimator: str) -> Tensor:
    """The mean, over pairs of neighbours or of two samples, of κ(s, s′) + κ(t, t′) − κ(s, t′) − κ(s′, t), κ the product
    of both kernels."""
    features = [*source.features, *target.features]
    spread = sum((a - b).detach().square().sum() for a in features for b in features) / len(features) ** 2
    s = [(z, logits.exp() / logits.exp().sum()) for z, logits in zip(*source, strict=True)]
    t = [(z, logits.exp() / logits.exp().sum()) for z, logits in zip(*target, strict=True)]

    def k(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> Tensor:
        distance = (a[0] - b[0]).square().sum()
        on_features = sum(torch.exp(-distance / (2 * 2.0**p * spread)) for p in (-3, -2, -1, 0, 1))
        return on_features * torch.exp(-(a[1] - b[1]).square().sum() / (2 * 0.92**2))

    n, m = len(s), len(t)
    if estimator == "linear":
        quadruples = [(i % n, (i + 1) % n, i % m, (i + 1) % m) for i in range(max(n, m))]
    else:
        own = [[(i, j) for i in range(size) for j in range(size) if i != j or size == 1] for size in (n, m)]
        within = sum(sum(k(x[i], x[j]) for i, j in pairs) / len(pairs) for x, pairs in zip((s, t), own, strict=True))
        return within - 2 * sum(k(a, b) for a in s for b in t) / (n * m)
    terms = [k(s[i], s[j]) + k(t[p], t[q]) - k(s[i], t[q]) - k(s[j], t[p]) for i, j, p, q in quadruples]
    return sum(terms) / len(terms)


@pytest.mark.parametrize("estimator", ["linear", "quadratic"])
@pytest.mark.parametrize(("n", "m"), [(4, 4), (5, 3), (1, 4), (1, 1)])
def test_loss_and_gradient_equal_the_formula(estimator: Estimator, n: int, m: int) -> None:
    torch.manual_seed(0)
    source, target = random_output(n), random_output(m, shift=1.0)
    loss = discrepancy(method(trade_off=0.7, estimator=estimator), source, target)
    expected = 0.7 * naive(source, target, estimator)
    torch.testing.assert_close(loss, expected)
    moved = [*source, *target]
    torch.testing.assert_close(torch.autograd.grad(loss, moved), torch.autograd.grad(expected, moved))


def test_defaults_are_the_published_ones() -> None:
    jan = method()
    assert (jan.trade_off, jan.estimator, jan.routing) == (1.0, "quadratic", "joint")
    assert not jan.state_dict()


def test_identical_domains_have_no_discrepancy() -> None:
    torch.manual_seed(0)
    x = random_output(7)
    assert float(discrepancy(method(estimator="linear"), x, x).detach()) == pytest.approx(0, abs=1e-12)


def test_it_sees_classes_that_are_swapped_between_equal_features() -> None:
    """Equal distributions of features, and of class probabilities: only the joint distribution differs."""
    torch.manual_seed(0)
    features = torch.cat([torch.randn(6, 4), torch.randn(6, 4) + 3])
    logits = 5 * torch.eye(3)[[0] * 6 + [1] * 6]
    source, target = Output(features, logits), Output(features, logits.flip(0))
    dan = DAN(Classifier(nn.Flatten(), 4, 3), 3, estimator="quadratic")
    swapped, same = (float(discrepancy(dan, source, other)) for other in (target, source))
    assert swapped == pytest.approx(same, abs=1e-5)
    swapped, same = (float(discrepancy(method(), source, other)) for other in (target, source))
    assert swapped > same + 0.1


@pytest.mark.parametrize("estimator", ["linear", "quadratic"])
@pytest.mark.parametrize("classes", [1, 3])
def test_ugly_outputs_are_finite(estimator: Estimator, classes: int) -> None:
    """Features without spread, logits without bound, one class."""
    source = Output(torch.zeros(5, 4, requires_grad=True), torch.full((5, classes), 1e4, requires_grad=True))
    target = Output(torch.zeros(1, 4, requires_grad=True), torch.full((1, classes), -1e4, requires_grad=True))
    loss = discrepancy(method(estimator=estimator), source, target)
    assert float(loss.detach()) == pytest.approx(0, abs=1e-5)
    assert all(grad.isfinite().all() for grad in torch.autograd.grad(loss, [*source, *target]))
