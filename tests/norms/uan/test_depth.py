"""One assignment for all layers, by the evidence that adds up over the first ones."""

import copy
import pickle
import threading
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from uan_da.norms import UAN, UAN2d, convert_norm
from uan_da.norms.uan.kernels import ops
from uan_da.norms.uan.options import Assignment, Backend
from uan_da.recipe.blocks import NormBlock


def network(depth: int, clusters: int = 3, sharpness: float = 5.0, backend: Backend = "auto") -> nn.Sequential:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for a, b in ((3, 4), (4, 5), (5, 6)):
        layers += [nn.Conv2d(a, b, 3), nn.BatchNorm2d(b, eps=1e-3), nn.ReLU()]
    model = nn.Sequential(*layers)
    convert_norm(model, "uan", num_clusters=clusters, depth=depth, sharpness=sharpness, backend=backend)
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


@pytest.mark.parametrize("backend", ["reference", "auto"])
def test_gradients_reach_the_evidence_of_the_first_layer(backend: Backend) -> None:
    model = network(2, backend=backend).train()
    model(torch.randn(8, 3, 9, 9))
    model(torch.randn(8, 3, 9, 9)).square().sum().backward()
    assert model[1].mean.grad is not None
    assert model[1].mean.grad.abs().sum() > 0
    assert model[7].mean.grad is None or not model[7].mean.grad.any()  # its clusters have no say in τ


def test_the_operator_serves_each_layer_with_the_evidence_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    model, calls, train = network(2).train(), [], ops.train

    def spy(*inputs: Any) -> Any:
        calls.append((inputs[2] is not None, inputs[-1].sharpness))
        return train(*inputs)

    monkeypatch.setattr(ops, "train", spy)
    model(torch.randn(8, 3, 9, 9))
    assert calls == [(False, 5.0), (True, 5.0), (True, 0.0)]


def test_responsibilities_of_a_layer_in_the_middle_look_and_leave_no_trace() -> None:
    model, x = network(2), torch.randn(4, 3, 9, 9)
    taus: list[Tensor] = []
    hook = model[4].register_forward_pre_hook(lambda m, inputs: taus.append(m.responsibilities(inputs[0])))
    y = model(x)
    hook.remove()
    assert torch.equal(model(x), y)
    assert taus[0].shape == (4, 3)


class InOrder(nn.Module):
    """Three norms, defined as a, b, c, that run in the order of a text."""

    def __init__(self, order: str, depth: int = 2) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.order, self.norms = order, nn.ModuleDict({name: nn.BatchNorm2d(4) for name in "abc"})
        convert_norm(self, "uan", num_clusters=3, depth=depth, sharpness=5.0)
        for layer in self.norms.values():
            layer.start_mixture(torch.randn(4) * 0.1, torch.rand(4) + 0.5)  # type: ignore[operator]

    def forward(self, x: Tensor) -> Tensor:
        for name in self.order:
            x = self.norms[name](x).tanh() + x
        return x


