"""Passes through ``torch.compile``, where there is a compiler; else, with one warning, as they are."""

import functools
import warnings
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import torch

P = ParamSpec("P")
R = TypeVar("R")

OPTIONS: dict[str, str | int | bool | Callable[..., Any]] = {
    "realize_reads_threshold": 10**6,
    "realize_opcount_threshold": 10**6,
    "realize_acc_reads_threshold": 10**6,
    "cpp.enable_floating_point_contract_flag": "fast",
}
"""A pass uses τ for several results: beyond these limits Inductor would write it to memory in between. And a product
and a sum in one instruction make the passes about a seventh faster, and lose no digit."""


class Compiler:
    """``torch.compile``, and whether it works on this machine, as far as is known."""

    def __init__(self) -> None:
        self.works = True

    def __call__(self, plain: Callable[P, R], fallback: Callable[P, R]) -> Callable[P, R]:
        """``plain`` compiled at its first call, for any shape; where that fails, ``fallback`` from then on."""

        @functools.cache
        def compiled() -> Callable[P, R]:
            return torch.compile(plain, dynamic=True, fullgraph=True, options=OPTIONS)

        @functools.wraps(plain)
        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            if self.works:
                try:
                    return compiled()(*args, **kwargs)
                except Exception as error:  # whatever a toolchain may raise
                    if not _is_one_shape_too_many(error):
                        self._give_up(error)
            return fallback(*args, **kwargs)

        return run

    def _give_up(self, error: Exception) -> None:
        self.works = False
        reason = str(error).strip().split("\n")[0]
        warnings.warn(
            f"UAN: torch.compile does not work here, so its passes run uncompiled, which is slower ({reason})",
            RuntimeWarning,
            stacklevel=4,
        )


def _is_one_shape_too_many(error: Exception) -> bool:
    """PyTorch compiles a function for a limited number of kinds of shapes; those that it has stay compiled."""
    from torch._dynamo.exc import FailOnRecompileLimitHit  # heavy, and here it has been imported

    return isinstance(error, FailOnRecompileLimitHit)
