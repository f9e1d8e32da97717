"""The affine parameters of norms, and forwards with batch statistics."""

import pytest
import torch
from torch import nn

from uan_da.norms import convert_norm, domain_context
from uan_da.norms.affine import affine_parameters, batch_statistics


def network(norm: str = "bn", **options: object) -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(), nn.Flatten(), nn.Linear(64, 2)
    )
    convert_norm(model, norm, **options)
    return model


@pytest.mark.parametrize(
    ("norm", "options", "names"),
    [
        ("bn", {}, {"1.weight", "1.bias"}),
        ("uan", {}, {"1.weight", "1.bias"}),
        ("gn", {}, {"1.weight", "1.bias"}),
        ("ln_channel", {}, {"1.weight", "1.bias"}),
        ("in", {}, {"1.weight", "1.bias"}),
        ("mn", {}, {"1.weight", "1.bias"}),
        ("transnorm", {}, {"1.weight", "1.bias"}),
        ("dsbn", {}, {"1.branches.1.weight", "1.branches.1.bias"}),
        ("dsbn", {"affine": "shared"}, {"1.weight", "1.bias"}),
        ("acn", {}, {"1.weight", "1.bias"}),
    ],
)
def test_the_affine_parameters_of_a_domain(norm: str, options: dict[str, object], names: set[str]) -> None:
    model = network(norm, **options)
    found = affine_parameters(model, domain=1)
    assert set(found) == names
    assert all(parameter is model.get_parameter(name) for name, parameter in found.items())


def test_a_source_has_its_own_branch_and_an_unseen_domain_the_targets() -> None:
    model = network("dsbn", num_domains=3)
    for domain, branch in ((0, 0), (1, 1), (2, 2), (7, 2)):
        assert set(affine_parameters(model, domain)) == {f"1.branches.{branch}.{name}" for name in ("weight", "bias")}


def test_frozen_parameters_do_not_count() -> None:
    model = network()
    model.get_parameter("1.bias").requires_grad_(False)
    assert set(affine_parameters(model, 0)) == {"1.weight"}
    assert affine_parameters(nn.Sequential(nn.Linear(2, 2), nn.PReLU(2)), 0) == {}


@pytest.mark.parametrize("norm", ["bn", "uan", "mn", "dsbn", "transnorm", "in"])
@pytest.mark.parametrize("training", [True, False])
def test_norms_see_the_batch_and_nothing_changes(norm: str, training: bool) -> None:
    model, x = network(norm).train(training), 3 + 2 * torch.randn(16, 3, 6, 6)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with batch_statistics(model), domain_context(model, 1):
        y = nn.Sequential(*model[:2])(x)
        again = [model(x) for _ in range(2)]
    if norm in ("bn", "dsbn", "in"):
        torch.testing.assert_close(y.mean((0, 2, 3)), torch.zeros(4), atol=1e-5, rtol=0)
        torch.testing.assert_close(y.var((0, 2, 3), correction=0), torch.ones(4), atol=1e-2, rtol=0)
    assert torch.equal(*again)  # dropout is off
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(module.training == training for module in model.modules())


def test_the_mode_comes_back_after_an_error() -> None:
    model = network().eval()
    with pytest.raises(RuntimeError), batch_statistics(model):
        model(torch.zeros(2, 5, 6, 6))
    assert not any(module.training for module in model.modules())
    assert model[1].track_running_stats