@pytest.mark.parametrize(
    ("order", "evidence"),
    [
        ("abc", "a ab ab"),
        ("ac", "a a"),  # a layer is skipped
        ("bac", "b a a"),  # one runs before the first
        ("acb", "a a ab"),  # the last one runs in the middle, as an auxiliary head does
        ("abbc", "a ab b ab"),  # one runs twice
        ("abcabc", "a ab ab a ab ab"),  # two forwards
        ("bc", "b c"),  # a part of the model
    ],
)
@torch.no_grad()
def test_a_layer_without_the_evidence_of_the_first_assigns_by_itself(order: str, evidence: str) -> None:
    model = InOrder("abc").eval()
    model(torch.randn(5, 4, 6, 6))  # as many images of another batch
    seen: list[tuple[str, Tensor, Tensor]] = []
    for name, layer in model.norms.items():
        layer.register_forward_pre_hook(
            lambda layer, inputs, name=name: seen.append((name, inputs[0], layer.responsibilities(inputs[0])))
        )
    model.order = order
    model(torch.randn(5, 4, 6, 6))
    shared: dict[str, Tensor] = {}
    for (name, x, tau), parts in zip(seen, evidence.split(), strict=True):
        layer = model.norms[name]
        assert isinstance(layer, UAN)
        own = naive_evidence(layer, x)
        shared = {name: own} if name == "a" else {name: own, **shared}
        expected = naive_log_prior(layer) + sum(own if part == name else shared[part] for part in parts)
        torch.testing.assert_close(tau.double(), expected.softmax(1), atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_a_layer_on_another_number_of_samples_assigns_by_itself_and_the_others_together() -> None:
    model, x, regions = InOrder("abc").eval(), torch.randn(5, 4, 6, 6), torch.randn(7, 4, 6, 6)
    expected, alone = model(x), InOrder("b", depth=0).eval()(regions)
    found: list[Tensor] = []
    handle = model.norms["a"].register_forward_hook(lambda *_: found.append(model.norms["b"](regions).tanh() + regions))
    torch.testing.assert_close(model(x), expected)
    handle.remove()
    torch.testing.assert_close(found[0], alone)


@torch.no_grad()
def test_a_replica_in_another_thread_gathers_its_own_evidence() -> None:
    """As in ``DataParallel``, whose replicas share what is no module, parameter or buffer."""
    model, x, other = InOrder("abc").eval(), torch.randn(5, 4, 6, 6), torch.randn(5, 4, 6, 6)
    expected, found = (model(x), model(other)), []
    replica = model._replicate_for_data_parallel()  # type: ignore[no-untyped-call]
    thread = threading.Thread(target=lambda: found.append(replica(other)))

    def run_beside(*_: object) -> None:
        handle.remove()
        thread.start()
        thread.join()

    handle = model.norms["a"].register_forward_hook(run_beside)
    torch.testing.assert_close((model(x), *found), expected)


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_activation_checkpointing_of_the_whole_network(use_reentrant: bool) -> None:
    gradients = []
    for call in (lambda model, x: model(x), lambda model, x: checkpoint(model, x, use_reentrant=use_reentrant)):
        model, x = InOrder("abc"), torch.randn(5, 4, 6, 6, requires_grad=True)
        call(model, x).square().sum().backward()  # type: ignore[no-untyped-call]
        gradients.append([x.grad, *(parameter.grad for parameter in model.parameters())])
        torch.manual_seed(0)
    assert gradients[0][1] is not None
    torch.testing.assert_close(*gradients)


def test_activation_checkpointing_of_a_part_says_what_it_lacks() -> None:
    model = network(2).train()
    y = checkpoint(model[3:], model[:3](torch.randn(5, 3, 9, 9)), use_reentrant=False)
    with pytest.raises(RuntimeError, match=r"layer \d of 3 .* checkpoint the whole network, or convert with depth=0"):
        y.square().sum().backward()


def test_one_layer_and_one_cluster_have_none_to_join() -> None:
    for where, clusters in (("first", 8), ("all", 1)):
        model = nn.Sequential(nn.BatchNorm2d(2), nn.BatchNorm2d(2))
        convert_norm(model, "uan", where, num_clusters=clusters)
        assert all(layer.place is None for layer in model if isinstance(layer, UAN))


def test_weights_of_another_number_of_clusters_name_it() -> None:
    saved = nn.Sequential(UAN2d(4, num_clusters=2)).state_dict()
    with pytest.raises(RuntimeError, match=r"0: the weights are of num_clusters=2, the layer has num_clusters=8"):
        nn.Sequential(UAN2d(4)).load_state_dict(saved)


@pytest.mark.parametrize(("assignment", "defaults"), [("sample", (8, 2)), ("element", (2, 0))])
def test_the_assignment_decides_the_defaults(assignment: Assignment, defaults: tuple[int, int]) -> None:
    options = UAN2d(4, assignment=assignment).options
    assert (options.num_clusters, options.depth) == defaults
    block = NormBlock.parse({"name": "uan", "assignment": assignment, "depth": None})
    assert (block.options["num_clusters"], block.options["depth"]) == defaults  # spelled out, as a run keeps them
    assert NormBlock.parse({"name": "uan", "num_clusters": 3}).options["depth"] == 2


def test_element_assignment_has_no_depth() -> None:
    with pytest.raises(ValueError, match="depth"):
        UAN2d(4, assignment="element", depth=1)
    with pytest.raises(ValueError, match="depth"):
        UAN2d(4, depth=-1)
