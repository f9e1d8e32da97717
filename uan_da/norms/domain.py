"""The context that tells domain-aware norms the domain of each sample.

Domains are numbered: 0 … S−1 are the sources, S is the target (but see
:func:`uan_da.data.task.target_index`). A number without a branch in a layer is a domain that the model never saw;
its samples use the target's branch.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Integral
from typing import ClassVar

import torch
from torch import Tensor, nn

from uan_da.norms.batch_norm import AffineNorm

DomainIndex = int | Tensor
"""The domain of all samples, or of each: an integer tensor ``(N,)``."""


@dataclass(frozen=True)
class Route:
    """The samples of a batch by branch, computed once for all layers.

    ``order`` sorts the samples by branch and ``restore`` undoes this; both are None if they are sorted already.
    ``size`` is the number of samples, or None if one branch takes a batch of any size.
    """

    branches: tuple[int, ...]
    sizes: tuple[int, ...] = ()
    size: int | None = None
    order: Tensor | None = None
    restore: Tensor | None = None

    def split(self, x: Tensor) -> list[tuple[int, Tensor]]:
        """Each branch that has samples in the batch, with these samples."""
        if self.size is None:
            return [(self.branches[0], x)]
        if len(x) != self.size:
            raise ValueError(f"domain_context was given the domains of {self.size} samples, but got {len(x)}")
        x = x if self.order is None else x[self.order]
        return list(zip(self.branches, torch.split(x, list(self.sizes)), strict=True))

    def join(self, parts: list[Tensor]) -> Tensor:
        """The batch in its original order, from the parts of :meth:`split`."""
        joined = parts[0] if len(parts) == 1 else torch.cat(parts)
        return joined if self.restore is None else joined[self.restore]


class DomainNorm(AffineNorm):
    """A norm that depends on the domain of each sample, and so needs a :func:`domain_context`.

    Args:
        branches: one module per domain, the target's last.
        num_domains: number of sources and targets; if there are fewer branches, later sources share the branch of the
            last source.
        shared: a norm whose γ and β are copied and shared by all domains; None: no γ and β.
    """

    evaluates_by_target: ClassVar[bool] = False
    """Whether evaluation uses the target's branch for every image, whatever its domain."""

    def __init__(self, branches: list[nn.Module], num_domains: int, shared: nn.Module | None = None) -> None:
        super().__init__(shared)
        if num_domains < 2:
            raise ValueError(f"Expected `num_domains` to be an integer of at least 2, but got {num_domains}")
        self.branches = nn.ModuleList(branches)
        self.num_domains = num_domains
        self.route: Route | None = None

    def branch_of(self, domain: int) -> int:
        """The position in ``branches`` of the branch of ``domain``."""
        target = len(self.branches) - 1
        return target if domain >= self.num_domains - 1 else min(domain, target - 1)

    def routed(self) -> Route:
        """The route of the context around this forward.

        Raises:
            ValueError: there is no context.
        """
        if self.route is None:
            raise ValueError(
                f"{type(self).__name__} needs the domain of each sample: call the model inside "
                "`with domain_context(model, index):`, index 0 … S−1 for a source and S for the target"
            )
        return self.route


def evaluates_by_target(norm: Callable[..., nn.Module]) -> bool:
    """Whether ``norm``, a class or a function that makes the layer, says that it evaluates by the target's branch."""
    return isinstance(norm, type) and issubclass(norm, DomainNorm) and norm.evaluates_by_target


def modules_for(model: nn.Module, domain: int) -> Iterator[tuple[str, nn.Module]]:
    """Path and module of all that ``model`` has for images of ``domain``: not the other domains' branches."""
    others: set[nn.Module] = set()
    for path, module in model.named_modules():
        if isinstance(module, DomainNorm):
            own = module.branches[module.branch_of(domain)]
            others.update(part for branch in module.branches if branch is not own for part in branch.modules())
        if module not in others:
            yield path, module


@contextmanager
def domain_context(model: nn.Module, index: DomainIndex) -> Iterator[None]:
    """Tell the domain-aware norms of ``model`` the domain of the samples, inside the ``with`` block.

    Args:
        model: any module; without a domain-aware norm, nothing happens.
        index: the domain of all samples, or an integer tensor ``(N,)`` with the domain of each.

    Raises:
        ValueError: a negative domain, or an index that is neither of the two.

    Example:
        >>> from uan_da.norms import convert_norm
        >>> model = nn.Sequential(nn.Identity(), nn.BatchNorm2d(3))
        >>> _ = convert_norm(model, "dsbn", num_domains=2)
        >>> with domain_context(model, torch.tensor([0, 0, 1, 1])):  # two source images and two target images
        ...     output = model(torch.randn(4, 3, 8, 8))
    """
    layers = [module for module in model.modules() if isinstance(module, DomainNorm)]
    _check(index)
    routes: dict[tuple[int, int], Route] = {}
    before = [layer.route for layer in layers]
    try:
        for layer in layers:
            key = layer.num_domains, len(layer.branches)
            if key not in routes:
                routes[key] = _route(index, layer.branch_of)
            layer.route = routes[key]
        yield
    finally:
        for layer, route in zip(layers, before, strict=True):
            layer.route = route


def _check(index: DomainIndex) -> None:
    if isinstance(index, Tensor):
        if index.dim() != 1 or index.is_floating_point() or index.is_complex() or index.dtype == torch.bool:
            raise ValueError(
                f"Expected `index` to be an int or an integer tensor (N,), but got {index.dtype} "
                f"of shape {tuple(index.shape)}"
            )
    elif not isinstance(index, Integral) or index < 0:
        raise ValueError(f"Expected `index` to be an integer or a tensor of integers, 0 or more, but got {index}")


def _route(index: DomainIndex, branch_of: Callable[[int], int]) -> Route:
    if not isinstance(index, Tensor):
        return Route((branch_of(index),))
    domains = index.tolist()
    if min(domains, default=0) < 0:
        raise ValueError(f"Expected `index` to be 0 or more, but got {min(domains)}")
    per_sample = [branch_of(domain) for domain in domains]
    branches = tuple(sorted(set(per_sample)))
    sizes = tuple(per_sample.count(branch) for branch in branches)
    if not branches:
        return Route((0,), (0,), 0)
    if per_sample == sorted(per_sample):
        return Route(branches, sizes, len(domains))
    order = torch.tensor(per_sample).argsort(stable=True)
    restore = order.argsort()
    return Route(branches, sizes, len(domains), order.to(index.device), restore.to(index.device))
