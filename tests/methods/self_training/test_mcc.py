import math

import pytest
import torch
from torch import Tensor, nn

from uan_da.methods.method import Progress
from uan_da.methods.self_training.mcc import MCC, class_confusion
from uan_da.models.classifier import Classifier, Output

MODEL = Classifier(nn.Flatten(), 5, 4)


def naive(logits: Tensor, temperature: float) -> Tensor:
    """The paper's steps: temperature, weights, class correlation, normalisation of each row, off-diagonal sum."""
    n, classes = logits.shape
    p = (logits / temperature).softmax(1)
    raw = [1 + math.exp(sum(x * math.log(x) for x in row)) for row in p.tolist()]
    weights = [n * w / sum(raw) for w in raw]
    total = torch.zeros((), dtype=logits.dtype)
    for j in range(classes):
        row = [sum(weights[i] * p[i, j] * p[i, k] for i in range(n)) for k in range(classes)]
        total = total + sum(row[k] / sum(row) for k in range(classes) if k != j)
    return total / classes


@pytest.mark.parametrize(("n", "classes", "temperature"), [(8, 4, 2.5), (3, 6, 1.0), (1, 3, 2.5), (5, 2, 0.4)])
def test_value_and_gradient_equal_the_paper(n: int, classes: int, temperature: float) -> None:
    torch.manual_seed(0)
    logits = (3 * torch.randn(n, classes, dtype=torch.float64)).requires_grad_()
    features = torch.randn(n, 5, dtype=torch.float64)
    source = Output(features, torch.randn(n, classes, dtype=torch.float64, requires_grad=True))
    method = MCC(MODEL, classes, trade_off=0.7, temperature=temperature)
    loss = method.transfer(source, Output(features, logits), torch.zeros(n).long(), Progress(1, 2)).total
    expected = 0.7 * naive(logits, temperature)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(
        torch.autograd.grad(loss, logits, retain_graph=True), torch.autograd.grad(expected, logits)
    )
    assert torch.autograd.grad(loss, source.logits, allow_unused=True) == (None,)


def test_the_least_and_the_most_confused() -> None:
    assert float(class_confusion(60 * torch.eye(3))) == pytest.approx(0, abs=1e-6)
    assert float(class_confusion(torch.zeros(5, 4))) == pytest.approx(1 - 1 / 4)
    assert float(class_confusion(torch.randn(5, 1))) == 0


def test_a_class_without_any_probability_counts_as_its_limit() -> None:
    """In the authors' formula it is 0/0."""
    near, never = torch.tensor([[9.0, 0.0, -60.0]] * 4), torch.tensor([[9.0, 0.0, -1e4]] * 4).requires_grad_()
    torch.testing.assert_close(class_confusion(never), class_confusion(near))
    (grad,) = torch.autograd.grad(class_confusion(never), never)
    assert grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_all_sure_of_the_same_class(dtype: torch.dtype) -> None:
    logits = torch.tensor([[1e4, 0.0]] * 3, dtype=dtype).requires_grad_()
    loss = class_confusion(logits)
    (grad,) = torch.autograd.grad(loss, logits)
    assert float(loss.detach()) == pytest.approx(0.5)
    assert grad.isfinite().all()
