import copy
import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from uan_da.data.domain_batch import DomainBatch, DomainImages
from uan_da.methods.adversarial.dirt_t import DIRTT
from uan_da.methods.adversarial.vada import VADA
from uan_da.methods.method import Progress
from uan_da.models.classifier import Classifier


@pytest.fixture
def method(model: Classifier) -> DIRTT:
    torch.manual_seed(2)
    return DIRTT(model, 3, target_weight=0.2, beta=0.3, radius=0.4, refresh=3, decay=0.9).double()


def weight(network: nn.Module) -> Tensor:
    found = network.backbone[1].weight.detach().clone()  # type: ignore[union-attr,index]
    assert isinstance(found, Tensor)
    return found


def test_terms_equal_the_formulas(method: DIRTT, model: Classifier, batch: DomainBatch) -> None:
    method.start(model)
    q = model(batch.target.weak).logits.softmax(1).tolist()
    model.backbone[1].weight.data += 0.1
    p = model(batch.target.weak).logits.softmax(1).tolist()
    loss = method.loss(model, batch, Progress(0, 9))
    assert list(loss.terms) == ["target_smoothness", "target_entropy", "teacher"]
    entropy = -sum(v * math.log(v) for row in p for v in row) / 5
    far = sum(b * (math.log(b) - math.log(a)) for x, y in zip(p, q, strict=True) for a, b in zip(x, y, strict=True)) / 5
    assert float(loss.terms["target_entropy"].detach()) == pytest.approx(0.2 * entropy)
    assert float(loss.terms["teacher"].detach()) == pytest.approx(0.3 * far)
    assert float(loss.terms["target_smoothness"].detach()) > 0


def test_the_source_has_no_part_in_it(method: DIRTT, model: Classifier, batch: DomainBatch) -> None:
    method.start(model)
    wild = DomainImages({"weak": batch.source.weak * 1e6}, batch.source.labels, batch.source.domain)
    losses = []
    for source in (batch.source, wild):
        torch.manual_seed(0)
        losses.append(float(method.loss(model, DomainBatch(source, batch.target), Progress(0, 9)).total.detach()))
    assert losses[0] == losses[1]


def test_the_teacher_holds_the_predictions_back(method: DIRTT, model: Classifier, batch: DomainBatch) -> None:
    method.start(model)
    model.backbone[1].weight.data += 0.3
    first = method.loss(model, batch, Progress(0, 9)).terms["teacher"]
    gradients = torch.autograd.grad(first, list(model.parameters()))
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        parameter.data -= 0.1 * gradient
    assert method.loss(model, batch, Progress(1, 9)).terms["teacher"] < first
    assert not any(p.requires_grad for p in [*method.teacher.parameters(), *method.average.parameters()])


def test_pre_training_is_vada_and_the_average_follows_it(method: DIRTT, model: Classifier, batch: DomainBatch) -> None:
    vada = VADA(model, 3, target_weight=0.2, radius=0.4).double()
    vada.load_state_dict(method.vada.state_dict())
    losses = []
    for loss in (method.pretrain_loss, vada.loss):
        torch.manual_seed(0)
        losses.append(loss(model, batch, Progress(0, 9)).terms)
    assert losses[0].keys() == losses[1].keys()
    for name, term in losses[0].items():
        torch.testing.assert_close(term, losses[1][name])
    first = weight(model)
    model.backbone[1].weight.data += 1
    method.start(model)
    torch.testing.assert_close(weight(method.predictor(model)), 0.9 * first + 0.1 * (first + 1))


def test_it_predicts_with_the_model_until_there_is_an_average(method: DIRTT, model: Classifier) -> None:
    assert method.predictor(model) is model
    method.start(model)  # without a pre-training: the recipe's `init`, or a fresh model
    assert method.predictor(model) is method.average.module
    torch.testing.assert_close(weight(method.predictor(model)), weight(model))


def test_the_average_follows_each_step_and_the_teacher_leaps(
    method: DIRTT, model: Classifier, batch: DomainBatch
) -> None:
    method.start(model)
    average, teachers = weight(model), []
    for step in range(7):
        method.loss(model, batch, Progress(step, 7))
        if step % 3 == 0:
            torch.testing.assert_close(weight(method.teacher), average)
        teachers.append(weight(method.teacher))
        model.backbone[1].weight.data += 0.1 * torch.randn(6, 12, dtype=torch.float64)
        method.after_step(model)
        average = 0.9 * average + 0.1 * weight(model)
        torch.testing.assert_close(weight(method.predictor(model)), average)
    assert [torch.equal(a, b) for a, b in pairwise(teachers)] == [True, True, False] * 2


def test_the_average_has_the_models_running_statistics_and_the_teacher_uses_them() -> None:
    torch.manual_seed(0)
    model = Classifier(nn.Sequential(nn.BatchNorm2d(3), nn.Flatten()), 12, 2)
    method = DIRTT(model, 2, refresh=1).train()
    method.start(model)
    images = DomainImages({"weak": torch.randn(6, 3, 2, 2) + 3}, torch.full((6,), -1), torch.ones(6).long())
    batch = DomainBatch(images, images)
    method.loss(model, batch, Progress(0, 9))
    method.after_step(model)
    before = copy.deepcopy(method.average.module)
    assert int(model.backbone[0].num_batches_tracked) == 1
    torch.testing.assert_close(before.backbone[0].running_mean, model.backbone[0].running_mean)
    loss = method.loss(model, batch, Progress(1, 9))
    torch.testing.assert_close(method.teacher.state_dict(), before.state_dict())
    q, p = before.eval()(images.weak).logits.softmax(1), model(images.weak).logits.log_softmax(1)
    far = (q * (q.log() - p)).sum(1).mean()
    torch.testing.assert_close(loss.terms["teacher"], 0.01 * far)


def test_all_it_keeps_is_in_its_state(method: DIRTT, model: Classifier, batch: DomainBatch) -> None:
    method.start(model)
    method.loss(model, batch, Progress(0, 9))
    model.backbone[1].weight.data += 1
    method.after_step(model)
    other = DIRTT(model, 3, target_weight=0.2, beta=0.3, radius=0.4, refresh=3, decay=0.9).double()
    other.load_state_dict(method.state_dict())
    losses = []
    for each in (method, other):
        torch.manual_seed(0)
        losses.append(float(each.loss(model, batch, Progress(1, 9)).total.detach()))
    assert losses[0] == losses[1]
    assert torch.equal(weight(other.predictor(model)), weight(method.predictor(model)))


@pytest.mark.parametrize("num_classes", [1, 3])
def test_a_single_image_will_do(num_classes: int) -> None:
    model = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(12, 6), nn.Tanh()), 6, num_classes)
    method = DIRTT(model, num_classes)
    method.start(model)
    one = DomainImages({"weak": torch.ones(1, 3, 2, 2)}, torch.tensor([-1]), torch.tensor([1]))
    loss = method.loss(model, DomainBatch(one, one), Progress(0, 1))
    grads = torch.autograd.grad(loss.total, list(model.parameters()))
    assert loss.total.isfinite()
    assert all(gradient.isfinite().all() for gradient in grads)
