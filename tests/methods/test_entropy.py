import math

import pytest
import torch

from uan_da.methods.entropy import entropy


def test_value_and_gradient_equal_the_formula() -> None:
    torch.manual_seed(0)
    logits = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    h = entropy(logits)
    naive = torch.stack([torch.distributions.Categorical(logits=row).entropy() for row in logits])
    torch.testing.assert_close(h, naive)
    assert torch.autograd.gradcheck(entropy, (logits,))


def test_of_the_uniform_and_of_the_sure() -> None:
    torch.testing.assert_close(entropy(torch.zeros(2, 5)), torch.full((2,), math.log(5)))
    logits = torch.tensor([[1e4, 0.0, -1e4]], requires_grad=True)
    entropy(logits).sum().backward()
    assert float(entropy(logits.detach())) == 0
    assert logits.grad is not None
    assert logits.grad.abs().max() == 0


@pytest.mark.parametrize("n", [0, 1, 3])
def test_one_class_has_none(n: int) -> None:
    assert torch.equal(entropy(torch.randn(n, 1)), torch.zeros(n))
