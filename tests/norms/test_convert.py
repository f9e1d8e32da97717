import copy
import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune
from torchvision.ops import FrozenBatchNorm2d

from uan_da.errors import UserError
from uan_da.names import NORMS
from uan_da.norms import UAN, UAN1d, UAN2d, UAN3d, convert_norm, domain_context, to_batch_norm
from uan_da.norms.batch_norm import BatchNorm
from uan_da.norms.uan.conversion import uan

OPTIONS = [
    {"num_clusters": k, "assignment": assignment, "scale": scale}
    for k, assignment, scale in itertools.product((1, 2, 3), ("sample", "element"), ("none", "prior", "unit"))
]


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.input_norm: nn.Module = nn.Identity()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
        self.body = nn.Sequential(nn.Conv2d(8, 6, 3), nn.BatchNorm2d(6))
        self.head = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Linear(5, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(self.stem(self.input_norm(x))).mean((2, 3)))


def seen(bn: BatchNorm) -> BatchNorm:
    """A BatchNorm as after a training: nothing at its initial value."""
    with torch.no_grad():
        for parameter in bn.parameters():
            parameter.normal_(1.0, 0.5)
        bn.running_mean.normal_(0.0, 3.0)
        bn.running_var.uniform_(0.1, 9.0)
        bn.num_batches_tracked.fill_(7)
    return bn


def norms(model: nn.Module) -> list[nn.Module]:
    return [module for module in model.modules() if isinstance(module, BatchNorm | UAN)]


def relative(a: Tensor, b: Tensor) -> float:
    return ((a - b).abs().max() / b.abs().max()).item()


@pytest.mark.parametrize(
    ("bn", "x", "kind"),
    [
        (nn.BatchNorm1d(3), torch.randn(4, 3), UAN1d),
        (nn.BatchNorm1d(3), torch.randn(4, 3, 5), UAN1d),
        (nn.BatchNorm2d(3), torch.randn(4, 3, 5, 5), UAN2d),
        (nn.BatchNorm3d(3), torch.randn(4, 3, 2, 5, 5), UAN3d),
        (nn.SyncBatchNorm(3), torch.randn(4, 3, 5, 5), UAN),
    ],
)
def test_a_batch_norm_of_every_rank_is_replaced(bn: BatchNorm, x: Tensor, kind: type[UAN]) -> None:
    model = nn.Sequential(seen(bn)).eval()
    before = model(x)
    report = convert_norm(model, "uan")
    assert type(model[0]) is kind
    assert not model[0].training
    assert model[0].options.sync == isinstance(bn, nn.SyncBatchNorm)
    assert relative(model(x), before) < 1e-5
    assert str(report).splitlines() == ["1 norm converted", f"  0: {type(bn).__name__} → {kind.__name__}"]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_conversion_keeps_the_function_of_a_norm_that_has_seen_data(options: dict[str, object]) -> None:
    bn = seen(nn.BatchNorm2d(6)).eval()
    x = torch.randn(8, 6, 5, 5) * 4 + 2
    layer = uan(bn, em_rate=0.0, **options).eval()
    assert relative(layer(x), bn(x)) < 1e-5
    clusters = layer.mean.detach().clone()
    assert len(clusters.unique(dim=0)) == options["num_clusters"]
    layer.train()
    layer(x)
    torch.testing.assert_close(layer.mean.detach(), clusters)  # the first batch did not start them again


@pytest.mark.parametrize(
    "bn", [nn.BatchNorm2d(4, affine=False), seen(nn.BatchNorm2d(4, affine=False))], ids=["fresh", "seen"]
)
def test_what_a_norm_without_affine_lacked_is_not_trained(bn: BatchNorm) -> None:
    x = torch.randn(8, 4, 3, 3)
    layer = uan(bn, scale="prior", assignment="element")
    trained = {name for name, parameter in layer.named_parameters() if parameter.requires_grad}
    assert trained == {"mean", "log_var", "prior_logits"}
    if bn.num_batches_tracked:
        assert relative(layer.eval()(x), bn.eval()(x)) < 1e-5


