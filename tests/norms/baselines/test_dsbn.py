import pytest
import torch
from torch import nn

from uan_da.norms import domain_context
from uan_da.norms.baselines.dsbn import dsbn


def trained_batch_norm() -> nn.BatchNorm2d:
    bn = nn.BatchNorm2d(4)
    bn.weight.data.normal_()
    bn.bias.data.normal_()
    bn(torch.randn(8, 4, 3, 3) * 2 + 1)
    return bn


@pytest.mark.parametrize("affine", ["separate", "shared"])
def test_each_domain_has_a_batch_norm_of_its_own(affine: str) -> None:
    bn = trained_batch_norm()
    layer = dsbn(bn, num_domains=3, affine=affine)
    alone = [dsbn(bn).branches[0] for _ in range(3)]  # copies of bn
    index = torch.tensor([2, 0, 1, 0, 2, 1, 2, 0])
    x = torch.randn(8, 4, 3, 3) * (index[:, None, None, None] + 1)
    with domain_context(layer, index):
        y = layer(x)
    for domain, norm in enumerate(alone):
        torch.testing.assert_close(y[index == domain], norm(x[index == domain]))
        torch.testing.assert_close(layer.branches[domain].running_var, norm.running_var)
    with domain_context(layer.eval(), 1):
        torch.testing.assert_close(layer(x), alone[1].eval()(x))


def test_separate_and_shared_parameters() -> None:
    bn = trained_batch_norm()
    assert len(list(dsbn(bn).parameters())) == 4
    shared = dsbn(bn, affine="shared")
    assert [name for name, _ in shared.named_parameters()] == ["weight", "bias"]
    assert shared.weight is not bn.weight
    assert not list(dsbn(nn.BatchNorm2d(4, affine=False), affine="shared").parameters())


@pytest.mark.parametrize("affine", ["separate", "shared"])
def test_a_pretrained_norm_keeps_its_function_on_every_domain(affine: str) -> None:
    bn = trained_batch_norm().eval()
    layer, x = dsbn(bn, affine=affine).eval(), torch.randn(8, 4, 3, 3)
    with domain_context(layer, torch.arange(8) % 2):
        torch.testing.assert_close(layer(x), bn(x))


def test_a_domain_that_no_batch_had_keeps_its_statistics() -> None:
    layer = dsbn(trained_batch_norm())
    before = layer.branches[1].running_mean.clone()
    with domain_context(layer, torch.zeros(8, dtype=torch.long)):
        layer(torch.randn(8, 4, 3, 3) + 5)
    assert torch.equal(layer.branches[1].running_mean, before)
