"""Deep CORAL against its paper's formulas, of the loss and of its gradient."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from uan_da.methods.discrepancy.deep_coral import DeepCORAL, covariance
from uan_da.methods.method import Progress
from uan_da.models.classifier import Classifier, Output


def method(**options: float) -> DeepCORAL:
    return DeepCORAL(Classifier(nn.Flatten(), 5, 3), 3, **options)


def coral(source: Tensor, target: Tensor, **options: float) -> Tensor:
    outputs = [Output(torch.randn(len(logits), 5), logits) for logits in (source, target)]
    loss = method(**options).transfer(*outputs, torch.zeros(len(source), dtype=torch.long), Progress(1, 10))
    assert set(loss.terms) == {"coral"}
    return loss.terms["coral"]


@pytest.mark.parametrize(("n", "m"), [(6, 6), (7, 4), (2, 9)])
def test_loss_and_gradient_equal_the_papers_formulas(n: int, m: int) -> None:
    torch.manual_seed(0)
    source = torch.randn(n, 3, dtype=torch.float64, requires_grad=True)
    target = (2 * torch.randn(m, 3, dtype=torch.float64) + 1).requires_grad_()
    loss = coral(source, target, trade_off=0.7)
    s, t = source.detach().numpy(), target.detach().numpy()
    ones_s, ones_t = np.ones((n, 1)), np.ones((m, 1))
    c_s = (s.T @ s - (ones_s.T @ s).T @ (ones_s.T @ s) / n) / (n - 1)
    c_t = (t.T @ t - (ones_t.T @ t).T @ (ones_t.T @ t) / m) / (m - 1)
    assert float(loss.detach()) == pytest.approx(0.7 * ((c_s - c_t) ** 2).sum() / (4 * 3**2))
    by_source = (s.T - (ones_s.T @ s).T @ ones_s.T / n).T @ (c_s - c_t) / (9 * (n - 1))
    by_target = -(t.T - (ones_t.T @ t).T @ ones_t.T / m).T @ (c_s - c_t) / (9 * (m - 1))
    grads = torch.autograd.grad(loss, [source, target])
    np.testing.assert_allclose(grads[0], 0.7 * by_source)
    np.testing.assert_allclose(grads[1], 0.7 * by_target)


def test_covariance_is_the_unbiased_one() -> None:
    torch.manual_seed(0)
    x = torch.randn(8, 4, dtype=torch.float64)
    np.testing.assert_allclose(covariance(x), np.cov(x.numpy(), rowvar=False))
    far = (x + 1e4).float()
    torch.testing.assert_close(covariance(far), covariance(x).float(), rtol=1e-2, atol=1e-3)


def test_covariance_under_autocast_is_that_of_float32() -> None:
    torch.manual_seed(0)
    x = torch.randn(8, 4)
    with torch.autocast("cpu", torch.bfloat16):
        inside = covariance(x)
    assert torch.equal(inside, covariance(x))
    assert covariance(x.bfloat16()).dtype == torch.float32


def test_identical_domains_and_shifted_ones_have_no_discrepancy() -> None:
    torch.manual_seed(0)
    x = torch.randn(6, 3, dtype=torch.float64)
    assert float(coral(x, x)) == 0
    assert float(coral(x, x + 2)) == pytest.approx(0, abs=1e-25)  # second moments are all that it aligns
    assert float(coral(x, 2 * x)) > 0.01


@pytest.mark.parametrize("classes", [1, 3])
def test_one_sample_has_no_covariance(classes: int) -> None:
    one, many = torch.ones(1, classes, requires_grad=True), torch.zeros(5, classes, requires_grad=True)
    loss = coral(one, many)
    assert float(loss.detach()) == 0
    assert all(torch.equal(grad, torch.zeros_like(grad)) for grad in torch.autograd.grad(loss, [one, many]))


def test_a_step_down_the_gradient_brings_the_covariances_together() -> None:
    torch.manual_seed(0)
    source, target = torch.randn(16, 3, requires_grad=True), 3 * torch.randn(16, 3)
    before = coral(source, target)
    (grad,) = torch.autograd.grad(before, source)
    assert coral(source - 0.1 * grad, target) < before


def test_defaults_are_the_published_ones() -> None:
    assert (method().trade_off, method().routing) == (0.8, "joint")
    assert not method().state_dict()
