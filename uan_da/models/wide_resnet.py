"""WRN-28-2, the network of AdaMatch and of the semi-supervised literature."""

from torch import Tensor, nn


def wrn_28_2(channels: int) -> nn.Sequential:
    """WRN-28-2 (Zagoruyko & Komodakis, BMVC 2016, arXiv:1605.07146), as AdaMatch uses it (arXiv:2106.04732).

    28 layers, twice the width, pre-activation. From the code of AdaMatch's authors: leaky ReLU of slope .1; of the
    three shortcuts that change the width only the first reads the activated input, the others the raw one; weights
    from N(0, 2/(k²·outputs)). Their running statistics move by .001 a step, which takes some thousand steps to forget
    the start; PyTorch's .1 stands here. The Keras port, which UAN's authors used, has ReLU and activated shortcuts.

    Args:
        channels: of the input images ``(N, channels, H, W)``; made for 32×32.

    Returns:
        A network to features ``(N, 128)``.
    """
    layers: list[nn.Module] = [nn.Conv2d(channels, 16, 3, padding=1, bias=False)]
    width = 16
    for outputs, stride in ((32, 1), (64, 2), (128, 2)):
        for index in range(4):
            layers.append(_Block(width, outputs, stride if index == 0 else 1, activated_shortcut=width == 16))
            width = outputs
    layers += [nn.BatchNorm2d(width), _activation(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    network = nn.Sequential(*layers)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return network


class _Block(nn.Module):
    """Two 3×3 convolutions behind norm and activation, and a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int, *, activated_shortcut: bool) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(inputs), nn.BatchNorm2d(outputs)
        self.activation = _activation()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if inputs != outputs else nn.Identity()
        self.activated_shortcut = activated_shortcut

    def forward(self, x: Tensor) -> Tensor:
        """``(N, inputs, H, W)`` to ``(N, outputs, H/stride, W/stride)``."""
        active = self.activation(self.norm1(x))
        shortcut = self.shortcut(active if self.activated_shortcut else x)
        out: Tensor = shortcut + self.conv2(self.activation(self.norm2(self.conv1(active))))
        return out


def _activation() -> nn.Module:
    return nn.LeakyReLU(0.1, inplace=True)
