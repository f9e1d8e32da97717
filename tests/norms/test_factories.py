"""What holds for every named norm."""

import inspect
import typing

import pytest
import torch
from torch import nn

from uan_da.names import NORMS
from uan_da.norms import convert_norm, domain_context
from uan_da.norms.batch_norm import BatchNorm


@pytest.mark.parametrize("name", NORMS.targets)
def test_options_are_annotated_keywords_with_defaults_and_the_first_line_says_what_it_is(name: str) -> None:
    """A recipe reads them."""
    factory = NORMS.load(name)
    bn, *options = inspect.signature(factory).parameters.values()
    hints = typing.get_type_hints(factory.__init__ if inspect.isclass(factory) else factory)
    assert issubclass(hints[bn.name], BatchNorm)
    for option in options:
        assert option.kind is option.KEYWORD_ONLY
        assert option.default is not option.empty
        assert option.name in hints
    first = factory.__doc__.splitlines()[0]
    assert first.endswith(".")
    assert len(first) < 120


@pytest.mark.parametrize("name", NORMS.targets)
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_small_network_trains_and_evaluates(name: str, affine: bool, dtype: torch.dtype) -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8, affine=affine), nn.ReLU(), nn.Conv2d(8, 2, 3)).to(dtype)
    convert_norm(model, name)
    assert {value.dtype for value in model.state_dict().values() if value.is_floating_point()} == {dtype}
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    x, index = torch.randn(8, 3, 6, 6, dtype=dtype), torch.tensor([0, 1] * 4)
    with domain_context(model, index):
        for _ in range(3):
            optimizer.zero_grad()
            model(x).square().mean().backward()
            optimizer.step()
        assert all(parameter.grad is not None for parameter in model.parameters())
        y = model.eval()(x)
    assert y.dtype == dtype
    assert y.isfinite().all()
    assert all(value.isfinite().all() for value in model.state_dict().values())


@pytest.mark.parametrize("name", [name for name in NORMS.targets if name != "in"])
def test_vectors(name: str) -> None:
    model = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8))
    convert_norm(model, name)
    with domain_context(model, torch.tensor([0, 1] * 4)):
        model(torch.randn(8, 3)).sum().backward()
        assert model.eval()(torch.randn(8, 3)).isfinite().all()
