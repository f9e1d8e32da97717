"""WRN-28-2, the network of the semi-supervised literature."""

from torch import Tensor, nn


class _Block(nn.Module):
    """Two 3×3 convolutions behind norm and ReLU, and a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(inputs), nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if inputs != outputs else None

    def forward(self, x: Tensor) -> Tensor:
        """``(N, inputs, H, W)`` to ``(N, outputs, H/stride, W/stride)``."""
        active = self.relu(self.norm1(x))
        shortcut = x if self.shortcut is None else self.shortcut(active)
        out: Tensor = shortcut + self.conv2(self.relu(self.norm2(self.conv1(active))))
        return out


def wide_resnet_28_2(classes: int) -> nn.Module:
    """28 layers, twice the width; Zagoruyko & Komodakis, "Wide Residual Networks", BMVC 2016, arXiv:1605.07146."""
    layers: list[nn.Module] = [nn.Conv2d(3, 16, 3, 1, 1, bias=False)]
    width = 16
    for outputs, stride in ((32, 1), (64, 2), (128, 2)):
        for index in range(4):
            layers.append(_Block(width, outputs, stride if index == 0 else 1))
            width = outputs
    layers += [nn.BatchNorm2d(width), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(width, classes))
