"""What a layer computes: outputs, gradients and running statistics, for every combination of options."""

import copy
import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from uan_da.norms import UAN, UAN1d, UAN2d, UAN3d, frozen_statistics
from uan_da.norms.uan.clusters import PRIOR_FLOOR

SHAPES = {UAN1d: (6, 4), UAN2d: (6, 4, 3, 2), UAN3d: (6, 4, 2, 3, 2)}
ASSIGNMENTS = ["sample", "element"]


def combinations(clusters: tuple[int, ...]) -> list[dict[str, Any]]:
    """Every combination of the options that shape the maths."""
    kinds = [
        {"assignment": "element"},
        {"sharpness": 3.0},
        {"sharpness": 3.0, "shrink": 0.4, "learn_shrink": False},
        {"sharpness": 3.0, "shrink": 0.6, "shrink_groups": 2},
    ]
    product = itertools.product(clusters, ("batch", "learned"), ("none", "prior", "unit"), kinds)
    return [{"num_clusters": k, "moments": moments, "scale": scale} | kind for k, moments, scale, kind in product]


def ready(layer: UAN, x: Tensor) -> UAN:
    """``layer`` as in the middle of a training: clusters apart, nothing at its initial value."""
    layer(x)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        if layer.running_mean is not None:
            layer.running_mean.add_(0.3 * torch.randn_like(layer.running_mean))
            layer.running_var.mul_(torch.rand_like(layer.running_var) + 0.5)
    return layer


def batch_norm_of(layer: UAN) -> nn.BatchNorm2d:
    kinds = {UAN1d: nn.BatchNorm1d, UAN2d: nn.BatchNorm2d, UAN3d: nn.BatchNorm3d}
    return kinds[type(layer)](layer.num_features, layer.eps, layer.momentum, layer.affine)


