from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from uan_da.norms.batch_norm import BatchNorm


@pytest.fixture(autouse=True)
def seeded() -> None:
    """A test's numbers do not depend on the tests before it."""
    torch.manual_seed(0)


def _seen(bn: BatchNorm) -> BatchNorm:
    """A BatchNorm as after a training: nothing at its initial value."""
    with torch.no_grad():
        for parameter in bn.parameters():
            parameter.normal_(1.0, 0.5)
        bn.running_mean.normal_(0.0, 3.0)
        bn.running_var.uniform_(0.1, 9.0)
        bn.num_batches_tracked.fill_(7)
    return bn


@pytest.fixture
def seen() -> Callable[[BatchNorm], BatchNorm]:
    """``seen(bn)``: a BatchNorm as after a training."""
    return _seen


def _relative(a: Tensor, b: Tensor) -> float:
    return ((a - b).abs().max() / b.abs().max()).item()


@pytest.fixture
def relative() -> Callable[[Tensor, Tensor], float]:
    """``relative(a, b)``: the largest difference over the largest value of b."""
    return _relative
