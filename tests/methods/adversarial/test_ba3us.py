"""BA3US: its terms in plain loops, what stands on the target's side, and what it moves."""

import math

import pytest
import torch
from torch import Tensor

from uan_da.data.domain_batch import DomainBatch
from uan_da.methods.adversarial.ba3us import BA3US, complement_entropy
from uan_da.methods.method import Progress
from uan_da.models.classifier import Classifier

START = Progress(0, 10)
GAMMA = [1.5, 1.0, 0.5]


@pytest.fixture
def method(model: Classifier) -> BA3US:
    torch.manual_seed(2)
    made = BA3US(
        model, 3, trade_off=0.7, entropy_weight=0.3, complement_weight=0.2, share=0.5, refresh=2, hidden=4
    ).double()
    made.classes.weight.copy_(torch.tensor(GAMMA))
    return made


def entropy(p: list[float]) -> float:
    return -sum(x * math.log(x) for x in p)


def test_the_loss_is_that_of_the_formula(method: BA3US, model: Classifier, batch: DomainBatch) -> None:
    labels = batch.source.labels.tolist()
    source, target = (model(side.weak) for side in (batch.source, batch.target))
    p, q = (output.logits.softmax(1).tolist() for output in (source, target))
    d, e = (method.discriminator(output.features).squeeze(1).sigmoid().tolist() for output in (source, target))
    own = [GAMMA[y] for y in labels]
    classified = sum(-w * math.log(row[y]) for w, row, y in zip(own, p, labels, strict=True)) / sum(own)
    near = [w * (1 + math.exp(-entropy(row))) for w, row in zip(own, p, strict=True)]
    far = [1 + math.exp(-entropy(row)) for row in q]
    middle = [0, 2]  # half of four images, evenly spaced
    on_source = sum(-w * math.log(x) for w, x in zip(near, d, strict=True))
    on_source += sum(-near[i] * math.log(1 - d[i]) for i in middle)
    domain = 1.5 * on_source / (sum(near) + sum(near[i] for i in middle))
    domain += sum(-w * math.log(1 - x) for w, x in zip(far, e, strict=True)) / sum(far)
    weights = [w * (1 - row[y]) for w, row, y in zip(own, p, labels, strict=True)]
    others = [[x / (1 - row[y]) for k, x in enumerate(row) if k != y] for row, y in zip(p, labels, strict=True)]
    complement = sum(w * entropy(row) for w, row in zip(weights, others, strict=True)) / sum(weights) / math.log(2)
    expected = {
        "source": classified,
        "domain": 0.7 * domain / 2.5,
        "entropy": 0.3 * sum(map(entropy, q)) / 5,
        "complement": -0.2 * complement,
    }
    terms = method.loss(model, batch, START).terms
    assert {name: float(value.detach()) for name, value in terms.items()} == pytest.approx(expected, rel=1e-6)


def test_fewer_source_images_stand_on_the_targets_side_at_each_refresh(model: Classifier) -> None:
    method = BA3US(model, 3, share=0.25, refresh=100)
    counts = [len(method.middle(32, Progress(step, 400))) for step in (0, 99, 100, 200, 300, 399, 400)]
    assert counts == [8, 8, 6, 4, 2, 2, 0]
    assert method.middle(32, Progress(0, 400)).tolist() == [0, 4, 8, 12, 16, 20, 24, 28]
    for none in (method.middle(3, Progress(0, 400)), BA3US(model, 3, share=0.0).middle(32, Progress(0, 400))):
        assert len(none) == 0
    assert len(method.middle(32, Progress(50, 60))) == 8  # a training shorter than a refresh


@pytest.mark.parametrize("classes", [1, 2])
def test_one_other_class_has_no_entropy(classes: int) -> None:
    logits = torch.randn(3, classes, requires_grad=True)
    loss = complement_entropy(logits, torch.zeros(3).long(), torch.ones(3))
    (gradient,) = torch.autograd.grad(loss, logits)
    assert float(loss.detach()) == 0
    assert gradient.isfinite().all()


def test_what_is_certain_has_a_finite_loss_and_gradient() -> None:
    logits = torch.tensor([[1e4, 0.0, 1.0], [0.0, 1e4, -1e4]], requires_grad=True)
    loss = complement_entropy(logits, torch.tensor([0, 0]), torch.ones(2))
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss.isfinite()
    assert gradient.isfinite().all()
    sure = complement_entropy(logits[:1], torch.tensor([0]), torch.ones(1))  # no image counts
    assert float(sure.detach()) == 0


def test_the_discriminator_descends_and_the_features_ascend(
    method: BA3US, model: Classifier, batch: DomainBatch
) -> None:
    """At the end of the training, when the reversal is strongest and no source image stands on the other side."""
    end, (phase,) = Progress(9, 10), method.phases(model)
    assert phase.modules == ()

    def domain() -> Tensor:
        return method.loss(model, batch, end).terms["domain"]

    own, features = [method.discriminator[0].weight], list(model.backbone.parameters())
    for parameters, sign in ((own, -1), (features, 1)):
        before = float(domain().detach())
        for parameter, gradient in zip(parameters, torch.autograd.grad(domain(), parameters), strict=True):
            parameter.data -= 1e-2 * gradient
        assert sign * (float(domain().detach()) - before) > 0


def test_the_class_weights_follow_the_target(method: BA3US, model: Classifier, batch: DomainBatch) -> None:
    for _ in range(2):
        method.loss(model, batch, START)
        method.after_step(model)
    mean = model(batch.target.weak).logits.softmax(1).mean(0).detach()
    torch.testing.assert_close(method.classes.weight, mean / mean.mean())
