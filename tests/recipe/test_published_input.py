"""A backbone with published weights brings its own mean, standard deviation and size."""

import warnings
from typing import Any

import pytest
import torch

from uan_da.errors import DataWarning
from uan_da.models import classifier
from uan_da.models.classifier import build_model
from uan_da.recipe import Recipe
from uan_da.recipe.network import Input
from uan_da.recipe.published_input import published_input

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def recipe(backbone: Any, **keys: Any) -> Recipe:
    return Recipe.model_validate(
        {"dataset": "digits", "task": "optdigits", "backbone": backbone, "train": {"steps": 1}, **keys}
    )


PUBLISHED = {"name": "resnet18", "weights": "IMAGENET1K_V1"}


@pytest.mark.parametrize(
    ("backbone", "said", "expected"),
    [
        (PUBLISHED, {}, Input(size=224, mean=MEAN, std=STD)),
        (PUBLISHED, {"size": 256, "crop": 224}, Input(size=256, crop=224, mean=MEAN, std=STD)),
        (PUBLISHED, {"mean": 0.5, "size": 96}, Input(size=96, mean=0.5, std=STD)),
        (PUBLISHED, {"channels": 1}, Input(size=224, channels=1, mean=0.449, std=0.226)),
        ({"name": "vit_b_16", "weights": "IMAGENET1K_SWAG_E2E_V1"}, {}, Input(size=384, mean=MEAN, std=STD)),
        ({"name": "efficientnet_lite0", "weights": "default"}, {}, Input(size=224, mean=0.5, std=0.5)),
        ({"name": "timm:resnet10t", "weights": "default"}, {}, Input(size=176, mean=MEAN, std=STD)),
        ("resnet18", {}, Input()),
        ({"name": "resnet18", "weights": "./mine.pt"}, {}, Input()),
    ],
)
def test_what_the_recipe_does_not_say(backbone: Any, said: dict[str, Any], expected: Input) -> None:
    if "timm" in str(backbone):
        pytest.importorskip("timm")
    found = recipe(backbone, input=said)
    assert found.input == expected
    assert recipe(backbone, input=found.to_dict()["input"]) == found


def test_it_is_what_torchvision_and_timm_say() -> None:
    from torchvision.models import list_models  # here: it takes a second

    weights = pytest.importorskip("torchvision.models").get_model_weights
    for name in ("resnet18", "resnet34", "resnet50", "resnet101", "vit_b_16", "convnext_tiny"):
        assert name in list_models()
        for entry in weights(name):
            if "LINEAR" in entry.name and name == "vit_b_16":
                continue
            transform, own = entry.transforms(), published_input(name, entry.name)
            assert own is not None
            assert (own.size, list(own.mean), list(own.std)) == (transform.crop_size[0], transform.mean, transform.std)
    config = pytest.importorskip("timm").models.get_pretrained_cfg("tf_efficientnet_lite0")
    lite = published_input("efficientnet_lite0", "default")
    assert lite is not None
    assert (lite.size, lite.mean, lite.std) == (config.input_size[-1], config.mean, config.std)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({}, ""),
        ({"size": 128}, ""),
        ({"size": 64}, "get images of 64 pixels, and expect 224"),
        ({"mean": 0.5}, r"input.mean=0.5, and expect \[0.485, 0.456, 0.406\]"),
    ],
)
def test_a_mismatch_is_a_warning(said: dict[str, Any], told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classifier, "load_weights", lambda *_: None)
    with warnings.catch_warnings(record=True) as caught, torch.random.fork_rng():
        warnings.simplefilter("always")
        build_model(recipe(PUBLISHED, input=said), 2)
    found = [str(warning.message) for warning in caught if warning.category is DataWarning]
    assert len(found) == bool(told)
    if told:
        with pytest.warns(DataWarning, match=told):
            build_model(recipe(PUBLISHED, input=said), 2)
