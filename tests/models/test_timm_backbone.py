import sys

import pytest
import torch
from torch import nn

from uan_da.errors import UserError
from uan_da.models.classifier import build_model
from uan_da.models.weights import load_weights
from uan_da.names import BACKBONES
from uan_da.recipe import load_recipe
from uan_da.training.optimizer import parameter_groups

timm = pytest.importorskip("timm")


@pytest.mark.parametrize("channels", [1, 3])
def test_it_is_timms_model_without_its_classifier(channels: int, tmp_path) -> None:
    full = timm.create_model("test_resnet", in_chans=channels).eval()
    torch.save(full.state_dict(), tmp_path / "t.pth")
    net = BACKBONES.load("timm:test_resnet")(channels).eval()
    load_weights(net, "timm:test_resnet", str(tmp_path / "t.pth"))
    images = torch.randn(2, channels, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(full.get_classifier()(net(images)), full(images))


def test_a_norm_takes_the_place_of_timms_batch_norm_and_its_activation_stays() -> None:
    recipe = load_recipe("digits", ["backbone=timm:test_resnet", "norm=uan", "input.size=32"])
    model = build_model(recipe, 10)
    assert not [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert model(torch.randn(4, 3, 32, 32)).logits.shape == (4, 10)


@pytest.mark.parametrize("name", ["test_vit", "test_convnext"])
def test_layer_norms_stay_under_bn_and_are_named_under_another_norm(name: str) -> None:
    overrides = [f"backbone=timm:{name}", "input.size=160"]
    model = build_model(load_recipe("digits", [*overrides, "norm=bn"]), 10)
    assert [layer for layer in model.modules() if isinstance(layer, nn.LayerNorm)]
    with pytest.raises(UserError, match=rf"norm 'uan' in backbone 'timm:{name}': no BatchNorm .* norm=bn leaves"):
        build_model(load_recipe("digits", [*overrides, "norm=uan"]), 10)


def test_timms_own_word_on_weight_decay_is_not_ours() -> None:
    """A ViT has a method of that name."""
    model = build_model(load_recipe("digits", ["backbone=timm:test_vit", "input.size=160", "norm=bn"]), 10)
    (backbone, rest) = parameter_groups([model], 0.1, 1e-3, 0.5)
    assert {group["weight_decay"] for group in (backbone, rest)} == {1e-3}
    assert len(backbone["params"]) == len(list(model.backbone.parameters()))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timm:resnet19", "did you mean: resnet1"),
        ("timm:@@", "see timm.list_models()"),
        ("timm:resnet18.tv_in2k", "There are: resnet18.a1_in1k"),
    ],
)
def test_models_that_do_not_exist(name: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        load_recipe("digits", [f"backbone={name}"])
    assert message in str(caught.value)


def test_without_timm_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UserError, match=r"pip install 'uan-da\[timm\]'"):
        BACKBONES.load("timm:resnet18")


def test_published_weights_are_timms(monkeypatch: pytest.MonkeyPatch) -> None:
    create, asked = timm.create_model, []

    def offline(name: str, pretrained: bool = False, **options: object) -> nn.Module:
        asked.append(pretrained)
        network = create(name, **options)
        nn.init.ones_(next(network.parameters())) if pretrained else None
        return network

    monkeypatch.setattr(timm, "create_model", offline)
    overrides = ["backbone={name: timm:test_resnet.r160_in1k, weights: default}", "norm=bn", "input.channels=1"]
    model = build_model(load_recipe("digits", overrides), 10)
    assert asked == [False, True]
    assert next(model.backbone.parameters()).unique().tolist() == [3]  # the sum over three channels


def test_weights_that_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(UserError, match=r"timm/test_resnet.r160_in1k\) cannot be had: no route.*backbone.weights=PATH"):
        load_weights(nn.Identity(), "timm:test_resnet", "default")
