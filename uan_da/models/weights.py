"""A backbone's initial weights, published or from a file."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from uan_da.errors import UserError
from uan_da.folders import expanded
from uan_da.models.published import published_weights
from uan_da.models.state_file import read_state, without_prefix

HEADS = ("fc", "_fc", "classifier", "head", "heads", "head_dist", "linear", "last_linear", "logits")
"""What networks call their classifier, which a backbone does not have."""

SUFFIXES = (".pt", ".pth", ".bin", ".ckpt", ".tar", ".safetensors")


def load_weights(backbone: nn.Module, name: str, weights: str) -> None:
    """Put ``weights`` into ``backbone``, all of them or none.

    Prefixes such as ``module.`` and the classifier that the weights were trained with are left out. A backbone of one
    input channel takes weights of three by the sum over them: it then does with a grey image what the published network
    does with that image in all three channels.

    Args:
        backbone: as it was built.
        name: the backbone's, in a recipe.
        weights: as in a recipe: ``none``, ``default``, a published name, or a path.

    Raises:
        UserError: the weights are unknown, cannot be had or read, or do not fit (lists what is missing, unexpected and
            of another shape).
    """
    if weights == "none":
        return
    expected = backbone.state_dict()
    state = _grey(without_prefix(_read(name, weights), expected), backbone)
    problems = _misfits(state, expected)
    if problems:
        raise UserError("\n".join([f"backbone.weights={weights} does not fit backbone {name!r}:", *problems]))
    backbone.load_state_dict({key: state[key] for key in expected if key in state}, strict=False)


def load_head(head: nn.Linear, name: str, weights: str) -> None:
    """Put the linear classifier that ``weights`` were trained with into ``head``.

    Args:
        head: as it was built.
        name, weights: as for :func:`load_weights`.

    Raises:
        UserError: there is none, or it has other classes or features.
    """
    state = _read(name, weights)
    found = [key for key in state if key.endswith(".weight") and key.split(".")[-2] in HEADS]
    if len(found) != 1:
        raise UserError(f"{weights}: expected one linear classifier, {' or '.join(HEADS[:3])}, but found {len(found)}")
    (key,) = found
    weight, bias = state[key], state.get(f"{key.removesuffix('weight')}bias")
    if weight.shape != head.weight.shape:
        expected, given = tuple(head.weight.shape), tuple(weight.shape)
        raise UserError(f"{weights}: {key} is {given}, but the classes and the backbone's features ask for {expected}")
    with torch.no_grad():
        head.weight.copy_(weight)
        head.bias.copy_(torch.zeros_like(head.bias) if bias is None else bias)


def _read(name: str, weights: str) -> dict[str, Tensor]:
    """The state dict of a file, or of published weights of backbone ``name``."""
    path = expanded(Path(weights))
    if path.is_file():
        return read_state(path)
    if os.sep in weights or path.suffix in SUFFIXES:
        raise UserError(f"backbone.weights={weights}: there is no such file")
    return published_weights(name, weights)


def _misfits(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> list[str]:
    """A line for each kind of thing that is wrong with ``state``."""
    # PyTorch before 0.4.1 did not count batches
    missing = [key for key in expected if key not in state and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in state if key not in expected and key.partition(".")[0] not in HEADS]
    misshapen = [
        f"{key} {tuple(state[key].shape)}, not {tuple(tensor.shape)}"
        for key, tensor in expected.items()
        if key in state and state[key].shape != tensor.shape
    ]
    kinds = {"missing": missing, "unexpected": unexpected, "of another shape": misshapen}
    return [f"  {len(keys)} {kind}: {_some(keys)}" for kind, keys in kinds.items() if keys]


def _some(keys: Sequence[str], most: int = 8) -> str:
    more = [f"and {len(keys) - most} more"] if len(keys) > most else []
    return ", ".join([*keys[:most], *more])


def _grey(state: dict[str, Tensor], backbone: nn.Module) -> dict[str, Tensor]:
    """``state`` with a first convolution of one input channel, where ``backbone`` has that and ``state`` has three."""
    for path, module in backbone.named_modules():
        if isinstance(module, nn.Conv2d):
            weight = state.get(f"{path}.weight")
            if module.in_channels == 1 and weight is not None and weight.dim() == 4 and weight.shape[1] == 3:
                return {**state, f"{path}.weight": weight.sum(1, keepdim=True)}
            return state
    return state
