"""``office31``: each method as the scripts of thuml's Transfer-Learning-Library train it, written down here by hand.

The network's place is taken by a probe that notes what it is shown. All pictures of a domain have one colour.
"""

import math
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from uan_da.data.card import load_card
from uan_da.evaluation.evaluate import predictions_on_test
from uan_da.recipe import load_recipe
from uan_da.recipe.schema import Evaluation
from uan_da.training.training import Training

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
COLOURS: dict[str, tuple[int, ...]] = {"amazon": (200, 40, 90), "webcam": (30, 120, 220)}
NARROW = ["Linear 2048 256", "BatchNorm1d 256", "ReLU"]
BOTH = ["32 amazon, 32 webcam"]
APART = ["32 amazon", "32 webcam"]
DISCRIMINATOR = ["BatchNorm1d 1024", "ReLU", "Linear 1024 1024", "BatchNorm1d 1024", "ReLU", "Linear 1024 1"]


@dataclass(frozen=True)
class Protocol:
    """A row of the table, and what it means for one step."""

    lr: float
    gamma: float | None
    """None: the rate is fixed."""
    decay: float
    epochs: int
    iterations: int
    bottleneck: list[str]
    head: list[str]
    forwards: list[str]
    """What goes through the network, one forward after the other."""
    backbone: float = 0.1
    """Of the rate; 1 is with plain SGD for the backbone and momentum without Nesterov for the rest."""
    pretrain: int = 0
    """Epochs on the source, at a rate of .001."""
    reversal: float | None = None
    """The highest coefficient of the gradient reversal."""
    added: tuple[str, ...] = ()
    """The layers of what the method trains beside the network."""
    options: dict[str, object] = field(default_factory=dict)
    """Of the method, the weights of its terms for one."""


def discriminator(inputs: int) -> tuple[str, ...]:
    return (f"Linear {inputs} 1024", *DISCRIMINATOR)


def linear(features: int) -> list[str]:
    return [f"Linear {features} 31"]


MCD_HEAD = [
    "Dropout 0.5", "Linear 2048 1024", "BatchNorm1d 1024", "ReLU",
    "Dropout 0.5", "Linear 1024 1024", "BatchNorm1d 1024", "ReLU", "Linear 1024 31",
]  # fmt: skip
MDD_HEAD = ["Linear 1024 1024", "ReLU", "Dropout 0.5", "Linear 1024 31"]
WIDE = ["Linear 2048 1024", "BatchNorm1d 1024", "ReLU"]
PLAIN = ["Linear 2048 256", "ReLU", "Dropout 0.5"]
DROPPED = [*NARROW, "Dropout 0.5"]
AFN = ["Linear 2048 1000", "BatchNorm1d 1000", "ReLU", "NormKeepingDropout 0.5"]
ADDA = ["32 webcam", "32 amazon"] * 2  # the discriminator's step and the encoder's
FIXMATCH = ["96 webcam", "32 amazon", "96 changed"]

PROTOCOLS = {
    "source_only": Protocol(0.001, 3e-4, 5e-4, 5, 500, [], linear(2048), ["32 amazon"]),
    "dann": Protocol(
        0.01, 1e-3, 1e-3, 20, 1000, NARROW, linear(256), BOTH,
        reversal=1.0, added=discriminator(256), options={"trade_off": 1.0},
    ),
    "cdan": Protocol(
        0.01, 1e-3, 1e-3, 20, 1000, NARROW, linear(256), BOTH,
        reversal=1.0, added=discriminator(256 * 31), options={"trade_off": 1.0, "entropy_weighting": False},
    ),
    "adda": Protocol(
        0.001, 3e-4, 1e-3, 20, 1000, NARROW, linear(256), ADDA,
        pretrain=3, added=discriminator(256),
    ),
    "bsp": Protocol(
        0.003, 1e-3, 1e-3, 20, 1000, NARROW, linear(256), BOTH,
        pretrain=3, reversal=1.0, added=discriminator(256), options={"trade_off": 2e-4, "adversary": "dann"},
    ),
    "dan": Protocol(
        0.003, 3e-4, 5e-4, 20, 500, PLAIN, linear(256), APART,
        options={"trade_off": 1.0, "estimator": "linear"},
    ),
    "jan": Protocol(
        0.003, 3e-4, 5e-4, 20, 500, DROPPED, linear(256), BOTH,
        options={"trade_off": 1.0, "estimator": "quadratic"},
    ),
    "mcd": Protocol(
        0.001, None, 5e-4, 20, 500, [], MCD_HEAD, BOTH * 6,
        backbone=1.0, added=tuple(MCD_HEAD), options={"trade_off": 10.0, "class_balance": 0.01, "num_times": 4},
    ),
    "afn": Protocol(
        0.001, None, 5e-4, 20, 500, AFN, linear(1000), APART,
        backbone=1.0, options={"norm_weight": 0.05, "entropy_weight": 0.1, "step": 1.0},
    ),
    "mdd": Protocol(
        0.004, 2e-4, 5e-4, 20, 1000, [*WIDE, "Dropout 0.5"], MDD_HEAD, BOTH,
        reversal=0.1, added=tuple(MDD_HEAD), options={"trade_off": 1.0, "margin": 4.0},
    ),
    "mcc": Protocol(
        0.005, 1e-3, 1e-3, 20, 500, WIDE, linear(1024), ["36 amazon, 36 webcam"],
        options={"trade_off": 1.0, "temperature": 2.5},
    ),
    "fixmatch": Protocol(
        0.001, 4e-4, 1e-3, 20, 1000, NARROW, linear(256), FIXMATCH,
        options={"trade_off": 1.0, "threshold": 0.9},
    ),
}  # fmt: skip
SMALL = ["input.size=16", "input.crop=8", "augment.weak=[]", "augment.strong=[]"]


