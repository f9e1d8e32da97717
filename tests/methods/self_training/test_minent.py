import math

import pytest
import torch
from torch import nn

from uan_da.methods.method import Progress
from uan_da.methods.self_training.minent import MinEnt
from uan_da.models.classifier import Classifier, Output

MODEL = Classifier(nn.Flatten(), 5, 4)
HALF = Progress(1, 2)


def output(n: int, classes: int = 4) -> Output:
    logits = 2 * torch.randn(n, classes, dtype=torch.float64)
    return Output(torch.randn(n, 5, dtype=torch.float64).requires_grad_(), logits.requires_grad_())


@pytest.mark.parametrize(("n_s", "n_t"), [(3, 7), (7, 1)])
def test_the_loss_is_the_weighted_mean_entropy_of_the_target(n_s: int, n_t: int) -> None:
    torch.manual_seed(0)
    source, target = output(n_s), output(n_t)
    loss = MinEnt(MODEL, 4, trade_off=0.7).transfer(source, target, torch.zeros(n_s).long(), HALF)
    naive = 0.0
    for row in target.logits.tolist():
        total = sum(math.exp(z) for z in row)
        naive -= sum(math.exp(z) / total * math.log(math.exp(z) / total) for z in row) / n_t
    assert float(loss.terms["entropy"].detach()) == pytest.approx(0.7 * naive)
    assert set(loss.terms) == {"entropy"}
    assert torch.autograd.grad(loss.total, source.logits, allow_unused=True, retain_graph=True) == (None,)
    expected = 0.7 * torch.distributions.Categorical(logits=target.logits).entropy().mean()
    torch.testing.assert_close(
        torch.autograd.grad(loss.total, target.logits), torch.autograd.grad(expected, target.logits)
    )


def test_a_step_makes_predictions_surer() -> None:
    torch.manual_seed(0)
    source, target = output(3), output(8)
    method = MinEnt(MODEL, 4)
    before = method.transfer(source, target, torch.zeros(3).long(), HALF).total
    (grad,) = torch.autograd.grad(before, target.logits)
    after = method.transfer(source, Output(target.features, target.logits - grad), torch.zeros(3).long(), HALF).total
    assert after < before


@pytest.mark.parametrize("logits", [torch.zeros(1, 1), torch.tensor([[1e5, -1e5]]), torch.full((3, 2), 7.0)])
def test_ugly_batches_stay_finite(logits: torch.Tensor) -> None:
    target = Output(torch.randn(len(logits), 5), logits.clone().requires_grad_())
    loss = MinEnt(MODEL, logits.shape[1]).transfer(target, target, torch.zeros(len(logits)).long(), HALF).total
    (grad,) = torch.autograd.grad(loss, target.logits)
    assert loss.isfinite()
    assert grad.isfinite().all()
