import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from uan_da.methods.method import Progress
from uan_da.methods.self_training.bnm import BNM
from uan_da.models.classifier import Classifier, Output

MODEL = Classifier(nn.Flatten(), 5, 4)


def transfer(logits: Tensor, trade_off: float = 1.0) -> Tensor:
    target = Output(torch.zeros(len(logits), 5), logits)
    labels = torch.zeros(len(logits)).long()
    return BNM(MODEL, logits.shape[1], trade_off=trade_off).transfer(target, target, labels, Progress(1, 2)).total


@pytest.mark.parametrize(("n", "classes"), [(8, 4), (3, 6), (1, 3), (5, 1)])
def test_value_and_gradient_equal_the_formula(n: int, classes: int) -> None:
    torch.manual_seed(0)
    logits = torch.randn(n, classes, dtype=torch.float64, requires_grad=True)
    p = logits.softmax(1)
    values = np.linalg.eigvalsh(p.detach().numpy().T @ p.detach().numpy())
    loss = transfer(logits, 0.7)
    assert float(loss.detach()) == pytest.approx(-0.7 / n * np.sqrt(values.clip(1e-30)).sum())
    u, s, v = np.linalg.svd(p.detach().numpy(), full_matrices=False)  # the gradient of the norm is U Vᵀ
    assert s.min() > 1e-3 or classes > n
    expected = torch.autograd.grad(p, logits, torch.from_numpy(-0.7 / n * u @ v))
    torch.testing.assert_close(torch.autograd.grad(loss, logits), expected)


def test_the_best_is_sure_and_diverse() -> None:
    sure = 50 * torch.eye(4)
    even, one, unsure = transfer(sure.repeat(2, 1)), transfer(sure[[1] * 8]), transfer(torch.zeros(8, 4))
    assert float(even) == pytest.approx(-math.sqrt(4 / 8))  # each class twice: four singular values of √2
    assert float(one) == pytest.approx(-1 / math.sqrt(8))
    assert float(unsure) == pytest.approx(-1 / math.sqrt(8) / 2)
    assert even < one < unsure


@pytest.mark.parametrize("logits", [torch.zeros(1, 1), torch.tensor([[1e5, -1e5]] * 3), torch.full((3, 2), 7.0)])
def test_ugly_batches_stay_finite(logits: Tensor) -> None:
    logits = logits.clone().requires_grad_()
    (grad,) = torch.autograd.grad(transfer(logits), logits)
    assert grad.isfinite().all()


def test_a_logit_that_is_not_finite_is_a_loss_that_is_not() -> None:
    """The training reports that with the step and the term; a failed decomposition would have neither."""
    assert transfer(torch.tensor([[torch.nan, 0.0], [1.0, 2.0]])).isnan()
