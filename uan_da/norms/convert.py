"""Replace a model's BatchNorms by another norm."""

import copy
import re
import weakref
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

from torch import nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.modules.module import _WrappedHook

from uan_da.names import NORMS
from uan_da.norms.baselines.alpha_bn import AlphaBatchNorm
from uan_da.norms.batch_norm import BatchNorm
from uan_da.norms.domain import DomainNorm
from uan_da.norms.synchronized import batch_norm
from uan_da.norms.uan.depth import assign_together
from uan_da.norms.uan.layer import UAN

Factory = Callable[..., nn.Module]
"""Makes, from a BatchNorm and keyword options, the layer that takes its place."""


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
            made[bn] = _converted(path, bn, factory, options)
            if next(chain(bn.parameters(), bn.buffers()), None) is None:  # it tells no device and no type
                _move_beside(model, made[bn])
    for old, new in made.items():
        if new is not old:
            _move_hooks(old, new)
    for path, bn in chosen:
        parent, _, name = path.rpartition(".")
        setattr(model.get_submodule(parent), name, made[bn])
    layers = chain.from_iterable(new.modules() for new in made.values())  # one with an activation is within a layer
    assign_together([layer for layer in layers if isinstance(layer, UAN) and layer.options.depth])
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


def _converted(path: str, bn: BatchNorm, factory: Factory, options: dict[str, Any]) -> nn.Module:
    if factory is batch_norm and not options.get("sync"):
        return bn
    _check_convertible(path, bn)
    bare = _bare(bn)
    norm = factory(bare, **options)
    if norm is bare:
        return bn
    if _is_timms(bn):
        norm = nn.Sequential(norm, *bn.children())
    parameters = list(bn.parameters())
    if parameters and not any(parameter.requires_grad for parameter in parameters):
        norm.requires_grad_(False)
    return norm.train(bn.training)


def _move_beside(model: nn.Module, layer: nn.Module) -> None:
    """Give ``layer`` the device and the type of the model's parameters."""
    parameter = next(model.parameters(), None)
    if parameter is not None:
        layer.to(parameter.device, parameter.dtype)


def _check_convertible(path: str, bn: BatchNorm) -> None:
    """That ``bn`` computes what BatchNorm does (and timm's activation), from parameters of its own."""
    if isinstance(bn, LazyModuleMixin):
        raise ValueError(f"{path} is lazy: run the model once before its norms are converted")
    if "forward" in vars(bn) or not (_owner_of_forward(bn).__module__ == BatchNorm.__module__ or _is_timms(bn)):
        raise ValueError(
            f"{path} is a {_name(bn)}, whose own forward would be lost: put a plain BatchNorm and the rest of what it "
            "does as two layers there, or leave it out by where='re:PATTERN'"
        )
    computed = [name for name in ("weight", "bias") if bn.affine and name not in bn._parameters]
    if computed:
        raise ValueError(
            f"{path} computes its {' and '.join(computed)} (pruned or parametrized): make that permanent before the "
            "conversion (prune.remove, remove_parametrizations), and prune the new layer after it"
        )


def _owner_of_forward(bn: BatchNorm) -> type:
    return next(kind for kind in type(bn).__mro__ if "forward" in vars(kind))


def _is_timms(bn: BatchNorm) -> bool:
    """Whether ``bn`` is timm's BatchNorm, whose forward ends with a dropout and an activation."""
    owner = _owner_of_forward(bn)
    return owner.__module__.startswith("timm.") and owner.__name__ in ("BatchNormAct2d", "SyncBatchNormAct")


_HOOKS = tuple(name for name in vars(nn.Module()) if "hooks" in name)
"""Where a module keeps its hooks of every kind, each a dictionary."""


def _bare(bn: BatchNorm) -> BatchNorm:
    """``bn`` as a factory sees it: the same tensors, in torch's own class where it is timm's, without hooks."""
    bare = copy.copy(bn)
    vars(bare).update({name: OrderedDict() for name in _HOOKS})
    vars(bare).update(_parameters=dict(bn._parameters), _buffers=dict(bn._buffers))
    if _is_timms(bn):
        vars(bare).update(_modules={})
        bare.__class__ = next(kind for kind in type(bn).__mro__ if kind.__module__ == BatchNorm.__module__)
    return bare


def _move_hooks(bn: nn.Module, layer: nn.Module) -> None:
    """The hooks of ``bn`` run at ``layer``, before its own; their handles still remove them."""
    for name in _HOOKS:
        hooks = getattr(bn, name)
        hooks.update(getattr(layer, name))
        setattr(layer, name, hooks)
        setattr(bn, name, OrderedDict())
    if bn._is_full_backward_hook is not None:
        layer._is_full_backward_hook = bn._is_full_backward_hook
    for hook in layer._load_state_dict_pre_hooks.values():
        if isinstance(hook, _WrappedHook) and hook.with_module:
            hook.module = weakref.ref(layer)


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
