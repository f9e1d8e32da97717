"""How a training uses what methods may have: phases, pre-training, teachers; and averages of the weights."""

import math
import sys
import weakref
from pathlib import Path
from types import ModuleType

import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from uan_da.data.domain_batch import DomainBatch
from uan_da.errors import UserError
from uan_da.methods.method import Loss, Method, Phase, Progress, source_loss
from uan_da.models.classifier import Classifier
from uan_da.recipe import load_recipe
from uan_da.training.train import train
from uan_da.training.training import Training

CPU = torch.device("cpu")
SHORT = [
    "norm=bn",
    "train.epochs=2",
    "train.steps_per_epoch=3",
    "train.batch.source=8",
    "train.batch.target=4",
]


class Recorder(Method):
    """A method of two phases that notes what it is told."""

    views = ("weak",)
    needs = "nothing"
    pretrain_epochs = 1

    def __init__(self, model: Classifier, num_classes: int) -> None:
        super().__init__()
        self.second = model.new_head()
        self.teacher = model.new_head().requires_grad_(False)
        self.seen: list[str] = []

    def start(self, model: Classifier) -> None:
        self.seen.append("start")

    def after_step(self, model: Classifier) -> None:
        self.seen.append("after")
        self.teacher.load_state_dict(self.second.state_dict())

    def phases(self, model: Classifier) -> list[Phase]:
        return [Phase("head_", self._head, [self.second]), Phase("body_", self._body, [model.backbone], times=2)]

    def _head(self, model: Classifier, batch: DomainBatch, progress: Progress) -> Loss:
        self.seen.append(f"head {progress.step} of {progress.total}")
        logits = self.second(model(batch.source.weak).features)
        return Loss({"second": F.cross_entropy(logits, batch.source.labels)})

    def _body(self, model: Classifier, batch: DomainBatch, progress: Progress) -> Loss:
        self.seen.append("body")
        return source_loss(model, batch, progress)


@pytest.fixture(autouse=True)
def recorder(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("recorder")
    module.Recorder = Recorder  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "recorder", module)


def weights(module: nn.Module) -> list[torch.Tensor]:
    return [p.detach().clone() for p in module.parameters()]


def moved(before: list[torch.Tensor], module: nn.Module) -> list[bool]:
    return [not torch.equal(old, new) for old, new in zip(before, module.parameters(), strict=True)]


def test_phases_move_their_modules_in_turn_after_a_pretraining() -> None:
    training = Training.build(load_recipe("digits", [*SHORT, "method=recorder:Recorder"]), CPU)
    method = training.method
    assert isinstance(method, Recorder)
    assert (training.pretrain_steps, training.total_steps) == (3, 9)
    for _ in range(3):
        training.advance()
    assert method.seen == []
    assert set(training.take_averages()) == {"loss", "source"}
    model = training.model
    parts = [model.backbone, model.head, method.second]
    before = [weights(part) for part in parts]
    training.advance()
    assert method.seen == ["start", "head 0 of 6", "body", "body", "after"]
    body, head, second = (moved(old, part) for old, part in zip(before, parts, strict=True))
    assert all(body)
    assert all(second)
    assert not any(head)
    assert torch.equal(method.teacher.weight, method.second.weight)
    training.step = 6
    assert set(training.take_averages()) == {"loss", "head_second", "body_source"}


