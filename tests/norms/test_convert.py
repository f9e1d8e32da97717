import copy
import itertools

import pytest
import torch
from torch import Tensor, nn

from uan_da.errors import UserError
from uan_da.norms import UAN, UAN1d, UAN2d, UAN3d, convert_norm, to_batch_norm
from uan_da.norms.batch import BatchNorm
from uan_da.norms.uan_conversion import uan

OPTIONS = [
    {"num_clusters": k, "assignment": assignment, "scale": scale}
    for k, assignment, scale in itertools.product((1, 2, 5), ("sample", "element"), ("none", "prior", "unit"))
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
    assert model[0].sync == isinstance(bn, nn.SyncBatchNorm)
    assert relative(model(x), before) < 1e-5
    assert str(report).splitlines() == ["1 norm converted", f"  0: {type(bn).__name__} → {kind.__name__}"]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_conversion_keeps_the_function_of_a_norm_that_has_seen_data(options: dict[str, object]) -> None:
    bn = seen(nn.BatchNorm2d(6)).eval()
    x = torch.randn(8, 6, 5, 5) * 4 + 2
    layer = uan(bn, **options).eval()
    assert relative(layer(x), bn(x)) < 1e-5
    clusters = layer.mean.detach().clone()
    assert len(clusters.unique(dim=0)) == options["num_clusters"]
    layer.train()
    layer.em_rate = 0.0
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


def test_a_norm_with_its_own_activation_keeps_it() -> None:
    class BatchNormAct2d(nn.BatchNorm2d):
        """As in timm."""

        def __init__(self, channels: int) -> None:
            super().__init__(channels)
            self.drop, self.act = nn.Dropout(0.5), nn.LeakyReLU(0.3)

        def forward(self, x: Tensor) -> Tensor:
            return self.act(self.drop(super().forward(x)))

    model = nn.Sequential(seen(BatchNormAct2d(4))).eval()
    original = copy.deepcopy(model)
    x = torch.randn(8, 4, 3, 3)
    convert_norm(model, "bn")
    assert type(model[0]) is BatchNormAct2d
    convert_norm(model, "uan")
    assert relative(model(x), original(x)) < 1e-5
    assert not torch.equal(model.train()(x), model.train()(x))  # the dropout


def test_own_norms_are_given_as_a_function_or_by_their_path() -> None:
    model = Net()
    convert_norm(model, lambda bn, *, groups: nn.GroupNorm(groups, bn.num_features), "first", groups=2)
    assert isinstance(model.stem[1], nn.GroupNorm)
    convert_norm(model, "uan_da.norms.uan_conversion:uan", "last", num_clusters=3)
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
        (nn.Sequential(nn.LazyBatchNorm2d()), ("uan",), ValueError, "0 is lazy"),
    ],
)
def test_errors(model: nn.Module, arguments: tuple[str, ...], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        convert_norm(model, *arguments)
