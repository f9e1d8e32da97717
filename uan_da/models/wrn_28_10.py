"""WRN-28-10, the network of the published errors on CIFAR-10-C."""

from collections import OrderedDict

from torch import Tensor, nn
from torch.nn import functional as F


def wrn_28_10(channels: int) -> nn.Sequential:
    """WRN-28-10 (Zagoruyko & Komodakis, BMVC 2016, arXiv:1605.07146) with the names that RobustBench's files have.

    28 layers, ten times the width, pre-activation, and shortcuts that read the activated input where the width changes.

    Args:
        channels: of the input images ``(N, channels, H, W)``; made for 32×32.

    Returns:
        A network to features ``(N, 640)``.
    """
    widths = (16, 160, 320, 640)
    blocks = {
        f"block{number}": _Stage(inputs, outputs, stride)
        for number, (inputs, outputs, stride) in enumerate(zip(widths, widths[1:], (1, 2, 2), strict=False), 1)
    }
    network = nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(channels, 16, 3, padding=1, bias=False),
            **blocks,
            bn1=nn.BatchNorm2d(640),
            relu=nn.ReLU(inplace=True),
            pool=nn.AdaptiveAvgPool2d(1),
            flat=nn.Flatten(),
        )
    )
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return network


class _Stage(nn.Module):
    """Four blocks of one width."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        rest = [_Block(outputs, outputs, 1) for _ in range(3)]
        self.layer = nn.Sequential(_Block(inputs, outputs, stride), *rest)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, inputs, H, W)`` to ``(N, outputs, H/stride, W/stride)``."""
        out: Tensor = self.layer(x)
        return out


class _Block(nn.Module):
    """Two 3×3 convolutions behind norm and activation, and a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1, self.bn2 = nn.BatchNorm2d(inputs), nn.BatchNorm2d(outputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.convShortcut = None if inputs == outputs else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, inputs, H, W)`` to ``(N, outputs, H/stride, W/stride)``."""
        active = F.relu(self.bn1(x))
        shortcut = x if self.convShortcut is None else self.convShortcut(active)
        out: Tensor = shortcut + self.conv2(F.relu(self.bn2(self.conv1(active))))
        return out
