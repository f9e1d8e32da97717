import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d

from uan_da.names import NORMS
from uan_da.norms import UAN, UAN1d, UAN2d, UAN3d, convert_norm, domain_context, frozen_statistics
from uan_da.norms.batch_norm import BatchNorm


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.input_norm: nn.Module = nn.Identity()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
        self.body = nn.Sequential(nn.Conv2d(8, 6, 3), nn.BatchNorm2d(6))
        self.head = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Linear(5, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(self.stem(self.input_norm(x))).mean((2, 3)))


def norms(model: nn.Module) -> list[nn.Module]:
    return [module for module in model.modules() if isinstance(module, BatchNorm | UAN)]


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
def test_a_batch_norm_of_every_rank_is_replaced(
    bn: BatchNorm, x: Tensor, kind: type[UAN], seen: Any, relative: Any
) -> None:
    model = nn.Sequential(seen(bn)).eval()
    before = model(x)
    report = convert_norm(model, "uan")
    assert type(model[0]) is kind
    assert not model[0].training
    assert model[0].options.sync == isinstance(bn, nn.SyncBatchNorm)
    assert relative(model(x), before) < 1e-5
    assert str(report).splitlines() == ["1 norm converted", f"  0: {type(bn).__name__} → {kind.__name__}"]


@pytest.mark.parametrize("name", ["uan", "mn", "acn"])
def test_statistics_are_taken_over_where_they_are_frozen(name: str, seen: Any, relative: Any) -> None:
    bn, x = seen(nn.BatchNorm2d(3)).eval(), torch.randn(4, 3, 5, 5)
    model = nn.Sequential(bn)
    with frozen_statistics(bn):
        convert_norm(model, name)
    with domain_context(model, 1):
        assert relative(model(x), bn(x)) < 1e-5


def test_a_fresh_norm_becomes_a_layer_that_starts_from_its_first_batch() -> None:
    model = nn.Sequential(nn.BatchNorm2d(3))
    convert_norm(model, "uan", num_clusters=2)
    assert not model[0].initialized
    model(torch.randn(16, 3, 4, 4) * 2 + 50)
    assert model[0].initialized
    assert (model[0].mean - 50).abs().max() < 10


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


def test_timms_activation_and_dropout_stay(seen: Any, relative: Any) -> None:
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


def test_layers_that_cannot_assign_together_leave_the_model_as_it_was() -> None:
    model = Net()
    before = dict(model.named_modules())

    def factory(bn: BatchNorm) -> nn.Module:
        return UAN(bn.num_features, num_clusters=bn.num_features, depth=2)

    with pytest.raises(ValueError, match="need one num_clusters"):
        convert_norm(model, factory)
    assert dict(model.named_modules()) == before


@pytest.mark.parametrize("where", [None, 3, ["last"]])
def test_a_place_that_is_no_string_is_named(where: object) -> None:
    with pytest.raises(ValueError, match="Expected `where` to be a string, but got"):
        convert_norm(Net(), "uan", where)  # type: ignore[arg-type]
