import pytest
import torch
from torch import nn
from torchvision.models import DenseNet

from uan_da.models.densenet import densenet40, densenet100


def parameters(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def plain_parameters(layers: int) -> int:
    """The uncompressed DenseNet of growth 12, by hand."""
    count, width = 9 * 3 * 16, 16
    for block in range(3):
        for _ in range(layers):
            count += 2 * width + 9 * width * 12
            width += 12
        count += 2 * width + (width * width if block < 2 else 0)
    return count


def test_published_numbers_of_parameters() -> None:
    assert parameters(densenet100(3)) + 342 * 10 + 10 == 769_162  # DenseNet-BC (L = 100, k = 12) for ten classes: 0.8 M
    assert parameters(densenet40(3)) == 174_792
    assert parameters(densenet40(3, compressed=False)) == plain_parameters(12)
    assert parameters(densenet40(3, compressed=False)) == pytest.approx(1.0e6, rel=0.05)
    assert parameters(densenet100(3, compressed=False)) == pytest.approx(7.0e6, rel=0.02)


@pytest.mark.parametrize(
    ("net", "depth", "features"),
    [
        (densenet40(3), 40, 132),
        (densenet40(1, compressed=False), 40, 448),
        (densenet100(3), 100, 342),
        (densenet100(3, compressed=False, dropout=0.0), 100, 1168),
    ],
)
def test_depth_and_features(net: nn.Module, depth: int, features: int) -> None:
    convolutions = [module for module in net.modules() if isinstance(module, nn.Conv2d)]
    assert len(convolutions) + 1 == depth
    images = torch.randn(2, convolutions[0].in_channels, 8, 8)
    assert net.eval()(images).shape == (2, features)


def test_torchvisions_densenet_computes_the_same() -> None:
    """Its dense blocks and transitions are those of ImageNet's DenseNet-BC; only the stem is another one."""
    net = densenet40(3).eval()
    other = DenseNet(growth_rate=12, block_config=(6, 6, 6), num_init_features=24, bn_size=4).features.eval()
    parts = [part for name, part in other.named_children() if name not in ("conv0", "norm0", "relu0", "pool0")]
    body = nn.Sequential(nn.Conv2d(3, 24, 3, padding=1, bias=False), *parts)
    ours, theirs = net.state_dict(), body.state_dict()
    assert [tensor.shape for tensor in ours.values()] == [tensor.shape for tensor in theirs.values()]
    for name, tensor in ours.items():
        if "running_mean" in name:
            tensor.normal_(0, 0.1)
    body.load_state_dict(dict(zip(theirs, ours.values(), strict=True)))
    images = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(net(images), body(images).relu().mean((2, 3)))


def test_dropout_is_in_every_layer() -> None:
    rates = [module.p for module in densenet40(3, dropout=0.3).modules() if isinstance(module, nn.Dropout)]
    assert rates == [0.3] * 18
