"""Replace a model's BatchNorms by another norm."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

from torch import nn

from uan_da.names import NORMS
from uan_da.norms.baselines.alpha_bn import AlphaBatchNorm
from uan_da.norms.batch_norm import BatchNorm
from uan_da.norms.domain import DomainNorm
from uan_da.norms.replace import Factory, move_hooks, replacement
from uan_da.norms.uan.depth import assign_together
from uan_da.norms.uan.layer import UAN


@dataclass(frozen=True)
class Replacement:
    """One converted layer: its path in the model, and its class before and after."""

    path: str
    before: str
    after: str


@dataclass(frozen=True)
class Conversion:
    """The result of :func:`convert_norm`."""

    replacements: tuple[Replacement, ...]
    kept: tuple[tuple[str, str], ...] = ()
    """Path and class of the other norms of the model, which stay as they are: frozen ones, say."""

    def __len__(self) -> int:
        return len(self.replacements)

    def __str__(self) -> str:
        count = len(self)
        lines = [f"  {layer.path}: {layer.before} → {layer.after}" for layer in self.replacements]
        if self.kept:
            lines.append(f"left as they are: {_counted(kind for _, kind in self.kept)}")
        return "\n".join([f"{count} norm{'' if count == 1 else 's'} converted", *lines])


def convert_norm(model: nn.Module, to: str | Factory, where: str = "all", **options: Any) -> Conversion:
    """Replace BatchNorm layers (1d, 2d, 3d, Sync, and timm's with an activation) of ``model``, in place.

    The new norm takes over the parameters and statistics of the BatchNorm that it can hold; for UAN this keeps the
    model's function. It also takes over hooks, mode, device and type. If all parameters of the old layer were frozen
    (``requires_grad`` False), those of the new layer are frozen. The parameters are new objects: create the optimizer
    afterwards. Other norms, such as a FrozenBatchNorm, stay.

    Args:
        model: any torchvision, timm or own module.
        to: a norm's name (``"uan"``), a ``module:object``, or a function from a BatchNorm to the layer that replaces
            it.
        where: ``"all"``; ``"first"`` or ``"last"`` in the order of definition; ``"input"``, a new layer in
            front of the model, which must have an attribute ``input_norm`` (an ``nn.Identity``, say) that its
            forward calls on the input; or ``"re:PATTERN"``, the layers whose path the regular expression
            finds.
        options: the keyword-only arguments of the norm.

    Returns:
        The converted layers, and the norms that were not converted.

    Raises:
        ValueError: there is nothing to convert, or ``where`` is not one of the above, or a layer cannot be converted
            without changing its function: a lazy one, one with its own ``forward``, one with pruned or parametrized
            parameters. The model then stays unchanged.
        UserError: an unknown name.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
        >>> print(convert_norm(model, "uan", num_clusters=2))
        1 norm converted
          1: BatchNorm2d → UAN2d
    """
    factory: Factory = NORMS.load(to) if isinstance(to, str) else to
    if where == "input":
        return _put_in_front(model, factory, options)
    made: dict[nn.Module, nn.Module] = {}  # a layer with several paths is converted once
    chosen = _chosen(model, where)
    for path, bn in chosen:
        if bn not in made:
            made[bn] = replacement(path, bn, factory, options)
            like = next(model.parameters(), None)
            if like is not None and next(chain(bn.parameters(), bn.buffers()), None) is None:
                made[bn].to(like.device, like.dtype)  # the BatchNorm tells none
    layers = chain.from_iterable(new.modules() for new in made.values())  # one with an activation is within a layer
    assign_together([layer for layer in layers if isinstance(layer, UAN) and layer.options.depth])
    for old, new in made.items():
        if new is not old:
            move_hooks(old, new)
    for path, bn in chosen:
        parent, _, name = path.rpartition(".")
        setattr(model.get_submodule(parent), name, made[bn])
    replacements = tuple(Replacement(path, type(bn).__name__, _name(made[bn])) for path, bn in chosen)
    return Conversion(replacements, tuple(_other_norms(model, set(made.values()))))


def _chosen(model: nn.Module, where: str) -> list[tuple[str, BatchNorm]]:
    """The paths and layers that ``where`` means; never none."""
    owners = [module for module in model.modules() if isinstance(module, DomainNorm | AlphaBatchNorm)]
    parts = {part for owner in owners for part in owner.modules()}
    norms = [
        (path, module)
        for path, module in model.named_modules(remove_duplicate=False)
        if isinstance(module, BatchNorm) and path and module not in parts
    ]
    if not norms:
        raise ValueError(f"no BatchNorm to convert: {_norms_of(model)}")
    if not isinstance(where, str):
        raise ValueError(f"Expected `where` to be a string, but got {where!r}")
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
    found = {bn for path, bn in norms if pattern.search(path)}
    if not found:
        paths = ", ".join(path for path, _ in norms)
        raise ValueError(f"{where!r} is found in none of the BatchNorms: {paths}")
    return [(path, bn) for path, bn in norms if bn in found]  # a layer at several paths stays one layer


def _norms_of(model: nn.Module) -> str:
    """The norms of a model that has no BatchNorm."""
    if isinstance(model, BatchNorm):
        return "the model itself is one, and has no parent to put another in"
    there = _counted(kind for _, kind in _other_norms(model, set()))
    return f"the model's norms are {there}" if there else "the model has no norm"


def _other_norms(model: nn.Module, made: set[nn.Module]) -> Iterator[tuple[str, str]]:
    """Path and class of the norms of ``model``, apart from those in ``made`` and from the parts of norms."""
    within: set[nn.Module] = set()
    for path, module in model.named_modules():
        if module in made:
            within.update(module.modules())
        elif module not in within and ("Norm" in _name(module) or "UAN" in _name(module)):
            within.update(module.modules())
            yield path, _name(module)


def _counted(kinds: Iterable[str]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in Counter(kinds).items())


def _put_in_front(model: nn.Module, factory: Factory, options: dict[str, Any]) -> Conversion:
    """One norm on the raw input, as the UAN authors placed theirs."""
    before = getattr(model, "input_norm", None)
    if not isinstance(before, nn.Module):
        raise ValueError(
            "where='input' needs a model with an attribute `input_norm` that its forward calls on the input, "
            f"and {type(model).__name__} has none; nn.Sequential(norm, model) does the same"
        )
    convolutions = (module for module in model.modules() if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d))
    convolution = next(convolutions, None)
    if convolution is None:
        raise ValueError("where='input' found no convolution to take the number of input channels from")
    make = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[len(convolution.kernel_size) - 1]
    weight = convolution.weight
    norm = factory(make(convolution.in_channels, device=weight.device, dtype=weight.dtype), **options)
    model.input_norm = norm.train(model.training)
    return Conversion((Replacement("input_norm", _name(before), _name(norm)),))


def _name(module: nn.Module) -> str:
    return type(module).__name__
