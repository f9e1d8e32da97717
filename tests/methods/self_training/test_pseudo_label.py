import math

import pytest
import torch
from torch import Tensor, nn

from uan_da.methods.method import Loss, Progress
from uan_da.methods.self_training.pseudo_label import PseudoLabel
from uan_da.models.classifier import Classifier, Output

MODEL = Classifier(nn.Flatten(), 5, 4)
END = Progress(100, 100)


def transfer(logits: Tensor, progress: Progress = END, **options: float) -> Loss:
    target = Output(torch.zeros(len(logits), 5), logits)
    method = PseudoLabel(MODEL, logits.shape[1], **options)
    return method.transfer(target, target, torch.zeros(len(logits)).long(), progress)


@pytest.mark.parametrize("threshold", [0.0, 0.6, 1.0])
def test_value_and_gradient_equal_the_formula(threshold: float) -> None:
    torch.manual_seed(0)
    logits = torch.randn(9, 4, dtype=torch.float64, requires_grad=True)
    loss = transfer(logits, threshold=threshold, trade_off=0.7)
    expected, kept = 0 * logits.sum(), 0
    for row in logits:
        p = [math.exp(z) for z in row.tolist()]
        if max(p) / sum(p) >= threshold:
            kept += 1
            expected = expected - 0.7 / 9 * row.log_softmax(0)[p.index(max(p))]
    assert kept == {0.0: 9, 0.6: kept, 1.0: 0}[threshold]
    assert 0 < kept < 9 or threshold != 0.6  # this threshold does decide something
    assert float(loss.metrics["kept"]) == pytest.approx(kept / 9)
    torch.testing.assert_close(loss.total, expected)
    torch.testing.assert_close(torch.autograd.grad(loss.total, logits), torch.autograd.grad(expected, logits))


@pytest.mark.parametrize(
    ("step", "weight"), [(0, 0.0), (100, 0.0), (101, 3 / 500), (350, 1.5), (600, 3.0), (601, 3.0), (1000, 3.0)]
)
def test_the_weight_is_the_papers_ramp_over_a_thousand_steps(step: int, weight: float) -> None:
    loss = transfer(torch.zeros(2, 4), Progress(step, 1000))
    assert float(loss.metrics["weight"]) == pytest.approx(weight)
    assert float(loss.total) == pytest.approx(weight * math.log(4))


@pytest.mark.parametrize(("start", "expected"), [(0.5, [0, 0, 3, 3]), (0.9, [0, 0, 0, 3])])
def test_a_ramp_of_no_length_is_a_jump(start: float, expected: list[float]) -> None:
    weights = [
        float(transfer(torch.zeros(1, 4), Progress(step, 10), ramp_start=start, ramp_end=0.5).metrics["weight"])
        for step in (0, 4, 5, 10)
    ]
    assert weights == expected


@pytest.mark.parametrize("logits", [torch.zeros(1, 1), torch.tensor([[1e5, -1e5]] * 3), torch.full((3, 2), 7.0)])
def test_ugly_batches_stay_finite(logits: Tensor) -> None:
    logits = logits.clone().requires_grad_()
    loss = transfer(logits, threshold=0.95).total
    (grad,) = torch.autograd.grad(loss, logits)
    assert loss.isfinite()
    assert grad.isfinite().all()
