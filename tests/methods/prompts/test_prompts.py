"""Zero-shot CLIP and DAPL against open_clip's own functions, on a small CLIP with random weights."""

import copy
import functools
import sys
from collections.abc import Callable, Sequence
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from uan_da.errors import UserError
from uan_da.evaluation.evaluate import predictions_on_test
from uan_da.methods.method import Progress
from uan_da.methods.prompts.dapl import DAPL
from uan_da.models.classifier import Classifier
from uan_da.recipe import load_recipe
from uan_da.training.training import Training

open_clip = pytest.importorskip("open_clip")

TASK = ["dataset=pictures:Pictures", "task=photo:pencil_sketch", "augment.weak=[]"]
TRAIN = ["train.batch.source=6", "train.batch.target=9", "train.epochs=4", "train.optimizer={name: sgd, lr: 0.1}"]
NOW = Progress(1, 2)
Build = Callable[..., Training]
tokenizer = functools.cache(open_clip.get_tokenizer)


class Pictures:
    """Noise around the brightness of its class, darker in the sketches."""

    domains = ("photo", "pencil_sketch")
    classes = ("dog", "Ice_Cream", "car")
    shift = 0

    def load(self, domain: str, split: str) -> Sequence[tuple[Image.Image, int]]:
        random = np.random.default_rng([self.domains.index(domain), split == "test"])
        wrong = self.shift if domain == "pencil_sketch" else 0
        return [(self._image(random, label, domain), (label + wrong) % 3) for label in [0, 1, 2] * 8]

    def _image(self, random: np.random.Generator, label: int, domain: str) -> Image.Image:
        ground = 80 * label + (0 if domain == "photo" else 20)
        return Image.fromarray(random.integers(ground, ground + 60, (16, 16, 3), dtype=np.uint8))


@pytest.fixture
def pictures(monkeypatch: pytest.MonkeyPatch) -> type[Pictures]:
    class Own(Pictures):
        pass

    monkeypatch.setitem(sys.modules, "pictures", SimpleNamespace(Pictures=Own))  # type: ignore[arg-type]
    return Own


@pytest.fixture
def build(small_clip: list[str], pictures: type[Pictures]) -> Build:
    def build(*overrides: str) -> Training:
        return Training.build(load_recipe("digits", [*TASK, *small_clip, *TRAIN, *overrides]), torch.device("cpu"))

    return build


def advance(training: Training, steps: int) -> Training:
    for _ in range(steps):
        training.advance()
    return training


def text(model: Classifier, sentences: list[str]) -> torch.Tensor:
    tokens = tokenizer("test-clip")(sentences)
    return F.normalize(model.backbone.encode_text(tokens), dim=1)


def test_zero_shot_is_open_clips_classifier(build: Build) -> None:
    training = build("method=zero_shot", "method.prompt=one {} here")
    images = training.batch(0).source.weak
    directions = text(training.model, ["one dog here", "one ice cream here", "one car here"])
    expected = 100 * F.normalize(training.model.backbone.encode_image(images), dim=1) @ directions.T
    torch.testing.assert_close(training.evaluated.eval()(images).logits, expected, rtol=1e-4, atol=1e-4)


def test_zero_shot_moves_nothing_and_is_evaluated_as_any_method(build: Build) -> None:
    training = build("method=zero_shot")
    before = copy.deepcopy(training.model.state_dict())
    advance(training, 2)
    assert all(torch.equal(value, before[name]) for name, value in training.model.state_dict().items())
    assert training.sums["loss"] == 0
    assert (
        len(predictions_on_test(training.evaluated, training.task, training.recipe.evaluation)["pencil_sketch"]) == 24
    )
    head = training.state_dict()["answering"]["head.weight"]
    torch.testing.assert_close(
        head, text(training.model, ["a photo of a dog.", "a photo of a ice cream.", "a photo of a car."])
    )


def test_classes_that_are_no_words_are_refused(build: Build) -> None:
    numbers = ["dataset=digits", "task=optdigits:optdigits_m"]
    for method in ("zero_shot", "dapl"):
        with pytest.raises(UserError, match="names of classes, and '0', '1', '2', '3', … are no words"):
            build(*numbers, f"method={method}")
    with pytest.raises(UserError, match=r"one \{\} for the name"):
        build("method=zero_shot", "method.prompt=a photo")