@pytest.mark.parametrize("assignment", ASSIGNMENTS)
@pytest.mark.parametrize("kind", [UAN1d, UAN2d, UAN3d])
@pytest.mark.parametrize(("momentum", "affine"), [(0.1, True), (None, True), (0.3, False)])
def test_one_cluster_is_batch_norm(kind: type[UAN], assignment: str, momentum: float | None, affine: bool) -> None:
    """Outputs, gradients and running statistics, in training and in evaluation."""
    layer = kind(4, 1e-3, momentum, affine, num_clusters=1, assignment=assignment)
    bn = batch_norm_of(layer)
    if affine:
        with torch.no_grad():
            bn.weight.normal_()
            bn.bias.normal_()
            layer.weight.copy_(bn.weight)
            layer.bias.copy_(bn.bias)
    for step in range(4):
        if step == 3:
            bn.eval()
            layer.eval()
        x = torch.randn(SHAPES[kind]) * (step + 1) + step * 10
        inputs = [x.clone().requires_grad_() for _ in range(2)]
        outputs = [norm(x) for norm, x in zip((bn, layer), inputs, strict=True)]
        torch.testing.assert_close(outputs[1], outputs[0], atol=1e-5, rtol=1e-5)
        weight = torch.randn_like(x)
        for output in outputs:
            (output * weight).sum().backward()
        torch.testing.assert_close(inputs[1].grad, inputs[0].grad, atol=1e-5, rtol=1e-4)
    for name, parameter in bn.named_parameters():
        torch.testing.assert_close(dict(layer.named_parameters())[name].grad, parameter.grad, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(layer.running_mean[0], bn.running_mean)
    torch.testing.assert_close(layer.running_var[0], bn.running_var, rtol=2e-5, atol=1e-5)
    assert layer.num_batches_tracked == bn.num_batches_tracked


def paper(layer: UAN, x: Tensor) -> Tensor:
    """The formula of the paper, value by value, in training with batch moments."""
    mean, var, prior = layer.mean, layer.log_var.exp(), layer.prior_logits.softmax(0)
    prior = PRIOR_FLOOR / layer.num_clusters + (1 - PRIOR_FLOOR) * prior
    y = torch.zeros_like(x)
    for c in range(x.shape[1]):
        values = x[:, c].flatten()
        densities = [
            torch.distributions.Normal(mean[k, c], (var[k, c] + layer.eps).sqrt()).log_prob(values).exp()
            for k in range(layer.num_clusters)
        ]
        joint = prior[:, None] * torch.stack(densities)
        tau = joint / joint.sum(0)
        total = torch.zeros_like(values)
        for k in range(layer.num_clusters):
            share = tau[k] / tau[k].sum()
            m = (share * values).sum()
            v = (share * (values - m).square()).sum()
            total = total + tau[k] / prior[k].sqrt() * (values - m) / (v + layer.eps).sqrt()
        y[:, c] = (layer.weight[c] * total + layer.bias[c]).reshape(y[:, c].shape)
    return y


def test_element_assignment_is_the_formula_of_the_paper() -> None:
    x = torch.randn(6, 4, 3, 2, dtype=torch.float64) * 2 + 3
    layer = ready(UAN2d(4, num_clusters=3, assignment="element", scale="prior", dtype=torch.float64), x)
    with frozen_statistics(layer), torch.no_grad():
        torch.testing.assert_close(layer(x), paper(layer, x))


def test_sample_assignment_is_a_mixture_of_batch_norms_over_weighted_samples() -> None:
    x = torch.randn(6, 4, 3, 2, dtype=torch.float64) * 2 + 3
    layer = ready(UAN2d(4, num_clusters=2, sharpness=2.0, scale="unit", dtype=torch.float64), x)
    tau = layer.responsibilities(x)
    prior = PRIOR_FLOOR / 2 + (1 - PRIOR_FLOOR) * layer.prior_logits.softmax(0)
    expected = torch.zeros_like(x)
    for k in range(2):
        weight = tau[:, k, None, None, None].expand_as(x)
        mean = (weight * x).sum((0, 2, 3), keepdim=True) / weight.sum((0, 2, 3), keepdim=True)
        var = (weight * (x - mean) ** 2).sum((0, 2, 3), keepdim=True) / weight.sum((0, 2, 3), keepdim=True)
        expected += weight / (2 * prior[k]).sqrt() * (x - mean) / (var + layer.eps).sqrt()
    expected = expected * layer.weight[:, None, None] + layer.bias[:, None, None]
    with frozen_statistics(layer), torch.no_grad():
        torch.testing.assert_close(layer(x), expected)


def test_shrinkage_mixes_in_the_moments_of_the_samples_channel_groups() -> None:
    """With one cluster: BatchNorm's moments and GroupNorm's, in the proportion 1 − ρ to ρ."""
    x = torch.randn(6, 4, 3, 2, dtype=torch.float64) * 2 + 3
    layer = UAN2d(4, num_clusters=1, shrink=0.3, shrink_groups=2, dtype=torch.float64)
    groups = x.reshape(6, 2, -1)
    own_mean = groups.mean(2).repeat_interleave(2, 1)[:, :, None, None]
    own_var = groups.var(2, correction=0).repeat_interleave(2, 1)[:, :, None, None]
    mean = 0.7 * x.mean((0, 2, 3), keepdim=True) + 0.3 * own_mean
    var = 0.7 * x.var((0, 2, 3), correction=0, keepdim=True) + 0.3 * own_var
    torch.testing.assert_close(layer(x), (x - mean) / (var + layer.eps).sqrt())
    assert layer.shrink_logit.shape == (4,)
    assert UAN2d(4, shrink=0.3, learn_shrink=False).shrink_logit is None


def test_full_shrinkage_is_nearly_group_norm() -> None:
    x = torch.randn(6, 16, 3, 2) * 2 + 3
    layer = UAN2d(16, shrink=1 - 1e-6, learn_shrink=False)
    torch.testing.assert_close(layer(x), nn.GroupNorm(8, 16)(x), atol=1e-3, rtol=1e-3)


def gradcheck(options: dict[str, Any], training: bool, backend: str = "auto") -> bool:
    x = torch.randn(4, 4, 2, dtype=torch.float64) * 2 + 1
    layer = ready(UAN1d(4, dtype=torch.float64, backend=backend, **options), x).train(training)
    names = [name for name, _ in layer.named_parameters()]

    def function(x: Tensor, *values: Tensor) -> Tensor:
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (x,))

    values = [parameter.detach().clone().requires_grad_() for parameter in layer.parameters()]
    with frozen_statistics(layer):
        return torch.autograd.gradcheck(function, (x.requires_grad_(), *values))


