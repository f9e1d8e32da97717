"""PADA: its weights and its terms in plain loops, and what it moves."""

import math

import pytest
import torch

from uan_da.data.domain_batch import DomainBatch
from uan_da.methods.adversarial.pada import PADA
from uan_da.methods.method import Progress
from uan_da.models.classifier import Classifier

HALF = Progress(1, 2)


@pytest.fixture
def method(model: Classifier) -> PADA:
    torch.manual_seed(2)
    made = PADA(model, 3, trade_off=0.7, refresh=2, hidden=4).double()
    made.classes.weight.copy_(torch.tensor([1.5, 1.0, 0.5]))
    return made


def test_the_loss_is_that_of_the_formula(method: PADA, model: Classifier, batch: DomainBatch) -> None:
    labels, weight = batch.source.labels.tolist(), [1.5, 1.0, 0.5]
    source, target = (model(side.weak) for side in (batch.source, batch.target))
    p = source.logits.softmax(1)
    on = [method.discriminator(output.features).squeeze(1).sigmoid().tolist() for output in (source, target)]
    own = [weight[y] for y in labels]
    classified = -sum(w * math.log(float(p[i, y].detach())) for i, (y, w) in enumerate(zip(labels, own, strict=True)))
    domain = -0.5 * sum(w / max(own) * math.log(d) for w, d in zip(own, on[0], strict=True)) / 4
    domain -= 0.5 * sum(math.log(1 - d) for d in on[1]) / 5
    terms = method.loss(model, batch, HALF).terms
    expected = {"source": classified / sum(own), "domain": 0.7 * domain}
    assert {name: float(value.detach()) for name, value in terms.items()} == pytest.approx(expected)


def test_a_class_that_no_target_image_is_taken_for_counts_nothing(
    method: PADA, model: Classifier, batch: DomainBatch
) -> None:
    """The weights are the mean predictions of the steps since the last time, and then they start anew."""
    means = []
    for step in range(4):
        with torch.no_grad():
            model.head.bias.copy_(torch.tensor([step, 0.0, -50.0]))
            means.append(model(batch.target.weak).logits.softmax(1).mean(0))
        method.loss(model, batch, HALF)
        before = method.classes.weight.clone()
        method.after_step(model)
        if step % 2 == 0:
            assert torch.equal(method.classes.weight, before)
        else:
            expected = means[step] + means[step - 1]
            torch.testing.assert_close(method.classes.weight, expected / expected.mean())
    assert float(method.classes.weight.mean()) == pytest.approx(1)
    assert float(method.classes.weight[2]) < 1e-15
    loss = method.loss(model, batch, HALF)
    assert loss.total.isfinite()


def test_sharpness_makes_the_weights_of_surer_predictions(model: Classifier, batch: DomainBatch) -> None:
    method = PADA(model, 3, refresh=1, sharpness=10.0).double()
    method.loss(model, batch, HALF)
    method.after_step(model)
    expected = (10 * model(batch.target.weak).logits).softmax(1).mean(0).detach()
    torch.testing.assert_close(method.classes.weight, expected / expected.mean())


def test_the_discriminator_descends_and_the_features_ascend(
    method: PADA, model: Classifier, batch: DomainBatch
) -> None:
    (phase,) = method.phases(model)
    assert phase.modules == ()
    loss = method.loss(model, batch, HALF)
    (own,) = torch.autograd.grad(loss.terms["domain"], [method.discriminator[0].weight], retain_graph=True)
    of_features = torch.autograd.grad(loss.terms["domain"], list(model.backbone.parameters()))
    for parameters, gradients, sign in (
        ([method.discriminator[0].weight], [own], -1),
        (list(model.backbone.parameters()), of_features, 1),
    ):
        before = float(method.loss(model, batch, HALF).terms["domain"].detach())
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter -= 1e-2 * gradient
        assert sign * (float(method.loss(model, batch, HALF).terms["domain"].detach()) - before) > 0
