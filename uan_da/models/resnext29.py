"""ResNeXt-29, the network of the published errors on CIFAR-100-C."""

from collections import OrderedDict

from torch import Tensor, nn
from torch.nn import functional as F

GROUPS, EXPANSION = 4, 4


def resnext29(channels: int) -> nn.Sequential:
    """ResNeXt-29, 4×32d (Xie et al., CVPR 2017, arXiv:1611.05431), with the names that AugMix's files have.

    Args:
        channels: of the input images ``(N, channels, H, W)``; made for 32×32.

    Returns:
        A network to features ``(N, 1024)``.
    """
    stages = {
        f"stage_{number}": _stage(inputs, planes, stride)
        for number, (inputs, planes, stride) in enumerate(((64, 64, 1), (256, 128, 2), (512, 256, 2)), 1)
    }
    network = nn.Sequential(
        OrderedDict(
            conv_1_3x3=nn.Conv2d(channels, 64, 3, padding=1, bias=False),
            bn_1=nn.BatchNorm2d(64),
            relu=nn.ReLU(inplace=True),
            **stages,
            pool=nn.AdaptiveAvgPool2d(1),
            flat=nn.Flatten(),
        )
    )
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return network


def _stage(inputs: int, planes: int, stride: int) -> nn.Sequential:
    outputs = EXPANSION * planes
    return nn.Sequential(_Block(inputs, planes, stride), *(_Block(outputs, planes, 1) for _ in range(2)))


class _Block(nn.Module):
    """1×1, grouped 3×3 and 1×1 convolutions, each with a norm, and a shortcut."""

    def __init__(self, inputs: int, planes: int, stride: int) -> None:
        super().__init__()
        width, outputs = GROUPS * planes // 2, EXPANSION * planes
        self.conv_reduce, self.bn_reduce = nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv_conv = nn.Conv2d(width, width, 3, stride, 1, groups=GROUPS, bias=False)
        self.bn = nn.BatchNorm2d(width)
        self.conv_expand, self.bn_expand = nn.Conv2d(width, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        self.downsample: nn.Module | None = None
        if inputs != outputs or stride != 1:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """``(N, inputs, H, W)`` to ``(N, 4 planes, H/stride, W/stride)``."""
        y = F.relu(self.bn_reduce(self.conv_reduce(x)), inplace=True)
        y = F.relu(self.bn(self.conv_conv(y)), inplace=True)
        shortcut = x if self.downsample is None else self.downsample(x)
        return F.relu(shortcut + self.bn_expand(self.conv_expand(y)), inplace=True)
