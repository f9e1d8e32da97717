"""Backbones of open_clip: what they compute, and files of weights in open_clip's own format."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from uan_da.errors import UserError
from uan_da.models.classifier import build_model
from uan_da.models.clip_text import TextTower, readable
from uan_da.models.published import published_weights
from uan_da.models.weights import load_weights
from uan_da.names import BACKBONES
from uan_da.recipe import load_recipe
from uan_da.recipe.published_input import published_input

open_clip = pytest.importorskip("open_clip")
pytestmark = pytest.mark.usefixtures("small_clip")


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("saved", ["plain", "by open_clip's training"])
def test_it_is_open_clips_image_encoder_with_the_weights_of_its_files(text: bool, saved: str, tmp_path: Path) -> None:
    whole: Any = open_clip.create_model("test-clip", load_weights=False).eval()
    state = whole.state_dict()
    if saved != "plain":
        state = {"epoch": 3, "state_dict": {f"module.{key}": value for key, value in state.items()}}
    torch.save(state, tmp_path / "clip.pt")
    network = BACKBONES.load("clip:test-clip")(3, text=text).eval()
    load_weights(network, "clip:test-clip", str(tmp_path / "clip.pt"))
    images = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(network(images), whole.encode_image(images))
    assert ("token_embedding.weight" in network.state_dict()) is text


def test_sentences_are_open_clips_directions(small_clip: list[str]) -> None:
    model = build_model(load_recipe("digits", small_clip), 10)
    sentences = ["a photo of a dog.", "ice cream"]
    text = TextTower(model, "zero_shot")
    tokens = text.tokens(sentences)
    assert torch.equal(tokens, open_clip.get_tokenizer("test-clip")(sentences))
    expected = F.normalize(model.backbone.encode_text(tokens), dim=1)
    torch.testing.assert_close(text.directions(text.embed(tokens), tokens), expected)


def test_without_open_clip_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(UserError, match=r"pip install 'uan-da\[clip\]'"):
        BACKBONES.load("clip:ViT-B-16")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["backbone=clip:ViT-B-17"], "has no model 'ViT-B-17' (did you mean: "),
        (["backbone=clip:test-clip", "input.channels=1"], "input.channels=3"),
        (["backbone={name: 'clip:test-clip', weights: openai}"], "by a tag: there are none"),
        (["backbone=clip:test-clip", "norm=uan"], "no BatchNorm to convert: the model's norms are"),
        (["backbone=clip:test-clip", "input.size=24"], "does not take images 3×24×24"),
    ],
)
def test_what_cannot_be_is_told(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        build_model(load_recipe("digits", ["norm=bn", "input.size=16", *overrides]), 10)
    assert message in str(caught.value)


def test_published_weights_are_those_of_a_tag(monkeypatch: pytest.MonkeyPatch) -> None:
    create, asked = open_clip.create_model, list[object]()
    made = create("test-clip", load_weights=False)

    def published(name: str, **options: object) -> object:
        asked.append((name, options))
        return made

    monkeypatch.setattr(open_clip, "create_model", published)
    found = published_weights("clip:ViT-B-32-quickgelu", "openai")
    assert asked == [("ViT-B-32-quickgelu", {"pretrained": "openai"})]
    assert found.keys() == made.state_dict().keys()
    with pytest.raises(UserError, match="by a tag: openai, "):
        published_weights("clip:ViT-B-32", "default")
    with pytest.raises(UserError, match="were trained with QuickGELU: backbone=clip:ViT-B-32-quickgelu"):
        published_weights("clip:ViT-B-32", "openai")

    def refuse(*_: object, **__: object) -> None:
        raise OSError("no route to host.")

    monkeypatch.setattr(open_clip, "create_model", refuse)
    with pytest.raises(UserError, match=r"openai of clip:ViT-B-32-quickgelu .* no route to host. Where .*weights=PATH"):
        published_weights("clip:ViT-B-32-quickgelu", "openai")


def test_published_weights_bring_what_they_expect_to_see() -> None:
    found = published_input("clip:ViT-B-16-quickgelu", "openai")
    assert found is not None
    assert (found.size, found.mean[0], found.std[0]) == (224, 0.48145466, 0.26862954)
    assert published_input("clip:ViT-B-16", "mine") is None


def test_names_are_read_as_words() -> None:
    assert readable(["Ice_Cream", "t-shirt", "Straße"], "classes") == ["ice cream", "t-shirt", "straße"]
    with pytest.raises(UserError, match=r"names of classes, and '0', '1', 'n01', 'a b', … are no words"):
        readable(["dog", "0", "1", "n01", "a b", "x"], "classes")


@pytest.mark.parametrize("changed", [["backbone.text=false"], ["head.cosine=null"], ["bottleneck={features: 8}"]])
def test_a_model_without_text_is_told_what_it_lacks(changed: list[str], small_clip: list[str]) -> None:
    model = build_model(load_recipe("digits", [*small_clip, *changed]), 10)
    with pytest.raises(UserError, match="method dapl"):
        TextTower(model, "dapl")
