"""Backbones of torchvision: features, other channels, and published weights."""

import pytest
import torch
from torch.nn import functional as F
from torchvision import models

from uan_da.errors import UserError
from uan_da.models.classifier import build_model
from uan_da.models.torchvision_backbones import convnext_tiny, resnet18, resnet34, resnet50, resnet101, vit_b_16
from uan_da.models.weights import load_weights
from uan_da.recipe import load_recipe


@pytest.mark.parametrize(("build", "features"), [(resnet18, 512), (resnet34, 512), (resnet50, 2048), (resnet101, 2048)])
def test_parameters_are_torchvisions_without_the_head(build, features: int) -> None:
    published = models.get_model_weights(build.__name__).DEFAULT.meta["num_params"]
    count = sum(parameter.numel() for parameter in build(3).parameters())
    assert count + 1000 * features + 1000 == published


def test_features_are_what_torchvisions_head_reads(tmp_path) -> None:
    full = models.resnet18(num_classes=7).eval()
    torch.save(full.state_dict(), tmp_path / "r.pth")
    net = resnet18(3).eval()
    load_weights(net, "resnet18", str(tmp_path / "r.pth"))
    images = torch.randn(2, 3, 40, 40)
    with torch.no_grad():
        torch.testing.assert_close(F.linear(net(images), full.fc.weight, full.fc.bias), full(images))


def test_a_grey_image_does_what_it_does_in_three_channels(tmp_path) -> None:
    colour = resnet18(3).eval()
    torch.save(colour.state_dict(), tmp_path / "r.pth")
    grey = resnet18(1).eval()
    load_weights(grey, "resnet18", str(tmp_path / "r.pth"))
    images = torch.randn(2, 1, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(grey(images), colour(images.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-5)


def test_vit_b_16_is_torchvisions() -> None:
    full = models.vit_b_16(image_size=32).eval()
    torch.nn.init.normal_(full.heads.head.weight, std=0.1)  # zero at first
    net = vit_b_16(3, image_size=32).eval()
    assert net.load_state_dict(full.state_dict(), strict=False).missing_keys == []
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        features = net(images)
        assert features.shape == (2, 768)
        torch.testing.assert_close(F.linear(features, full.heads.head.weight, full.heads.head.bias), full(images))
    published = models.ViT_B_16_Weights.DEFAULT.meta["num_params"]
    positions = 14 * 14 - 2 * 2
    assert sum(p.numel() for p in net.parameters()) + 768 * (positions + 1000) + 1000 == published


def test_another_image_size_is_refused_with_the_size() -> None:
    with pytest.raises(UserError, match=r"input.size=28: backbone 'vit_b_16'.* 3×28×28: .*Expected 32"):
        build_model(load_recipe("digits", ["backbone={name: vit_b_16, image_size: 32}", "norm=bn"]), 10)


def test_convnext_tiny_is_torchvisions() -> None:
    full = models.convnext_tiny().eval()
    net = convnext_tiny(3).eval()
    assert net.load_state_dict(full.state_dict(), strict=False).missing_keys == []
    images = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        features = net(images)
        assert features.shape == (1, 768)
        head = full.classifier[2]
        torch.testing.assert_close(F.linear(features, head.weight, head.bias), full(images))
    published = models.ConvNeXt_Tiny_Weights.DEFAULT.meta["num_params"]
    assert sum(p.numel() for p in net.parameters()) + 768 * 1000 + 1000 == published


def test_convnext_tiny_takes_grey_images() -> None:
    assert convnext_tiny(1).eval()(torch.randn(1, 1, 32, 32)).shape == (1, 768)