class Probe(nn.Module):
    """2048 features of an image's mean colour; notes the images of each forward in ``seen``, as all its copies do."""

    seen: list[Tensor] = []  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Linear(3, 2048)

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(images.detach())
        features: Tensor = self.features(images.mean((2, 3)))
        return features


@pytest.fixture(autouse=True)
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Office-31's folders, a picture a class; and the probe as ``probe:net``."""
    for domain, colour in COLOURS.items():
        for name in load_card("office31").classes:
            folder = tmp_path / "office31" / domain / "images" / name
            folder.mkdir(parents=True)
            Image.new("RGB", (60, 50), colour).save(folder / "frame_0001.jpg")
    monkeypatch.setenv("UAN_DA_DATA", str(tmp_path))
    module = ModuleType("probe")
    module.net = lambda channels: Probe()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "probe", module)
    return tmp_path


def training_of(method: str, *overrides: str) -> Training:
    recipe = load_recipe("office31", [f"method={method}", "backbone=probe:net", *overrides])
    return Training.build(recipe, torch.device("cpu"))


def advance(training: Training, step: int) -> list[Tensor]:
    """Make that step of the training; what the network was shown in it."""
    training.step, training.sums = step, {}
    Probe.seen.clear()
    training.advance()
    return list(Probe.seen)


def standardized(colour: tuple[int, ...]) -> Tensor:
    return torch.tensor([(c / 255 - m) / s for c, m, s in zip(colour, MEAN, STD, strict=True)]).view(3, 1, 1)


def describe(images: Tensor, colours: dict[str, tuple[int, ...]]) -> str:
    """``32 amazon, 32 webcam``: runs of images of one domain; ``changed`` where some have another colour than any."""
    assert images.shape[1:] == (3, 224, 224)
    names = []
    for image in images:
        found = [name for name, c in colours.items() if torch.allclose(image, standardized(c), rtol=0, atol=1e-5)]
        names.append(found[0] if found else "changed")
    if "changed" in names:
        return f"{len(names)} changed"
    runs = [name for index, name in enumerate(names) if index == 0 or name != names[index - 1]]
    return ", ".join(f"{names.count(name)} {name}" for name in runs)


def layers(module: nn.Module) -> list[str]:
    found = []
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            found.append(f"Linear {layer.in_features} {layer.out_features}")
        elif isinstance(layer, nn.BatchNorm1d):
            found.append(f"BatchNorm1d {layer.num_features}")
        elif isinstance(layer, nn.Dropout):
            found.append(f"{type(layer).__name__} {layer.p}")
        elif isinstance(layer, nn.ReLU):
            found.append("ReLU")
    return found


def decoded(root: Path) -> dict[str, tuple[int, ...]]:
    """The colours as JPEG has them."""
    picture = "office31/{}/images/bike/frame_0001.jpg"
    found = {}
    for name in COLOURS:
        with Image.open(root / picture.format(name)) as image:
            found[name] = image.getpixel((0, 0))
    return found  # type: ignore[return-value]


