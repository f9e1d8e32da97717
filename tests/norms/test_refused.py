"""What :func:`uan_da.norms.convert_norm` refuses: a norm whose function would change, and a wrong call."""

import pytest
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune

from uan_da.errors import UserError
from uan_da.names import NORMS
from uan_da.norms import UAN2d, convert_norm
from uan_da.norms.batch_norm import BatchNorm


def network() -> nn.Sequential:
    return nn.Sequential(*(nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)) for _ in range(2)))


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
        (network(), ("uan", "middle"), ValueError, "'first', 'last', 'input' or 're:PATTERN', but got 'middle'"),
        (network(), ("uan", "re:layer4"), ValueError, r"none of the BatchNorms: 0\.1, 1\.1"),
        (network(), ("uan", "re:("), ValueError, "not a regular expression"),
        (network(), ("uam",), UserError, "did you mean 'uan'"),
    ],
)
def test_errors(model: nn.Module, arguments: tuple[str, ...], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        convert_norm(model, *arguments)
