import math

import pytest
import torch
from torch import Tensor, nn

from uan_da.evaluation.validators.confidence import _entropy
from uan_da.methods.method import Loss, Progress
from uan_da.methods.self_training.im import InformationMaximization, entropy_of_mean
from uan_da.models.classifier import Classifier, Output

MODEL = Classifier(nn.Flatten(), 5, 4)


def transfer(logits: Tensor, trade_off: float = 1.0) -> Loss:
    target = Output(torch.zeros(len(logits), 5), logits)
    method = InformationMaximization(MODEL, logits.shape[1], trade_off=trade_off)
    return method.transfer(target, target, torch.zeros(len(logits)).long(), Progress(1, 2))


def naive(logits: Tensor) -> Tensor:
    """Minus the mutual information of image and prediction, as Σ_i Σ_k p(i, k)·log(p(i, k) / (p(i)·p(k)))."""
    p = logits.softmax(1)
    n, classes = p.shape
    information = torch.zeros((), dtype=p.dtype)
    for i in range(n):
        for k in range(classes):
            information = information + p[i, k] / n * (p[i, k] / (sum(p[j, k] for j in range(n)) / n)).log()
    return -information


@pytest.mark.parametrize(("n", "classes"), [(7, 4), (2, 6), (1, 3)])
def test_value_and_gradient_are_minus_the_mutual_information(n: int, classes: int) -> None:
    torch.manual_seed(0)
    logits = (2 * torch.randn(n, classes, dtype=torch.float64)).requires_grad_()
    loss = transfer(logits, 0.6).total
    expected = 0.6 * naive(logits)
    torch.testing.assert_close(loss, expected, atol=1e-12, rtol=1e-9)
    got, wanted = torch.autograd.grad(loss, logits), torch.autograd.grad(expected, logits)
    torch.testing.assert_close(got, wanted, atol=1e-12, rtol=1e-9)


def test_the_terms_are_the_validators_two_parts() -> None:
    torch.manual_seed(0)
    logits = torch.randn(9, 4, dtype=torch.float64)
    p, terms = logits.softmax(1), transfer(logits).terms
    torch.testing.assert_close(terms["entropy"], _entropy(p).mean())
    torch.testing.assert_close(terms["diversity"], -_entropy(p.mean(0, keepdim=True))[0])


def test_the_best_is_one_sure_prediction_for_each_class() -> None:
    even, one = 50 * torch.eye(4), 50 * torch.eye(4)[[2, 2, 2, 2]]
    assert float(transfer(even).total) == pytest.approx(-math.log(4))
    assert float(transfer(one).total) == pytest.approx(0, abs=1e-6)
    assert float(entropy_of_mean(torch.zeros(3, 4))) == pytest.approx(math.log(4))


@pytest.mark.parametrize("logits", [torch.zeros(1, 1), torch.tensor([[1e5, -1e5, 0.0]] * 3), torch.full((3, 2), 7.0)])
def test_ugly_batches_stay_finite(logits: Tensor) -> None:
    logits = logits.clone().requires_grad_()
    loss = transfer(logits).total
    (grad,) = torch.autograd.grad(loss, logits)
    assert float(loss.detach()) == pytest.approx(0, abs=1e-6)
    assert grad.abs().max() < 1e-6
