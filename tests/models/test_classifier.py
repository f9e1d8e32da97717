import pytest
import torch
from torch import nn

from uan_da.models.classifier import build_model
from uan_da.models.small_cnn import small_cnn
from uan_da.norms import UAN2d
from uan_da.recipe import load_recipe


def test_small_cnn_has_three_normalised_convolutions() -> None:
    net = small_cnn(3, width=4)
    assert net(torch.randn(2, 3, 28, 28)).shape == (2, 16 * 3 * 3)
    assert [layer.num_features for layer in net if isinstance(layer, nn.BatchNorm2d)] == [4, 8, 16]


def test_the_recipes_norm_is_in_every_place() -> None:
    model = build_model(load_recipe("digits"), 10)
    assert not [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert len([layer for layer in model.modules() if isinstance(layer, UAN2d)]) == 3
    output = model.eval()(torch.randn(5, 3, 28, 28))
    assert output.logits.shape == (5, 10)
    assert output.features.shape == (5, model.num_features)


def test_where_chooses_the_layers() -> None:
    model = build_model(load_recipe("digits", ["norm.where=last"]), 10)
    kinds = [type(layer) for layer in model.modules() if isinstance(layer, nn.BatchNorm2d | UAN2d)]
    assert kinds == [nn.BatchNorm2d, nn.BatchNorm2d, UAN2d]


def test_weights_are_a_function_of_the_seed_alone() -> None:
    torch.manual_seed(5)
    one = build_model(load_recipe("digits"), 10).state_dict()
    torch.manual_seed(6)
    again = build_model(load_recipe("digits"), 10).state_dict()
    other = build_model(load_recipe("digits", ["seed=1"]), 10).state_dict()
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not torch.equal(one["head.weight"], other["head.weight"])


def test_norms_share_their_initial_weights() -> None:
    """A comparison of norms starts every one of them from the same convolutions."""
    bn, uan = (build_model(load_recipe("digits", [f"norm={name}"]), 10) for name in ("bn", "uan"))
    assert torch.equal(bn.backbone[0].weight, uan.backbone[0].weight)
    assert torch.equal(bn.head.weight, uan.head.weight)


def test_instance_norm_on_the_input() -> None:
    model = build_model(load_recipe("digits", ["norm=bn", "norm.input=instance"]), 10).eval()
    images = torch.rand(2, 3, 28, 28)
    torch.testing.assert_close(model(images).logits, model(3 * images + 7).logits, rtol=1e-3, atol=1e-4)


def test_a_backbone_that_gives_no_features_is_refused(tmp_path, monkeypatch) -> None:
    (tmp_path / "flat_net.py").write_text(
        "from torch import nn\ndef net(channels: int) -> nn.Module:\n    return nn.Conv2d(channels, 2, 3)\n"
    )
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="expected features"):
        build_model(load_recipe("digits", ["backbone=flat_net:net", "norm=bn"]), 10)