@pytest.mark.parametrize(("specific", "threshold"), [(True, 0.0), (False, 0.0), (True, 0.4)])
def test_the_loss_of_dapl_is_that_of_the_formula(build: Build, specific: bool, threshold: float) -> None:
    options = [
        f"method.class_specific={str(specific).lower()}",
        f"method.threshold={threshold}",
        "method.trade_off=0.7",
    ]
    training = build("method=dapl", "method.context=3", "method.domain_context=2", *options)
    (part,) = [training.method]
    assert isinstance(part, DAPL)
    model, batch = training.model, training.batch(0)
    clip, names = model.backbone, ["dog", "ice cream", "car"]

    def directions(domain: int) -> torch.Tensor:
        found = []
        for k, name in enumerate(names):
            words = ["photo", "pencil sketch"][domain]
            tokens = tokenizer("test-clip")([f"X X X X X {name} , a {words} image.."])
            x = clip.token_embedding(tokens).clone()
            x[0, 1:4], x[0, 4:6] = part.words["context"][k if specific else 0], part.words["domain"][domain]
            x = clip.ln_final(clip.transformer(x + clip.positional_embedding, attn_mask=clip.attn_mask))
            end = int((tokens[0] != 0).nonzero().max())
            found.append(x[0, end] @ clip.text_projection)
        return F.normalize(torch.stack(found), dim=1)

    source, target = (F.normalize(clip.encode_image(side.weak), dim=1) for side in (batch.source, batch.target))
    on_source = 100 * source @ directions(0).T
    on_target = 100 * target @ directions(1).T
    q = (100 * target @ text(model, [f"a photo of a {name}." for name in names]).T).softmax(1)
    kept = [i for i, row in enumerate(q.tolist()) if max(row) >= threshold]
    pseudo = sum((F.cross_entropy(on_target[i], q[i].argmax()) for i in kept), torch.zeros(())) / max(1, len(kept))
    loss = part.loss(model, batch, NOW)
    torch.testing.assert_close(loss.terms["source"], F.cross_entropy(on_source, batch.source.labels))
    torch.testing.assert_close(loss.terms["target"], 0.7 * pseudo, rtol=1e-4, atol=1e-4)
    assert float(loss.metrics["mask"]) == pytest.approx(len(kept) / 9)


def test_dapl_learns_by_its_words_alone(build: Build) -> None:
    training = build("method=dapl", "method.context=3", "method.domain_context=2")
    model, words = copy.deepcopy(training.model.state_dict()), copy.deepcopy(training.method.state_dict())
    first = float(training.method.loss(training.model, training.batch(0), NOW).total.detach())
    advance(training, 8)
    assert float(training.method.loss(training.model, training.batch(0), NOW).total.detach()) < 0.8 * first
    assert all(torch.equal(value, model[name]) for name, value in training.model.state_dict().items())
    assert not any(torch.equal(value, words[name]) for name, value in training.method.state_dict().items())
    images = training.batch(0).target.weak
    assert not torch.equal(training.evaluated(images).logits, build("method=dapl").evaluated(images).logits)


@pytest.mark.parametrize("method", ["zero_shot", "dapl"])
def test_a_training_goes_on_to_the_same_bits_and_sees_no_target_label(
    build: Build, pictures: type[Pictures], method: str
) -> None:
    options = [f"method={method}", *(["method.context=3", "method.domain_context=2"] if method == "dapl" else [])]
    whole, second = advance(build(*options), 2), build(*options)
    second.load_state_dict(copy.deepcopy(whole.state_dict()))
    pictures.shift = 1
    blind = advance(build(*options), 4)
    expected, resumed, unseeing = (training.state_dict() for training in (advance(whole, 2), advance(second, 2), blind))
    for part in ("model", "method", "sums", "answering"):
        for name, value in expected[part].items():
            assert torch.equal(value, resumed[part][name]), name
            assert torch.equal(value, unseeing[part][name]), name
