import pytest
import torch
from torch.nn import functional as F
from torchvision import models

from uan_da.errors import UserError
from uan_da.models.classifier import build_model
from uan_da.models.vit import vit_b_16
from uan_da.recipe import load_recipe


def test_it_is_torchvisions() -> None:
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
