import math

import pytest
import torch

from uan_da.methods.adversarial.gradient_reversal import reversal_strength, reverse_gradient
from uan_da.methods.method import Progress


@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0])
def test_reversal_is_the_identity_forward_and_negative_backward(strength: float) -> None:
    x = torch.randn(5, requires_grad=True)
    y = reverse_gradient(x, strength)
    assert torch.equal(y, x)
    y.backward(torch.ones(5))
    torch.testing.assert_close(x.grad, torch.full((5,), -strength))


@pytest.mark.parametrize("step", [0, 1, 50, 100])
def test_the_default_pace_is_danns_over_the_training(step: int) -> None:
    expected = 2 / (1 + math.exp(-10 * step / 100)) - 1
    assert reversal_strength(Progress(step, 100)) == expected


@pytest.mark.parametrize("total", [10, 100_000])
@pytest.mark.parametrize("step", [0, 1, 700, 50_000])
def test_the_pace_in_steps_is_tllibs_whatever_the_length(step: int, total: int) -> None:
    low, high = 0.0, 0.1
    expected = 2 * (high - low) / (1 + math.exp(-step / 1000)) - (high - low) + low
    assert reversal_strength(Progress(step, total), 1000, high) == pytest.approx(expected, abs=1e-15)


def test_it_starts_at_nothing_and_never_exceeds_its_height() -> None:
    assert reversal_strength(Progress(0, 7), 3, 2.0) == 0
    assert reversal_strength(Progress(10**9, 10**9), 1, 2.0) == 2.0
