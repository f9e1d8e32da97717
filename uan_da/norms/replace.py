"""What a norm takes over from the BatchNorm that it replaces: tensors, hooks, mode, and the activation of timm's."""

import copy
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from torch import nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.modules.module import _WrappedHook

from uan_da.norms.batch_norm import BatchNorm
from uan_da.norms.synchronized import batch_norm

Factory = Callable[..., nn.Module]
"""Makes, from a BatchNorm and keyword options, the layer that takes its place."""


def replacement(path: str, bn: BatchNorm, factory: Factory, options: dict[str, Any]) -> nn.Module:
    """The layer for the place of ``bn``, which is unchanged and keeps its hooks: it may be ``bn`` itself.

    Raises:
        ValueError: ``bn`` cannot be replaced without a change of its function.
    """
    if factory is batch_norm and not options.get("sync"):
        return bn
    _check_replaceable(path, bn)
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


def _check_replaceable(path: str, bn: BatchNorm) -> None:
    """That ``bn`` computes what BatchNorm does (and timm's activation), from parameters of its own."""
    if isinstance(bn, LazyModuleMixin):
        raise ValueError(f"{path} is lazy: run the model once before its norms are converted")
    if "forward" in vars(bn) or not (_owner_of_forward(bn).__module__ == BatchNorm.__module__ or _is_timms(bn)):
        raise ValueError(
            f"{path} is a {type(bn).__name__}, whose own forward would be lost: put a plain BatchNorm and the rest of "
            "what it does as two layers there, or leave it out by where='re:PATTERN'"
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


def move_hooks(bn: nn.Module, layer: nn.Module) -> None:
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
