import torch
from torch.nn import functional as F
from torchvision import models

from uan_da.models.convnext import convnext_tiny


def test_it_is_torchvisions() -> None:
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


def test_grey_images() -> None:
    assert convnext_tiny(1).eval()(torch.randn(1, 1, 32, 32)).shape == (1, 768)