def test_a_fresh_norm_becomes_a_layer_that_starts_from_its_first_batch() -> None:
    model = nn.Sequential(nn.BatchNorm2d(3))
    convert_norm(model, "uan", num_clusters=2)
    assert not model[0].initialized
    model(torch.randn(16, 3, 4, 4) * 2 + 50)
    assert model[0].initialized
    assert (model[0].mean - 50).abs().max() < 10


def test_statistics_without_a_count_of_batches_are_kept() -> None:
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
def test_back_to_a_batch_norm(moments: str, affine: bool) -> None:
    layer = UAN2d(3, num_clusters=1, moments=moments, affine=affine)
    x = torch.randn(8, 3, 4, 4) * 3 + 1
    for _ in range(3):
        layer(x)
    bn = to_batch_norm(layer.eval())
    assert type(bn) is nn.BatchNorm2d
    assert not bn.training
    torch.testing.assert_close(bn(x), layer(x))
    if moments == "batch":
        torch.testing.assert_close(uan(bn, num_clusters=1).eval()(x), layer(x))


@pytest.mark.parametrize("options", [{"num_clusters": 2}, {"num_clusters": 1, "shrink": 0.5}])
def test_only_one_cluster_goes_back(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="one cluster without shrinkage"):
        to_batch_norm(UAN2d(3, **options))


@pytest.mark.parametrize(
    ("where", "paths"),
    [
        ("all", ["stem.1", "body.1", "head.1"]),
        ("first", ["stem.1"]),
        ("last", ["head.1"]),
        (r"re:^(stem|head)\.", ["stem.1", "head.1"]),
    ],
)
def test_where(where: str, paths: list[str]) -> None:
    model = Net()
    report = convert_norm(model, "uan", where)
    assert [layer.path for layer in report.replacements] == paths
    assert [path for path, module in model.named_modules() if isinstance(module, UAN)] == paths
    model(torch.randn(4, 3, 9, 9)).sum().backward()


def test_a_norm_in_front_of_the_input() -> None:
    model = Net()
    assert len(convert_norm(model, "uan", "input", num_clusters=3)) == 1
    assert isinstance(model.input_norm, UAN2d)
    assert model.input_norm.num_features == 3
    assert len([module for module in model.modules() if isinstance(module, BatchNorm)]) == 3
    model(torch.randn(4, 3, 9, 9)).sum().backward()
    with pytest.raises(ValueError, match=r"`input_norm`.*Sequential has none"):
        convert_norm(nn.Sequential(nn.Conv2d(3, 4, 3)), "uan", "input")


def test_a_layer_at_two_places_stays_one_layer() -> None:
    shared = nn.BatchNorm1d(3)
    model = nn.Sequential(nn.Linear(3, 3), shared, nn.Linear(3, 3), shared)
    report = convert_norm(model, "uan", "first")
    assert model[1] is model[3]
    assert isinstance(model[1], UAN1d)
    assert len(report) == 2


def test_a_pattern_that_finds_one_path_of_a_layer_converts_it_at_all() -> None:
    shared = nn.BatchNorm1d(3)
    model = nn.Sequential(shared, nn.Linear(3, 3), shared)
    assert len(convert_norm(model, "uan", "re:^2$")) == 2
    assert model[0] is model[2]


@pytest.mark.parametrize("name", [name for name in NORMS.targets if name not in ("bn", "transnorm")])
def test_a_norm_without_tensors_takes_device_and_type_of_the_model(name: str) -> None:
    bn = nn.BatchNorm2d(4, affine=False, track_running_stats=False)
    model = nn.Sequential(nn.Conv2d(3, 4, 1, device="meta", dtype=torch.float64), bn)
    convert_norm(model, name)
    values = model.state_dict().values()
    assert all(value.is_meta for value in values)
    assert {value.dtype for value in values if value.is_floating_point()} == {torch.float64}


