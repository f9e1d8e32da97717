"""Running statistics: frozen during a forward, or estimated again on other images."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm as InstanceNorm

from uan_da.norms.domain import DomainNorm, domain_context, modules_for
from uan_da.norms.running import MixtureLayer

Tracked = BatchNorm | InstanceNorm | MixtureLayer


@contextmanager
def frozen_statistics(model: nn.Module) -> Iterator[None]:
    """Training forwards inside the ``with`` block normalise as usual, but change no running statistic and no cluster.

    Example:
        >>> norm = nn.BatchNorm2d(3)
        >>> with frozen_statistics(norm):
        ...     output = norm(torch.randn(4, 3, 8, 8) + 5)
        >>> norm.running_mean
        tensor([0., 0., 0.])
    """
    changes: list[tuple[Any, str, Any]] = []
    for module in model.modules():
        if isinstance(module, BatchNorm):
            changes.append((module, "track_running_stats", False))
        elif isinstance(module, InstanceNorm) and module.training:
            # at a momentum of 0 it would still round them, and without tracking evaluation would not use them
            changes += [(module, "running_mean", None), (module, "running_var", None)]
        elif isinstance(module, MixtureLayer):
            changes.append((module, "updates_statistics", False))
    with changed(changes):
        yield


def recalibrate(
    model: nn.Module,
    loader: Iterable[Tensor | Sequence[Any]],
    domain: int | None = None,
    *,
    only: type[nn.Module] = nn.Module,
) -> int:
    """Estimate the running statistics again, as the plain average over the batches of ``loader``.

    With target images this is AdaBN (Li et al., arXiv:1603.04779). Parameters, clusters and the model's mode
    do not change; all modules except the norms run in evaluation mode. Empty batches are skipped, and so are batches
    of one image after the first batch. After an error the statistics are unchanged.

    Args:
        model: any module.
        loader: batches of images ``(N, C, …)``, or sequences that start with such a batch; moved to the
            model's device.
        domain: the domain whose statistics are estimated, for norms with statistics per domain.
        only: the norms to recalibrate; the others keep their statistics, and normalise by them.

    Returns:
        The number of norms recalibrated: 0 for a model whose norms keep no running statistics.

    Raises:
        ValueError: ``loader`` is empty, or the model has norms per domain and ``domain`` is not given.

    Example:
        >>> model = nn.Sequential(nn.BatchNorm2d(1))
        >>> recalibrate(model, [torch.full((4, 1, 2, 2), 3.0)])
        1
        >>> model[0].running_mean
        tensor([3.])
    """
    layers: list[Tracked] = [layer for layer in _recalibrated(model, domain) if isinstance(layer, only)]
    device = next((parameter.device for parameter in model.parameters()), None)
    batches = 0
    context: AbstractContextManager[None] = nullcontext() if domain is None else domain_context(model, domain)
    with changed(_estimating(model, layers)), _kept_on_error(layers), context, torch.no_grad():
        for layer in layers:
            layer.reset_running_stats()
        for batch in loader:
            images = batch if isinstance(batch, Tensor) else batch[0]
            if len(images) == 0 or (batches and len(images) == 1):
                continue
            batches += 1
            for layer in layers:
                layer.momentum = 1 / batches if isinstance(layer, InstanceNorm) else None
            model(images.to(device))
        if not batches:
            raise ValueError("recalibrate was given a loader without a batch")
    return len(layers)


def _recalibrated(model: nn.Module, domain: int | None) -> Iterator[Tracked]:
    """The norms with running statistics, except the branches of other domains than ``domain``."""
    for _, module in modules_for(model, domain or 0):
        if domain is None and isinstance(module, DomainNorm):
            raise ValueError(
                f"{type(module).__name__} keeps statistics per domain: call recalibrate with domain=, "
                "0 … S−1 for a source and S for the target"
            )
        if isinstance(module, Tracked) and module.running_mean is not None:
            yield module


def _estimating(model: nn.Module, layers: list[Tracked]) -> list[tuple[Any, str, Any]]:
    """What to change so that forwards average the statistics of ``layers`` and do nothing else."""
    changes: list[tuple[Any, str, Any]] = [(module, "training", False) for module in model.modules()]
    changes += [(module, "training", True) for module in model.modules() if isinstance(module, DomainNorm)]
    for layer in layers:
        changes += [(layer, "training", True), (layer, "momentum", None)]
        if isinstance(layer, MixtureLayer):
            changes.append((layer, "updates_mixture", False))
    return changes


@contextmanager
def _kept_on_error(layers: list[Tracked]) -> Iterator[None]:
    """The buffers of ``layers`` are what they were where the block raises."""
    buffers = [buffer for layer in layers for buffer in layer.buffers()]
    before = [buffer.clone() for buffer in buffers]
    try:
        yield
    except BaseException:
        for buffer, value in zip(buffers, before, strict=True):
            buffer.copy_(value)
        raise


@contextmanager
def changed(changes: Sequence[tuple[Any, str, Any]]) -> Iterator[None]:
    """Set attributes, ``(object, name, value)`` each, inside the block; what they were comes back after it."""
    before = [(module, name, getattr(module, name)) for module, name, _ in changes]
    try:
        for module, name, value in changes:
            setattr(module, name, value)
        yield
    finally:
        for module, name, value in reversed(before):
            setattr(module, name, value)
