"""A copy of a model with a norm does what the model does."""

import copy
import io
import pickle
from typing import Any

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.optim.swa_utils import AveragedModel

from uan_da.norms import domain_context


@pytest.mark.works("`copy.deepcopy`")
def test_deepcopy(works: Any, norm: str) -> None:
    model = works.trained(norm)
    before = works.state(model)
    works.step(copy.deepcopy(model), works.images(seed=9))
    torch.testing.assert_close(works.state(model), before, rtol=0, atol=0)
    works.assert_twins(copy.deepcopy(model), model)


@pytest.mark.works("`pickle`, `torch.save`")
def test_pickle(works: Any, norm: str) -> None:
    model = works.trained(norm)
    works.assert_twins(pickle.loads(pickle.dumps(model)), copy.deepcopy(model))
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    works.assert_twins(torch.load(file, weights_only=False), model)


@pytest.mark.works("`state_dict`")
def test_state_dict(works: Any, norm: str) -> None:
    model, other = works.trained(norm), works.network(norm)
    other.load_state_dict(copy.deepcopy(model.state_dict()))
    works.assert_twins(other, model)


@pytest.mark.works("tensors copied in place, as into a teacher")
def test_tensors_copied_in_place(works: Any, norm: str) -> None:
    model, teacher = works.trained(norm), works.network(norm)
    with torch.no_grad():
        for mine, theirs in zip(teacher.state_dict().values(), model.state_dict().values(), strict=True):
            mine.copy_(theirs)
    works.assert_twins(teacher, model)


@pytest.mark.works("`AveragedModel`, with and without buffers")
@pytest.mark.parametrize("use_buffers", [False, True])
def test_averaged_model(works: Any, norm: str, use_buffers: bool) -> None:
    model = works.network(norm)
    average = AveragedModel(model, use_buffers=use_buffers)  # before any training
    works.step(model, works.images())
    average.update_parameters(model)
    first = works.state(model)
    if use_buffers:
        torch.testing.assert_close(works.state(average.module), first)
    works.step(model, works.images(seed=1))
    average.update_parameters(model)
    names = {name for name, value in model.state_dict().items() if value.is_floating_point()}
    if not use_buffers:
        names &= {name for name, _ in model.named_parameters()}
    second, mean = works.state(model), works.state(average.module)
    torch.testing.assert_close(
        {name: mean[name] for name in names}, {name: (first[name] + second[name]) / 2 for name in names}
    )
    assert works.forward(average.module, works.images()).isfinite().all()
    assert works.forward(average.eval().module, works.images()).isfinite().all()


@pytest.mark.works("`functional_call`")
def test_functional_call(works: Any, norm: str) -> None:
    model, other = works.trained(norm), works.network(norm)
    given, before, x = works.state(model), works.state(other), works.images(seed=7)
    for name, _ in other.named_parameters():
        given[name].requires_grad_()  # else they are frozen
    with domain_context(other, works.INDEX):
        y = functional_call(other, given, (x,))
    torch.testing.assert_close(y, works.forward(model, x))
    torch.testing.assert_close(given, works.state(model))
    torch.testing.assert_close(works.state(other), before, rtol=0, atol=0)


@pytest.mark.works("`reset_parameters()`, for the next fold")
def test_reset_parameters(works: Any, norm: str) -> None:
    model, fresh = works.trained(norm), works.network(norm)
    reset(model)
    for mine, theirs in zip(model.modules(), fresh.modules(), strict=True):
        if isinstance(mine, nn.Conv2d):
            mine.load_state_dict(theirs.state_dict())
    torch.testing.assert_close(works.state(model), works.state(fresh), rtol=0, atol=0)
    works.assert_twins(model, fresh)


def reset(model: nn.Module) -> None:
    for module in model.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()


@pytest.mark.works("device `meta`, then `to_empty`")
def test_meta(works: Any, norm: str) -> None:
    fresh = works.network(norm)
    with torch.device("meta"):
        model = works.network(norm)
    assert all(value.is_meta for value in model.state_dict().values())
    with domain_context(model, 1):
        assert model(torch.empty(works.N, 3, 4, 4, device="meta")).shape == (works.N, 2, 4, 4)
        assert model.eval()(torch.empty(works.N, 3, 4, 4, device="meta")).shape == (works.N, 2, 4, 4)
    model = model.train().to_empty(device="cpu")
    for value in model.state_dict().values():
        value.fill_(7)  # what an allocation may hold
    reset(model)
    model[0].load_state_dict(fresh[0].state_dict())
    model[3].load_state_dict(fresh[3].state_dict())
    works.assert_twins(model, fresh)
