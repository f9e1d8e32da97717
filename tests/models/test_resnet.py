import pytest
import torch
from torch.nn import functional as F
from torchvision import models

from uan_da.models.resnet import resnet18, resnet34, resnet50, resnet101
from uan_da.models.weights import load_weights


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