@pytest.mark.parametrize("options", combinations((1, 2, 3)), ids=str)
def test_gradients(options: dict[str, Any]) -> None:
    """Of single elements those of the formulas: each number of clusters has kernels of its own, which take seconds to
    compile, and whose gradients kernels/test_derivatives.py checks."""
    backend = "reference" if options.get("assignment") == "element" else "auto"
    assert gradcheck(options, True, backend)


@pytest.mark.slow
@pytest.mark.parametrize("options", combinations((4, 5)), ids=str)
def test_gradients_of_many_clusters(options: dict[str, Any]) -> None:
    assert gradcheck(options, training=True)


@pytest.mark.parametrize("options", combinations((2,)), ids=str)
def test_gradients_in_evaluation(options: dict[str, Any]) -> None:
    assert gradcheck(options, training=False)


@pytest.mark.parametrize("options", combinations((3,)), ids=str)
@pytest.mark.parametrize("training", [True, False])
def test_the_order_of_the_clusters_changes_nothing(options: dict[str, Any], training: bool) -> None:
    x = torch.randn(6, 4, 3, dtype=torch.float64)
    layer = ready(UAN1d(4, dtype=torch.float64, **options), x).train(training)
    other = copy.deepcopy(layer)
    order = torch.tensor([2, 0, 1])
    for name, value in other.state_dict().items():
        if value.dim() and value.shape[0] == 3:
            other.state_dict()[name].copy_(value[order])
    torch.testing.assert_close(other(x), layer(x))
    torch.testing.assert_close(other.running_mean, layer.running_mean[order])
    torch.testing.assert_close(other.mean, layer.mean[order])


@pytest.mark.parametrize("assignment", ASSIGNMENTS)
def test_the_variance_of_the_output(assignment: str) -> None:
    """1/√λ multiplies it by about K, the other scales leave it at 1."""
    x = torch.cat([torch.randn(64, 4, 8) - 20, torch.randn(64, 4, 8) * 3 + 20])
    for scale, expected in (("none", 1.0), ("unit", 1.0), ("prior", 2.0)):
        layer = UAN1d(4, num_clusters=2, assignment=assignment, scale=scale)
        for _ in range(150):
            y = layer(x)
        assert y.var().item() == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("options", combinations((2,)), ids=str)
def test_two_forwards_before_one_backward(options: dict[str, Any]) -> None:
    """The EM step of the second forward edits no tensor that the first one's backward needs: its gradient is that
    of a layer that saw one forward."""
    layer = ready(UAN1d(4, **options), torch.randn(6, 4, 3))
    alone = copy.deepcopy(layer)
    x, other = torch.randn(6, 4, 3), torch.randn(6, 4, 3) + 2
    y = layer(x)
    layer(other)
    y.square().sum().backward()
    alone(x).square().sum().backward()
    for (name, parameter), twin in zip(layer.named_parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, twin.grad, msg=name)


@pytest.mark.parametrize("options", [options for options in combinations((1, 3)) if "shrink" not in options], ids=str)
def test_a_layer_without_data_is_the_identity_up_to_its_affine_in_evaluation(options: dict[str, Any]) -> None:
    """The paper's scale multiplies by √K."""
    layer = UAN1d(4, **options).eval()
    x = torch.randn(6, 4, 3) * 5
    gain = options["num_clusters"] ** 0.5 if options["scale"] == "prior" else 1.0
    torch.testing.assert_close(layer(x), gain * x, rtol=1e-5, atol=0)


@pytest.mark.parametrize("options", combinations((3,)), ids=str)
def test_ugly_inputs(options: dict[str, Any]) -> None:
    """Constant channels, a cluster far from all data, equal samples, an empty batch: nothing is ever NaN."""
    x = torch.randn(6, 4, 3)
    layer = ready(UAN1d(4, **options), x)
    with torch.no_grad():
        layer.mean[0] = 1e6  # dead
    for batch in (x, torch.zeros(6, 4, 3), torch.full((6, 4, 3), 5.0), x[:1].expand(6, 4, 3), x[:0], x * 1e-30, x):
        batch = batch.clone().requires_grad_()
        y = layer(batch)
        y.square().sum().backward()
        assert y.isfinite().all()
        assert batch.grad.isfinite().all()
        assert all(parameter.grad.isfinite().all() for parameter in layer.parameters())
        assert all(value.isfinite().all() for value in layer.state_dict().values())
        assert layer.responsibilities(batch.detach()).isfinite().all()
    assert layer.eval()(x).isfinite().all()