def test_timms_activation_and_dropout_stay() -> None:
    act = pytest.importorskip("timm.layers").BatchNormAct2d(4, act_layer=nn.Sigmoid, inplace=False)
    act.drop = nn.Dropout(0.5)
    model = nn.Sequential(seen(act)).eval()
    original = copy.deepcopy(model)
    x = torch.randn(8, 4, 3, 3)
    convert_norm(model, "bn")
    assert model[0] is act
    convert_norm(model, "uan")
    assert relative(model(x), original(x)) < 1e-5
    assert not any(module.training for module in model.modules())
    assert not torch.equal(model.train()(x), model.train()(x))  # the dropout


def test_timms_layers_assign_together_too() -> None:
    act = pytest.importorskip("timm.layers").BatchNormAct2d
    model = nn.Sequential(act(4), nn.BatchNorm2d(4), act(4))
    convert_norm(model, "uan", depth=1)
    places = [layer.place for layer in model.modules() if isinstance(layer, UAN)]
    assert [place and (place.number, place.depth.layers) for place in places] == [(0, 3), (1, 3), (2, 3)]


class Activated(nn.BatchNorm2d):
    """With an activation inside, as many have."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).relu()


class Named(nn.BatchNorm2d):
    """With a constructor of its own, and torch's forward."""

    def __init__(self) -> None:
        super().__init__(4)


def patched() -> nn.BatchNorm2d:
    bn = nn.BatchNorm2d(4)
    bn.forward = lambda x: x
    return bn


def pruned() -> nn.BatchNorm2d:
    return prune.l1_unstructured(nn.BatchNorm2d(4), "weight", 0.5)


def parametrized() -> nn.BatchNorm2d:
    bn = nn.BatchNorm2d(4)
    parametrize.register_parametrization(bn, "bias", nn.Softplus())
    return bn


