"""GVB: its loss in plain loops, what it moves, and the network that it predicts with."""

import math

import pytest
import torch
from torch import nn

from uan_da.data.domain_batch import DomainBatch
from uan_da.errors import UserError
from uan_da.methods.adversarial.gradient_reversal import reversal_strength
from uan_da.methods.adversarial.gvb import GVB
from uan_da.methods.method import Progress
from uan_da.models.classifier import Classifier
from uan_da.recipe.network import Head

HALF = Progress(1, 2)


@pytest.fixture
def method(model: Classifier) -> GVB:
    torch.manual_seed(2)
    return GVB(model, 3, trade_off=0.7, generator_bridge=0.4, discriminator_bridge=0.3, hidden=4).double()


def test_the_loss_is_that_of_the_formula(method: GVB, model: Classifier, batch: DomainBatch) -> None:
    sides = [model(side.weak) for side in (batch.source, batch.target)]
    bridges = [method.bridge(side.features) for side in sides]
    logits = [side.logits - bridge for side, bridge in zip(sides, bridges, strict=True)]
    classified = -sum(
        float(z.detach().log_softmax(0)[y]) for z, y in zip(logits[0], batch.source.labels.tolist(), strict=True)
    )
    domain, taken = 0.0, []
    for z, is_source in zip(logits, (True, False), strict=True):
        p = z.detach().softmax(1)
        certainty = [math.exp(sum(float(v) * math.log(float(v)) for v in row)) for row in p]
        for row, w in zip(p, certainty, strict=True):
            hidden = method.discriminator[3](method.discriminator[2](method.discriminator[:2](row)))
            taken.append(float(method.discriminator_bridge(hidden).detach()))
            d = 1 / (1 + math.exp(taken[-1] - float(method.discriminator[4](hidden).detach())))
            domain -= 0.5 * w / sum(certainty) * math.log(d if is_source else 1 - d)
    terms = method.loss(model, batch, HALF).terms
    expected = {
        "source": classified / 4,
        "domain": 0.7 * domain,
        "generator_bridge": 0.4 * sum(float(b.detach().abs().sum()) for b in bridges) / (9 * 3),
        "discriminator_bridge": 0.3 * sum(map(abs, taken)) / 9,
    }
    assert {name: float(value.detach()) for name, value in terms.items()} == pytest.approx(expected)


def test_only_the_predictions_are_reversed(method: GVB, model: Classifier, batch: DomainBatch) -> None:
    """The discriminator descends on its loss and on its bridge; what makes the predictions ascends on both."""
    strength = reversal_strength(HALF)
    for name in ("domain", "discriminator_bridge"):
        reversed_ = torch.autograd.grad(method.loss(model, batch, HALF).terms[name], [model.head.weight])[0]
        method.reversal_high = -1 / strength  # the reversal becomes the identity
        plain = torch.autograd.grad(method.loss(model, batch, HALF).terms[name], [model.head.weight])[0]
        method.reversal_high = 1.0
        torch.testing.assert_close(reversed_, -strength * plain)
    own = torch.autograd.grad(
        method.loss(model, batch, HALF).terms["generator_bridge"], list(method.bridge.parameters())
    )
    assert all(bool(gradient.any()) for gradient in own)
    (phase,) = method.phases(model)
    assert phase.modules == ()


def test_the_network_that_is_kept_has_the_bridge_in_its_head(
    method: GVB, model: Classifier, batch: DomainBatch
) -> None:
    images = batch.target.weak
    kept = method.predictor(model)
    features, logits = model(images)
    torch.testing.assert_close(kept(images).logits, logits - method.bridge(features))
    assert kept.backbone is model.backbone
    assert kept.state_dict().keys() == model.state_dict().keys()
    torch.testing.assert_close(model(images).logits, logits)


@pytest.mark.parametrize("head", [Head(hidden=(4,)), Head(cosine=0.05)])
def test_a_head_that_is_not_linear_is_refused(head: Head) -> None:
    with pytest.raises(UserError, match=r"gvb.*leave out the options of head"):
        GVB(Classifier(nn.Flatten(), 12, 3, head=head), 3)
