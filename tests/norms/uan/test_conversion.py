"""A UAN made from a BatchNorm, and back."""

import itertools
from typing import Any

import pytest
import torch
from torch import nn

from uan_da.norms import UAN2d, to_batch_norm
from uan_da.norms.uan.conversion import uan

OPTIONS = [
    {"num_clusters": k, "assignment": assignment, "scale": scale}
    for k, assignment, scale in itertools.product((1, 2, 3), ("sample", "element"), ("none", "prior", "unit"))
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_conversion_keeps_the_function_of_a_norm_that_has_seen_data(
    options: dict[str, object], seen: Any, relative: Any
) -> None:
    bn = seen(nn.BatchNorm2d(6)).eval()
    x = torch.randn(8, 6, 5, 5) * 4 + 2
    layer = uan(bn, em_rate=0.0, **options).eval()
    assert relative(layer(x), bn(x)) < 1e-5
    clusters = layer.mean.detach().clone()
    assert len(clusters.unique(dim=0)) == options["num_clusters"]
    layer.train()
    layer(x)
    torch.testing.assert_close(layer.mean.detach(), clusters)  # the first batch did not start them again


@pytest.mark.parametrize("has_seen", [False, True])
def test_what_a_norm_without_affine_lacked_is_not_trained(has_seen: bool, seen: Any, relative: Any) -> None:
    bn = nn.BatchNorm2d(4, affine=False)
    bn = seen(bn) if has_seen else bn
    x = torch.randn(8, 4, 3, 3)
    layer = uan(bn, scale="prior", assignment="element")
    trained = {name for name, parameter in layer.named_parameters() if parameter.requires_grad}
    assert trained == {"mean", "log_var", "prior_logits"}
    if has_seen:
        assert relative(layer.eval()(x), bn.eval()(x)) < 1e-5


def test_statistics_without_a_count_of_batches_are_kept(seen: Any) -> None:
    """As in checkpoints from before PyTorch counted."""
    bn = seen(nn.BatchNorm2d(3))
    bn.num_batches_tracked.zero_()
    assert uan(bn).initialized


def test_frozen_parameters_dtype_and_zero_gamma_are_carried_over() -> None:
    bn = nn.BatchNorm2d(3).double()
    nn.init.zeros_(bn.weight)
    bn.bias.requires_grad_(False)
    layer = uan(bn)
    assert layer.mean.dtype == torch.float64
    assert not layer.weight.any()
    assert layer.weight.requires_grad
    assert not layer.bias.requires_grad


@pytest.mark.parametrize("moments", ["batch", "learned"])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("tracks", [True, False])
def test_back_to_a_batch_norm(moments: str, affine: bool, tracks: bool) -> None:
    layer = UAN2d(3, num_clusters=1, moments=moments, affine=affine, track_running_stats=tracks)
    x = torch.randn(8, 3, 4, 4) * 3 + 1
    for _ in range(3):
        layer(x)
    bn, others = to_batch_norm(layer.eval()), x.square()
    assert type(bn) is nn.BatchNorm2d
    assert not bn.training
    torch.testing.assert_close(bn(others), layer(others))
    if moments == "batch":
        torch.testing.assert_close(uan(bn, num_clusters=1).eval()(others), layer(others))


@pytest.mark.parametrize("options", [{"num_clusters": 2}, {"num_clusters": 1, "shrink": 0.5}])
def test_only_one_cluster_goes_back(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="one cluster without shrinkage"):
        to_batch_norm(UAN2d(3, **options))
