"""One assignment for all layers, by the evidence that adds up over the first ones."""

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn

from uan_da.norms import UAN, UAN2d, convert_norm


def network(depth: int, clusters: int = 3, sharpness: float = 5.0) -> nn.Sequential:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for a, b in ((3, 4), (4, 5), (5, 6)):
        layers += [nn.Conv2d(a, b, 3), nn.BatchNorm2d(b, eps=1e-3), nn.ReLU()]
    model = nn.Sequential(*layers)
    convert_norm(model, "uan", num_clusters=clusters, depth=depth, sharpness=sharpness)
    for layer in model:
        if isinstance(layer, UAN):
            layer.start_mixture(torch.randn(layer.num_features) * 0.1, torch.rand(layer.num_features) + 0.5)
    return model.eval()


def naive_log_prior(layer: UAN) -> Tensor:
    return (1e-3 / layer.num_clusters + (1 - 1e-3) * layer.prior_logits.double().softmax(0)).log()


def naive_evidence(layer: UAN, x: Tensor) -> Tensor:
    """T times the mean log-likelihood of every activation, in float64."""
    columns = []
    for mean_c, log_var_c in zip(layer.mean.double(), layer.log_var.double(), strict=True):
        mean, var = mean_c[:, None, None], (log_var_c.exp() + layer.eps)[:, None, None]
        columns.append(-0.5 * ((x.double() - mean).square() / var + var.log()).mean((1, 2, 3)))
    return layer.options.sharpness * torch.stack(columns, 1)


@pytest.mark.parametrize("depth", [1, 2, 3, 7])
@torch.no_grad()
def test_evidence_adds_up_over_the_first_layers(depth: int) -> None:
    model, x = network(depth), torch.randn(6, 3, 9, 9)
    layers = [module for module in model if isinstance(module, UAN)]
    for layer in layers:  # distinct running means, so that the output tells τ
        layer.running_mean.copy_(torch.randn_like(layer.running_mean))  # type: ignore[union-attr, arg-type]
    expected, evidence = x, torch.zeros(6, 3, dtype=torch.float64)
    for module in model:
        if not isinstance(module, UAN):
            expected = module(expected)
            continue
        if layers.index(module) < depth:
            evidence = evidence + naive_evidence(module, expected)
        tau = (naive_log_prior(module) + evidence).softmax(1)
        slope_kc = (module.running_var.double() + module.eps).rsqrt()  # type: ignore[union-attr]
        centred = expected.double()[:, None] - module.running_mean.double()[:, :, None, None]  # type: ignore[union-attr]
        expected = (tau[:, :, None, None, None] * centred * slope_kc[:, :, None, None]).sum(1).float()
    torch.testing.assert_close(model(x), expected, atol=1e-4, rtol=1e-4)


def test_conversion_keeps_the_function() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4))
    for _ in range(3):
        model(torch.randn(8, 3, 9, 9) * 2 + 1)
    model.eval()
    x = torch.randn(5, 3, 9, 9)
    before = model(x)
    convert_norm(model, "uan", num_clusters=4, depth=1)
    torch.testing.assert_close(model(x), before, atol=1e-5, rtol=1e-5)


def test_a_copy_and_a_pickle_assign_as_the_original() -> None:
    model, x = network(2), torch.randn(4, 3, 9, 9)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(twin(x), model(x))
        assert twin[1].place.depth is twin[4].place.depth is not model[1].place.depth


def test_gradients_reach_the_evidence_of_the_first_layer() -> None:
    model = network(2).train()
    model(torch.randn(8, 3, 9, 9))
    model(torch.randn(8, 3, 9, 9)).square().sum().backward()
    assert model[1].mean.grad is not None
    assert model[1].mean.grad.abs().sum() > 0
    assert model[7].mean.grad is None or not model[7].mean.grad.any()  # its clusters have no say in τ


def test_responsibilities_of_a_layer_in_the_middle_look_and_leave_no_trace() -> None:
    model, x = network(2), torch.randn(4, 3, 9, 9)
    taus: list[Tensor] = []
    hook = model[4].register_forward_pre_hook(lambda m, inputs: taus.append(m.responsibilities(inputs[0])))
    y = model(x)
    hook.remove()
    assert torch.equal(model(x), y)
    assert taus[0].shape == (4, 3)


def test_a_layer_alone_says_what_it_lacks() -> None:
    model = network(2)
    with pytest.raises(RuntimeError, match="layer 2 of 3 assigns by the evidence"):
        model[4](torch.randn(4, 5, 5, 5))


def test_element_assignment_has_no_depth() -> None:
    with pytest.raises(ValueError, match="depth"):
        UAN2d(4, assignment="element", depth=1)
    with pytest.raises(ValueError, match="depth"):
        UAN2d(4, depth=-1)
