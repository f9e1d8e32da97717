"""Put another norm in the place of a model's BatchNorms."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.nn.modules.lazy import LazyModuleMixin

from uan_da.names import NORMS
from uan_da.norms.batch import BatchNorm

Factory = Callable[..., nn.Module]
"""Makes, from a BatchNorm and keyword options, the layer that takes its place."""


@dataclass(frozen=True)
class Replacement:
    """One layer that was converted: its path in the model, and the classes before and after."""

    path: str
    before: str
    after: str


@dataclass(frozen=True)
class Conversion:
    """What :func:`convert_norm` did."""

    replacements: tuple[Replacement, ...]

    def __len__(self) -> int:
        return len(self.replacements)

    def __str__(self) -> str:
        count = len(self)
        lines = [f"  {layer.path}: {layer.before} → {layer.after}" for layer in self.replacements]
        return "\n".join([f"{count} norm{'' if count == 1 else 's'} converted", *lines])


def convert_norm(model: nn.Module, to: str | Factory, where: str = "all", **options: Any) -> Conversion:
    """Replace BatchNorm layers (1d, 2d, 3d, Sync, and timm's with an activation) of ``model``, in place.

    A BatchNorm that has seen data hands over what the new norm can hold; for UAN that keeps the model's
    function. The converted parameters are new objects: make the optimizer afterwards.

    Args:
        model: any torchvision, timm or own module.
        to: a norm's name (``"uan"``), a ``module:object``, or a function from a BatchNorm to the layer in its
            place.
        where: ``"all"``; ``"first"`` or ``"last"`` in the order of definition; ``"input"``, a new layer in
            front of the model, which must have an attribute ``input_norm`` (an ``nn.Identity``, say) that its
            forward calls on the input; or ``"re:PATTERN"``, the layers whose path the regular expression
            finds.
        options: the keyword-only arguments of the norm.

    Returns:
        Which layers were converted.

    Raises:
        ValueError: nothing to convert, or ``where`` is not one of the above.
        UserError: an unknown name.
    """
    factory: Factory = NORMS.load(to) if isinstance(to, str) else to
    if where == "input":
        return _put_in_front(model, factory, options)
    made: dict[nn.Module, nn.Module] = {}  # a layer that stands at several paths is converted once
    replacements = []
    for path, bn in _chosen(model, where):
        if bn not in made:
            made[bn] = _converted(path, bn, factory, options)
        parent, _, name = path.rpartition(".")
        setattr(model.get_submodule(parent), name, made[bn])
        replacements.append(Replacement(path, type(bn).__name__, _name(made[bn])))
    return Conversion(tuple(replacements))


def _chosen(model: nn.Module, where: str) -> list[tuple[str, BatchNorm]]:
    """The paths and layers that ``where`` means; never none."""
    norms = [
        (path, module)
        for path, module in model.named_modules(remove_duplicate=False)
        if isinstance(module, BatchNorm) and path
    ]
    if not norms:
        raise ValueError(f"no BatchNorm to convert: {_norms_of(model)}")
    if where in ("first", "last"):
        one = norms[0 if where == "first" else -1][1]
        return [(path, bn) for path, bn in norms if bn is one]
    if where == "all":
        return norms
    if not where.startswith("re:"):
        raise ValueError(f"Expected `where` to be 'all', 'first', 'last', 'input' or 're:PATTERN', but got {where!r}")
    try:
        pattern = re.compile(where.removeprefix("re:"))
    except re.error as error:
        raise ValueError(f"{where!r} is not a regular expression: {error}") from error
    found = [(path, bn) for path, bn in norms if pattern.search(path)]
    if not found:
        paths = ", ".join(path for path, _ in norms)
        raise ValueError(f"{where!r} is found in none of the BatchNorms: {paths}")
    return found


def _norms_of(model: nn.Module) -> str:
    """What stands in a model without a BatchNorm."""
    if isinstance(model, BatchNorm):
        return "the model itself is one, and has no parent to put another in"
    names = Counter(_name(module) for module in model.modules() if "Norm" in _name(module) or "UAN" in _name(module))
    there = ", ".join(f"{count} {name}" for name, count in names.items())
    return f"the model's norms are {there}" if there else "the model has no norm"


def _converted(path: str, bn: BatchNorm, factory: Factory, options: dict[str, Any]) -> nn.Module:
    if isinstance(bn, LazyModuleMixin) and bn.has_uninitialized_params():
        raise ValueError(f"{path} is lazy: run the model once before its norms are converted")
    tail = _activation(bn)
    plain = bn if tail is None else _without_activation(bn)
    norm = factory(plain, **options)
    if norm is plain:
        return bn
    norm.train(bn.training)
    return norm if tail is None else nn.Sequential(norm, *tail)


def _activation(bn: BatchNorm) -> tuple[nn.Module, nn.Module] | None:
    """The dropout and activation that timm's ``BatchNormAct2d`` applies to its output."""
    drop, act = getattr(bn, "drop", None), getattr(bn, "act", None)
    return (drop, act) if isinstance(drop, nn.Module) and isinstance(act, nn.Module) else None


def _without_activation(bn: BatchNorm) -> BatchNorm:
    """The BatchNorm2d inside timm's layer, with the same tensors."""
    plain = nn.BatchNorm2d(bn.num_features, bn.eps, bn.momentum, bn.affine, bn.track_running_stats)
    plain.weight, plain.bias = bn.weight, bn.bias
    plain.running_mean, plain.running_var = bn.running_mean, bn.running_var
    plain.num_batches_tracked = bn.num_batches_tracked
    return plain


def _put_in_front(model: nn.Module, factory: Factory, options: dict[str, Any]) -> Conversion:
    """One norm on the raw input, as the UAN authors placed theirs."""
    before = getattr(model, "input_norm", None)
    if not isinstance(before, nn.Module):
        raise ValueError(
            "where='input' needs a model with an attribute `input_norm` that its forward calls on the input, "
            f"and {type(model).__name__} has none; nn.Sequential(norm, model) does the same"
        )
    convolution = next((module for module in model.modules() if isinstance(module, _CONVOLUTIONS)), None)
    if convolution is None:
        raise ValueError("where='input' found no convolution to take the number of input channels from")
    batch_norms = {nn.Conv1d: nn.BatchNorm1d, nn.Conv2d: nn.BatchNorm2d, nn.Conv3d: nn.BatchNorm3d}
    make = next(bn for conv, bn in batch_norms.items() if isinstance(convolution, conv))
    weight = convolution.weight
    norm = factory(make(convolution.in_channels, device=weight.device, dtype=weight.dtype), **options)
    model.input_norm = norm.train(model.training)
    return Conversion((Replacement("input_norm", _name(before), _name(norm)),))


_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def _name(module: nn.Module) -> str:
    return type(module).__name__