@pytest.mark.parametrize("method", PROTOCOLS)
def test_its_layers_and_their_optimizer(method: str) -> None:
    expected, training = PROTOCOLS[method], training_of(method)
    assert isinstance(training.method, nn.Module)
    assert layers(training.model.bottleneck) == expected.bottleneck
    assert layers(training.model.head) == expected.head
    assert layers(trained_part(training.method)) == list(expected.added)
    assert expected.options.items() <= training.recipe.method.options.items()

    groups = {id(p): group for group in training.optimizer.param_groups for p in group["params"]}
    modules = [("model", training.model), ("method", training.method)]
    named = {f"{owner}.{name}": p for owner, module in modules for name, p in module.named_parameters()}
    trained = {name: p for name, p in named.items() if p.requires_grad}
    assert groups.keys() == {id(p) for p in trained.values()}
    fixed = expected.backbone == 1.0
    for name, parameter in trained.items():
        group, of_backbone = groups[id(parameter)], name.startswith("model.backbone")
        assert group["lr"] == pytest.approx(expected.lr * (expected.backbone if of_backbone else 1.0))
        assert group["weight_decay"] == expected.decay
        assert group["momentum"] == (0.0 if of_backbone and fixed else 0.9)
        assert group["nesterov"] is not fixed


def trained_part(method: nn.Module) -> nn.Module:
    """The submodules of a method without those that only keep something, ADDA's source network."""
    return nn.ModuleList(part for part in method.children() if any(p.requires_grad for p in part.parameters()))


@pytest.mark.parametrize("method", PROTOCOLS)
def test_its_steps(method: str) -> None:
    expected, training = PROTOCOLS[method], training_of(method, *SMALL)
    before, own = expected.pretrain * expected.iterations, expected.epochs * expected.iterations
    assert training.total_steps == before + own
    for i in (0, 1, 1000, own - 1):
        advance(training, before + i)
        rate = expected.lr if expected.gamma is None else expected.lr * (1 + expected.gamma * i) ** -0.75
        assert rates(training) == pytest.approx({True: rate * expected.backbone, False: rate})
        if expected.reversal is None:
            assert "reversal" not in training.sums
        else:
            strength = 2 * expected.reversal / (1 + math.exp(-i / 1000)) - expected.reversal
            assert float(training.sums["reversal"]) == pytest.approx(strength)


@pytest.mark.parametrize("method", PROTOCOLS)
def test_its_batches(method: str, pictures: Path) -> None:
    expected, training = PROTOCOLS[method], training_of(method)
    if expected.pretrain:
        assert [describe(images, decoded(pictures)) for images in advance(training, 0)] == ["32 amazon"]
    seen = advance(training, expected.pretrain * expected.iterations)
    assert [describe(images, decoded(pictures)) for images in seen] == expected.forwards


@pytest.mark.parametrize("method", [name for name, protocol in PROTOCOLS.items() if protocol.pretrain])
def test_its_epochs_on_the_source(method: str) -> None:
    expected, training = PROTOCOLS[method], training_of(method, *SMALL)
    assert expected.gamma is not None
    for i in (0, 1, 1000, expected.pretrain * expected.iterations - 1):
        advance(training, i)
        rate = 0.001 * (1 + expected.gamma * i) ** -0.75
        assert rates(training) == pytest.approx({True: 0.1 * rate, False: rate})
        assert "reversal" not in training.sums


@pytest.mark.parametrize("name", ["office31", "office-home", "office-home-vit", "visda2017", "domainnet"])
def test_the_published_figures_of_mcd_say_that_they_are_of_the_better_head(name: str) -> None:
    published = [row for row in load_recipe(name).published or () if row.method == "mcd"]
    assert published
    assert all(row.oracle and "better of the two heads" in row.protocol for row in published)


def rates(training: Training) -> dict[bool, float]:
    """The learning rates of the backbone (True) and of what is new."""
    return {group["backbone"]: group["lr"] for group in training.optimizer.param_groups}


def test_test_images_are_all_of_both_domains_and_the_centre_of_each(pictures: Path) -> None:
    for path in (pictures / "office31").rglob("*.jpg"):
        framed = Image.new("RGB", (256, 256), (255, 255, 255))
        framed.paste(COLOURS["amazon"], (16, 16, 240, 240))
        framed.save(path.with_suffix(".png"))
        path.unlink()
    training = training_of("dann")
    Probe.seen.clear()
    found = predictions_on_test(training.evaluated, training.task, Evaluation())
    assert {name: len(predictions.labels) for name, predictions in found.items()} == {"amazon": 31, "webcam": 31}
    assert {describe(images, COLOURS).split()[1] for images in Probe.seen} == {"amazon"}
