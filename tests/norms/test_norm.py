"""``Norm``, by a norm that subtracts each image's mean."""

import copy

import torch
from torch import Tensor, nn

from uan_da.norms import convert_norm
from uan_da.norms.affine import affine_parameters
from uan_da.norms.norm import Norm


class Centre(Norm):
    """x − mean x of each image."""

    def normalise(self, x: Tensor) -> Tensor:
        assert x.dtype == torch.float32
        return x - x.mean((1, 2, 3), keepdim=True)


def converted(**options: bool) -> tuple[nn.Sequential, nn.BatchNorm2d]:
    bn = nn.BatchNorm2d(3, **options)
    if bn.affine:
        nn.init.normal_(bn.weight)
        nn.init.normal_(bn.bias)
    model = nn.Sequential(nn.Identity(), copy.deepcopy(bn))
    convert_norm(model, Centre)
    return model, bn


def test_gamma_and_beta_are_the_batch_norms() -> None:
    model, bn = converted()
    x = 5 + torch.randn(4, 3, 2, 2)
    expected = (x - x.mean((1, 2, 3))[:, None, None, None]) * bn.weight[:, None, None] + bn.bias[:, None, None]
    torch.testing.assert_close(model(x), expected)
    half = model(x.bfloat16())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), expected, atol=0.05, rtol=0.02)


def test_methods_that_learn_gamma_and_beta_find_them() -> None:
    model, _ = converted()
    assert set(affine_parameters(model, domain=1)) == {"1.weight", "1.bias"}
    model[1].reset_parameters()
    assert torch.equal(model[1].weight, torch.ones(3))
    assert torch.equal(model[1].bias, torch.zeros(3))


def test_without_gamma_and_beta() -> None:
    model, _ = converted(affine=False)
    assert not list(model.parameters())
    torch.testing.assert_close(model(torch.full((2, 3, 2, 2), 7.0)), torch.zeros(2, 3, 2, 2))