@pytest.mark.parametrize("name", [name for name in NORMS.targets if name != "bn"])
@pytest.mark.parametrize(
    ("bn", "message"),
    [
        (Activated(4), "1 is a Activated, whose own forward would be lost.*where="),
        (patched(), "1 is a BatchNorm2d, whose own forward"),
        (pruned(), "1 computes its weight"),
        (parametrized(), "1 computes its bias"),
        (nn.LazyBatchNorm2d(affine=False, track_running_stats=False), "1 is lazy"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_would_be_lost_is_refused_and_the_model_stays(name: str, bn: BatchNorm, message: str) -> None:
    first = nn.BatchNorm2d(4)
    first.register_forward_hook(lambda *_: None)
    model = nn.Sequential(first, bn)
    with pytest.raises(ValueError, match=message):
        convert_norm(model, name)
    assert list(model) == [first, bn]
    assert first._forward_hooks


def test_a_subclass_with_the_forward_of_torch_is_converted_and_bn_keeps_any() -> None:
    model = nn.Sequential(Named())
    convert_norm(model, "uan")
    assert type(model[0]) is UAN2d
    model = nn.Sequential(own := Activated(4))
    convert_norm(model, "bn")
    assert model[0] is own


def test_a_materialised_lazy_norm_is_converted() -> None:
    model = nn.Sequential(nn.LazyBatchNorm2d())
    model(torch.randn(4, 3, 2, 2))
    convert_norm(model, "uan")
    assert model[0].num_features == 3
    assert model[0].initialized


def test_frozen_batch_norms_and_norms_of_other_kinds_stay_and_are_reported() -> None:
    frozen = FrozenBatchNorm2d(4)
    model = nn.Sequential(nn.BatchNorm2d(4), frozen, nn.GroupNorm(2, 4))
    report = convert_norm(model, "dsbn")
    assert model[1] is frozen
    assert report.kept == (("1", "FrozenBatchNorm2d"), ("2", "GroupNorm"))
    assert str(report).splitlines()[-1] == "left as they are: 1 FrozenBatchNorm2d, 1 GroupNorm"
    with pytest.raises(ValueError, match="1 FrozenBatchNorm2d"):
        convert_norm(nn.Sequential(frozen), "uan")


@pytest.mark.parametrize("name", ["dsbn", "cn", "transnorm"])
def test_the_branches_of_a_norm_are_not_converted_on_their_own(name: str) -> None:
    model = nn.Sequential(nn.BatchNorm2d(4))
    convert_norm(model, name)
    with pytest.raises(ValueError, match="no BatchNorm to convert"):
        convert_norm(model, "uan")


@pytest.mark.parametrize("name", NORMS.targets)
def test_hooks_of_every_kind_run_once_at_the_new_layer(name: str) -> None:
    calls: list[str] = []
    bn = nn.BatchNorm2d(4)

    def note(kind: str) -> Callable[..., None]:
        return lambda *args, **kwargs: calls.append(kind)

    handles = [
        bn.register_forward_pre_hook(note("pre"), with_kwargs=True),
        bn.register_forward_hook(note("post"), with_kwargs=True, always_call=True),
        bn.register_full_backward_pre_hook(note("backward pre")),
        bn.register_full_backward_hook(note("backward")),
        bn.register_state_dict_pre_hook(note("save pre")),
        bn.register_state_dict_post_hook(note("save")),
        bn.register_load_state_dict_pre_hook(note("load pre")),
        bn.register_load_state_dict_post_hook(note("load")),
    ]
    model = nn.Sequential(nn.Conv2d(3, 4, 1), bn)
    convert_norm(model, name)
    with domain_context(model, torch.tensor([0, 0, 1, 1])):
        model(torch.randn(4, 3, 2, 2)).sum().backward()
    model.load_state_dict(model.state_dict())
    assert calls == ["pre", "post", "backward pre", "backward", "save pre", "save", "load pre", "load"]
    for handle in handles:
        handle.remove()
    model.load_state_dict(model.state_dict())
    assert len(calls) == 8


@pytest.mark.parametrize("name", [name for name in NORMS.targets if name != "bn"])
def test_a_frozen_norm_stays_frozen(name: str) -> None:
    model = nn.Sequential(nn.BatchNorm2d(4).requires_grad_(False).eval(), nn.BatchNorm2d(4))
    convert_norm(model, name)
    assert not any(parameter.requires_grad for parameter in model[0].parameters())
    assert all(parameter.requires_grad for parameter in model[1].parameters())
    assert not any(module.training for module in model[0].modules())
    assert all(module.training for module in model[1].modules())


def test_own_norms_are_given_as_a_function_or_by_their_path() -> None:
    model = Net()
    convert_norm(model, lambda bn, *, groups: nn.GroupNorm(groups, bn.num_features), "first", groups=2)
    assert isinstance(model.stem[1], nn.GroupNorm)
    convert_norm(model, "uan_da.norms.uan.conversion:uan", "last", num_clusters=3)
    assert model.head[1].num_clusters == 3


@pytest.mark.parametrize(
    ("model", "arguments", "error", "message"),
    [
        (
            nn.Sequential(nn.Linear(2, 2)),
            ("uan",),
            ValueError,
            "no BatchNorm to convert: the model has no norm",
        ),
        (nn.Sequential(nn.GroupNorm(1, 2)), ("uan",), ValueError, "norms are 1 GroupNorm"),
        (nn.BatchNorm2d(2), ("uan",), ValueError, "the model itself is one"),
        (Net(), ("uan", "middle"), ValueError, "'first', 'last', 'input' or 're:PATTERN', but got 'middle'"),
        (Net(), ("uan", "re:layer4"), ValueError, r"none of the BatchNorms: stem\.1, body\.1, head\.1"),
        (Net(), ("uan", "re:("), ValueError, "not a regular expression"),
        (Net(), ("uam",), UserError, "did you mean 'uan'"),
    ],
)
def test_errors(model: nn.Module, arguments: tuple[str, ...], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        convert_norm(model, *arguments)
