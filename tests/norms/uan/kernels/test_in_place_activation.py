"""A layer's output may be changed in place by what follows it, as ``nn.ReLU(inplace=True)`` does after every norm."""

import pytest
import torch
from torch import nn

from uan_da.norms import UAN2d


@pytest.mark.parametrize("assignment", ["sample", "element"])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("training", [True, False])
def test_an_in_place_activation_changes_no_gradient(
    assignment: str, memory_format: torch.memory_format, training: bool
) -> None:
    torch.manual_seed(0)
    x = torch.randn(4, 8, 5, 5).contiguous(memory_format=memory_format)
    layer = UAN2d(8, num_clusters=3, assignment=assignment)  # type: ignore[arg-type]
    layer(x)
    layer.train(training).requires_grad_()
    gradients = []
    for inplace in (False, True):
        layer.updates_statistics = False
        layer.zero_grad()
        leaf = x.clone().requires_grad_()
        (nn.ReLU(inplace=inplace)(layer(leaf)) * x).sum().backward()
        gradients.append((leaf.grad, layer.weight.grad, layer.mean.grad))
    for plain, changed in zip(*gradients, strict=True):
        assert (plain is None) == (changed is None)
        if plain is not None:
            torch.testing.assert_close(plain, changed)