def test_the_pretraining_is_the_sources_and_can_be_turned_off() -> None:
    pretrained = Training.build(load_recipe("digits", [*SHORT, "method=recorder:Recorder"]), CPU)
    plain = Training.build(load_recipe("digits", [*SHORT, "method=source_only"]), CPU)
    for training in (pretrained, plain):
        for _ in range(3):
            training.advance()
    for a, b in zip(pretrained.model.state_dict().values(), plain.model.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    off = load_recipe("digits", [*SHORT, "method=recorder:Recorder", "method.pretrain_epochs=0"])
    assert Training.build(off, CPU).total_steps == 6


def test_the_pretraining_has_a_rate_and_a_schedule_of_its_own() -> None:
    keys = ["train.optimizer.lr=1e-2", "train.schedule=inverse_decay", "train.schedule.gamma=1.0"]
    recipe = load_recipe("digits", [*SHORT, *keys, "method=recorder:Recorder", "method.pretrain_lr=4e-3"])
    training = Training.build(recipe, CPU)
    rates = []
    for _ in range(5):
        training.advance()
        rates.append(training.optimizer.param_groups[0]["lr"])
    expected = [4e-3, 4e-3 * 2**-0.75, 4e-3 * 3**-0.75, 1e-2, 1e-2 * 2**-0.75]
    assert rates == pytest.approx(expected)


def test_the_rate_warms_up_in_a_straight_line() -> None:
    keys = ["method=source_only", "train.optimizer.lr=1e-2", "train.warm_up=4", "train.schedule=cosine"]
    training = Training.build(load_recipe("digits", [*SHORT, *keys]), CPU)
    rates = []
    for _ in range(6):
        training.advance()
        rates.append(training.optimizer.param_groups[0]["lr"])
    cosine = [0.5 * (1 + math.cos(math.pi * step / 6)) for step in range(6)]
    assert rates == pytest.approx([1e-2 * c * w for c, w in zip(cosine, [0.25, 0.5, 0.75, 1, 1, 1], strict=True)])


def test_a_moving_average_of_the_weights_is_what_predicts(tmp_path: Path) -> None:
    recipe = load_recipe("digits", [*SHORT, "method=source_only", "train.ema=0.7"])
    training = Training.build(recipe, CPU)
    expected = None
    for _ in range(4):
        training.advance()
        now = training.model.head.weight.detach()
        expected = now.clone() if expected is None else 0.7 * expected + 0.3 * now
    torch.testing.assert_close(training.evaluated.head.weight, expected)
    assert not torch.equal(training.evaluated.head.weight, training.model.head.weight)
    run = train(recipe, tmp_path / "run")
    fresh = Training.build(recipe, CPU)
    run.load_weights(fresh.model, "last", CPU)
    state = torch.load(run.checkpoint("last"), weights_only=True)
    assert torch.equal(fresh.model.head.weight, state["answering"]["head.weight"])
    assert not torch.equal(fresh.model.head.weight, state["model"]["head.weight"])


def test_a_teacher_predicts_once_the_method_has_begun_and_is_no_recipes_average() -> None:
    recipe = load_recipe("digits", [*SHORT, "method=mean_teacher", "method.pretrain_epochs=1"])
    training = Training.build(recipe, CPU)
    for _ in range(3):
        training.advance()
        assert training.evaluated is training.model
    training.advance()
    assert training.evaluated is training.method.predictor(training.model)
    with pytest.raises(UserError, match=r"train\.ema: 'mean_teacher' predicts with an average of its own"):
        Training.build(load_recipe("digits", [*SHORT, "method=mean_teacher", "train.ema=0.9"]), CPU)


def test_nothing_of_a_step_outlives_it() -> None:
    training = Training.build(load_recipe("digits", [*SHORT, "method=mcd"]), CPU)
    alive: list[weakref.ref[torch.Tensor]] = []
    handle = training.model.backbone.register_forward_hook(lambda *args: alive.append(weakref.ref(args[2])))
    training.advance()
    handle.remove()
    assert len(alive) == 6
    assert [found for found in alive if found() is not None] == []


def test_a_run_starts_from_anothers_weights(tmp_path: Path) -> None:
    first = train(load_recipe("digits", [*SHORT, "method=source_only"]), tmp_path / "first")
    recipe = load_recipe("digits", [*SHORT, "method=dann", "seed=5", f"init={first.folder}"])
    assert recipe.source_only().init is None
    model = Training.build(recipe, CPU).model
    state = torch.load(first.checkpoint("last"), weights_only=True)["model"]
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    first = train(load_recipe("digits", [*SHORT, "method=source_only"]), tmp_path / "first")
    with pytest.raises(UserError, match="do not fit this recipe's network"):
        Training.build(load_recipe("digits", [*SHORT, "backbone.width=4", f"init={first.folder}"]), CPU)
    with pytest.raises(UserError, match="holds no run"):
        Training.build(load_recipe("digits", [*SHORT, f"init={tmp_path / 'none'}"]), CPU)


def test_one_domain_alone_is_classified(tmp_path: Path) -> None:
    recipe = load_recipe("digits", [*SHORT, "method=source_only", "task=optdigits"])
    run = train(recipe, tmp_path / "run")
    domains = run.results["selections"]["last"]["domains"]
    assert list(domains) == ["optdigits"]
    assert domains["optdigits"]["role"] == "source"
    assert run.results["task"] == "optdigits"
    assert run.results["selections"]["last"]["harmonic_mean"] is None
    with pytest.raises(UserError, match="has no target"):
        train(recipe, tmp_path / "other", with_baseline=True)


def test_a_batch_too_small_for_a_norm_is_answered() -> None:
    changes = [*SHORT, "backbone=dtn", "method=mean_teacher", "train.batch.target=1"]
    training = Training.build(load_recipe("digits", changes), CPU)
    with pytest.raises(UserError, match=r"cannot train on so little: Expected more than 1 .* Raise train\.batch"):
        training.advance()


def test_a_method_that_does_not_use_the_target_is_given_none_and_an_oracle_its_labels() -> None:
    task = Training.build(load_recipe("digits", SHORT), CPU).task
    none = task.batch(0, ("weak",), with_target=False)
    assert none.target.weak.shape == (0, 3, 28, 28)
    assert len(none.target.labels) == len(none.target.domain) == 0
    masked, known = (task.batch(0, ("weak",), target_labels=asked) for asked in (False, True))
    assert set(masked.target.labels.tolist()) == {-1}
    assert int(known.target.labels.min()) >= 0
    assert torch.equal(masked.target.weak, known.target.weak)


def test_the_images_that_are_decoded_are_told(tmp_path: Path) -> None:
    """Files are decoded once: a second training reads them from the cache."""
    for number, name in enumerate(f"{domain}/{c}/{i}.png" for domain in "ab" for c in "xy" for i in range(8)):
        (tmp_path / "shop" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (12, 12), (number, 0, 0)).save(tmp_path / "shop" / name)
    told: list[tuple[int, int | None]] = []
    few = load_recipe("digits", [f"dataset={tmp_path / 'shop'}", "task=a:b", "norm=bn", "method=source_only"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UAN_DA_CACHE", str(tmp_path / "cache"))
        Training.build(few, CPU, reading=lambda done, total: told.append((done, total)))
        assert [done for done, _ in told] == list(range(1, 33))
        assert {total for _, total in told} == {32}
        told.clear()
        Training.build(few, CPU, reading=lambda done, total: told.append((done, total)))
    assert told == []
