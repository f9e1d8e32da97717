"""A step whose gradient is taken up the task loss, against the same by hand."""

import copy
import math

import pytest
import torch
from torch.nn import functional as F

from uan_da.methods.method import TransferMethod
from uan_da.methods.routing import forward
from uan_da.methods.transfer import TransferLoss
from uan_da.norms.running import MixtureLayer
from uan_da.recipe import load_recipe
from uan_da.training.training import Training

CPU = torch.device("cpu")
SMALL = ["backbone.width=4", "input.size=16", "augment.weak=[]", "train.batch.source=16", "train.batch.target=8"]
SMALL += ["train.optimizer={name: sgd, lr: 0.1, momentum: 0}", "train.schedule=constant", "train.warm_up=0"]
CDAN_MCC = ["method=cdan", "method.then=[mcc]", "method.hidden=8"]


def build(*overrides: str) -> Training:
    return Training.build(load_recipe("digits", [*SMALL, *overrides]), CPU)


def up(training: Training, radius: float) -> Training:
    """The network up its task loss, the source's cross-entropy and the terms of what is added; computed by hand."""
    batch, method = training.batch(0), training.method
    assert isinstance(method, TransferLoss)
    images, domains = [batch.source.weak, batch.target.weak], [batch.source.domain, batch.target.domain]
    source, target = forward(training.model.train(), images, domains, "joint")
    task = F.cross_entropy(source.logits, batch.source.labels)
    for added in list(method.methods)[1:]:
        assert isinstance(added, TransferMethod)
        task = task + added.transfer(source, target, batch.source.labels, training.progress).total
    parameters = list(training.model.parameters())
    gradients = torch.autograd.grad(task, parameters)
    length = math.sqrt(sum(float(g.double().square().sum()) for g in gradients))
    with torch.no_grad():
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter += radius * gradient / length
    return training


@pytest.mark.parametrize("method", [["method=dann", "method.hidden=8"], CDAN_MCC])
def test_the_step_is_the_gradient_up_the_task_loss(method: list[str]) -> None:
    """The discriminator, too, learns from the second pass; the weights go back before they move."""
    training, plain = build("norm=bn", *method, "method.sdat_radius=0.5"), build("norm=bn", *method)
    climbed = up(build("norm=bn", *method), 0.5)
    statistics = {name: value.clone() for name, value in climbed.model.named_buffers()}
    loss = climbed.method.loss(climbed.model, climbed.batch(0), climbed.progress).total
    parameters = [*climbed.model.parameters(), *climbed.method.parameters()]
    gradients = torch.autograd.grad(loss, parameters)
    start = [*plain.model.parameters(), *plain.method.parameters()]
    expected = [old.detach() - 0.1 * gradient for old, gradient in zip(start, gradients, strict=True)]
    training.advance()
    torch.testing.assert_close([*training.model.parameters(), *training.method.parameters()], expected)
    torch.testing.assert_close(training.sums["loss"], loss.detach())
    assert all(torch.equal(value, statistics[name]) for name, value in training.model.named_buffers())
    plain.advance()
    assert not torch.allclose(next(plain.model.parameters()), expected[0])


def test_what_is_added_and_of_the_predictions_is_part_of_the_task_loss() -> None:
    overrides = ["norm=bn", "method=cdan", "method.then=[mcc, dan]", "method.sdat_radius=0.1"]
    training = build(*overrides)
    assert isinstance(training.method, TransferLoss)
    (phase,) = training.method.phases(training.model)
    assert phase.ascent is not None
    assert set(phase.ascent.loss(training.model, training.batch(0), training.progress).terms) == {"source", "confusion"}
    swapped = build("norm=bn", "method=mcc", "method.then=[{name: cdan, sdat_radius: 0.1}]")
    assert isinstance(swapped.method, TransferLoss)
    assert swapped.method.sdat_radius == 0.1


def test_statistics_and_clusters_follow_one_pass() -> None:
    """They are those of the step without SDAT, which has the first pass alone."""
    trainings = build("norm=uan", *CDAN_MCC), build("norm=uan", *CDAN_MCC, "method.sdat_radius=0.5")
    for training in trainings:
        training.advance()
    plain, smooth = (dict(training.model.named_buffers()) for training in trainings)
    assert any(isinstance(layer, MixtureLayer) for layer in trainings[0].model.modules())
    assert all(torch.equal(value, smooth[name]) for name, value in plain.items())


def test_parts_of_a_batch_go_up_the_gradient_of_the_whole() -> None:
    """Without batch statistics, parts come to what the batch comes to."""
    options = ["norm=ln", "method=dann", "method.hidden=8", "method.sdat_radius=0.5"]
    whole, parts = build(*options), build(*options, "train.accumulate=4")
    for training in (whole, parts):
        training.advance()
    torch.testing.assert_close(list(whole.model.parameters()), list(parts.model.parameters()), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_goes_up_about_as_far(precision: str) -> None:
    options = ["norm=bn", *CDAN_MCC, "method.sdat_radius=0.5"]
    full, half = build(*options), build(*options, f"train.precision={precision}")
    for training in (full, half):
        training.advance()
    assert float(half.sums["loss"]) == pytest.approx(float(full.sums["loss"]), rel=0.05)


def test_a_gradient_that_is_not_finite_leaves_the_weights_where_they_are() -> None:
    training = build("norm=bn", *CDAN_MCC)
    before = copy.deepcopy(list(training.model.parameters()))
    for parameter in training.model.parameters():
        parameter.grad = torch.full_like(parameter, math.inf)
    with training.optimizer_step.ascended(0.5):
        assert all(torch.equal(old, new) for old, new in zip(before, training.model.parameters(), strict=True))


def test_a_training_goes_on_to_the_same_bits() -> None:
    options = ["norm=uan", *CDAN_MCC, "method.sdat_radius=0.05", "method.environment_smoothing=0.1"]
    whole, second = build(*options), build(*options)
    whole.advance()
    second.load_state_dict(copy.deepcopy(whole.state_dict()))
    for training in (whole, second):
        training.advance()
    expected, got = whole.state_dict(), second.state_dict()
    for part in ("model", "method", "sums"):
        assert all(torch.equal(value, got[part][name]) for name, value in expected[part].items())


def test_it_learns_digits() -> None:
    training = build("norm=bn", "method=dann", "method.sdat_radius=0.05", "method.environment_smoothing=0.1")
    losses = []
    for _ in range(60):
        before = training.sums.get("source", torch.tensor(0.0))
        training.advance()
        losses.append(float(training.sums["source"] - before))
    assert sum(losses[-10:]) < 0.6 * sum(losses[:10])
