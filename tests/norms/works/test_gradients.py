"""What is done to a norm between a forward and its backward, and what does not train."""

import copy
from typing import Any

import pytest
import torch
from torch.nn.utils import prune
from torch.utils.checkpoint import checkpoint

from uan_da.norms import domain_context


@pytest.mark.works("activation checkpointing, reentrant and not")
@pytest.mark.parametrize("use_reentrant", [False, True])
def test_activation_checkpointing(works: Any, norm: str, use_reentrant: bool) -> None:
    plain, kept = works.network(norm), works.network(norm)
    for seed in range(5):
        kept.load_state_dict(plain.state_dict())  # running statistics of a BatchNorm move twice under checkpointing
        gradients = []
        for model, call in ((plain, plain), (kept, lambda x: checkpoint(kept, x, use_reentrant=use_reentrant))):
            model.zero_grad()
            x = works.images(seed=seed).requires_grad_()
            with domain_context(model, works.INDEX):
                call(x).square().sum().backward()
            gradients.append([x.grad, *(parameter.grad for parameter in model.parameters())])
        torch.testing.assert_close(*gradients)


@pytest.mark.works("two forwards, then a backward")
def test_two_forwards_then_a_backward(works: Any, norm: str) -> None:
    model = works.network(norm)
    works.forward(model, works.images())
    x = works.images(seed=1).requires_grad_()
    alone = torch.autograd.grad(works.forward(copy.deepcopy(model), x).square().sum(), x)[0]
    y = works.forward(model, x)
    for seed in (2, 3, 4):
        works.forward(model, works.images(seed=seed))
    torch.testing.assert_close(torch.autograd.grad(y.square().sum(), x)[0], alone)


@pytest.mark.works("frozen: `requires_grad_(False)` and `eval()`")
def test_frozen(works: Any, norm: str) -> None:
    model = works.trained(norm).requires_grad_(False)
    parameters = {name: value.clone() for name, value in model.named_parameters()}
    for seed in range(4):
        works.forward(model, works.images(seed=seed))
    torch.testing.assert_close(dict(model.named_parameters()), parameters, rtol=0, atol=0)
    before = works.state(model.eval())
    for seed in range(4):
        works.forward(model, works.images(seed=seed))
    torch.testing.assert_close(works.state(model), before, rtol=0, atol=0)


@pytest.mark.works("pruning")
def test_pruning(works: Any, norm: str) -> None:
    model = works.trained(norm)
    twin = copy.deepcopy(model)
    pairs = [
        (layer, other)
        for layer, other in zip(model[1].modules(), twin[1].modules(), strict=True)
        if getattr(layer, "weight", None) is not None
    ]
    assert pairs
    for layer, other in pairs:
        prune.random_unstructured(layer, "weight", 2)
        with torch.no_grad():
            other.weight.mul_(layer.weight_mask)
    for mode in (True, False):
        torch.testing.assert_close(
            works.forward(model.train(mode), works.images()), works.forward(twin.train(mode), works.images())
        )
    works.forward(model, works.images()).sum().backward()
    assert all(layer.weight_orig.grad is not None for layer, _ in pairs)
