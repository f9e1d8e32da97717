import pytest
import torch
from torch import nn

from uan_da.models.classifier import Classifier
from uan_da.norms import UAN2d
from uan_da.training.optimizer import adam, adamw, parameter_groups, sgd
from uan_da.training.schedule import constant, cosine, inverse_decay


def test_mixture_parameters_do_not_decay() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), UAN2d(4, shrink=0.5))
    decayed, kept = parameter_groups([model], 1e-3, 0.1, 1.0)
    norm = model[1]
    assert {id(p) for p in kept["params"]} == {
        id(p) for p in (norm.mean, norm.log_var, norm.prior_logits, norm.shrink_logit)
    }  # type: ignore[attr-defined]
    assert kept["weight_decay"] == 0.0
    assert decayed["weight_decay"] == 0.1
    assert len(decayed["params"]) + len(kept["params"]) == len(list(model.parameters()))  # type: ignore[arg-type]


def test_a_model_without_such_layers_has_one_group() -> None:
    assert len(parameter_groups([nn.Linear(2, 2), nn.Linear(2, 1)], 1e-3, 0.0, 1.0)) == 1


def test_the_backbone_learns_slower_and_frozen_parameters_are_left_out() -> None:
    model = Classifier(nn.Sequential(nn.Conv2d(3, 4, 3), UAN2d(4)), 4, 2)
    teacher = nn.Linear(2, 2).requires_grad_(False)
    groups = parameter_groups([model, nn.Linear(3, 1), teacher], 1e-2, 0.1, 0.1)
    rates = {id(p): (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}
    assert rates[id(model.backbone[0].weight)] == (pytest.approx(1e-3), 0.1)  # type: ignore[index, union-attr]
    assert rates[id(model.backbone[1].mean)] == (pytest.approx(1e-3), 0.0)  # type: ignore[index, union-attr]
    assert rates[id(model.head.weight)] == (1e-2, 0.1)
    assert id(teacher.weight) not in rates
    assert len(rates) == len(list(model.parameters())) + 2


@pytest.mark.parametrize("build", [adam, adamw, sgd])
def test_weight_decay_shrinks_weights_and_leaves_clusters(build) -> None:
    torch.manual_seed(0)  # of weights that a step of this size does not carry past 0
    model = nn.Sequential(nn.Conv2d(3, 4, 3), UAN2d(4))
    with torch.no_grad():
        model[1].mean.fill_(2.0)
    optimizer = build([model], lr=1e-4, weight_decay=0.5)
    weight = model[0].weight.detach().clone()
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    assert (model[0].weight.abs() < weight.abs()).all()
    assert (model[1].mean == 2.0).all()


def test_the_backbones_momentum_may_be_another() -> None:
    model = Classifier(nn.Sequential(nn.Conv2d(3, 4, 3)), 4, 2)
    same, other = (sgd([model], momentum=0.9, nesterov=False, backbone_momentum=m) for m in (None, 0.0))
    assert {group["backbone"]: group["momentum"] for group in same.param_groups} == {True: 0.9, False: 0.9}
    assert {group["backbone"]: group["momentum"] for group in other.param_groups} == {True: 0.0, False: 0.9}


def test_schedules() -> None:
    assert constant(5, 10) == 1.0
    assert cosine(0, 10) == 1.0
    assert cosine(5, 10, final=0.5) == pytest.approx(0.75)
    assert cosine(10, 10, final=0.25) == pytest.approx(0.25)
    assert inverse_decay(1000, 1, gamma=1e-3) == pytest.approx(2**-0.75)
