"""The options of a UAN layer, written once for the layer, the conversion and the recipes."""

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar, get_args, get_type_hints

Assignment = Literal["sample", "element"]
MomentSource = Literal["batch", "learned"]
Scale = Literal["none", "prior", "unit"]
Backend = Literal["auto", "reference", "fused"]

DEFAULTS = {"sample": {"num_clusters": 8, "depth": 2}, "element": {"num_clusters": 2, "depth": 0}}
"""The defaults that the assignment decides."""


class _SpelledOut:
    """Tells a recipe, in which every option is spelled out, the default that stands for None."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic import BeforeValidator  # not for who uses norms without recipes

        return BeforeValidator(_by_assignment).__get_pydantic_core_schema__(source, handler)


def _by_assignment(value: Any, info: Any) -> Any:
    """``value``, or the default in the place of None."""
    known = DEFAULTS[info.data.get("assignment", "sample")]
    return known[str(info.field_name)] if value is None else value


ByAssignment = Annotated[int, _SpelledOut()]
DEFAULT: Any = None
"""Stands for the default that the assignment decides."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What shapes the maths of a layer.

    Args:
        assignment: ``"sample"``: τ_k(n), a whole sample belongs to a mode; ``"element"``: τ_k(n, c, s), the
            paper's.
        num_clusters: K; by default 8 under sample assignment, and 2 under element assignment. With 1 the layer is
            BatchNorm.
        moments: ``"batch"``: (a, b) are the batch's responsibility-weighted moments (running ones in
            evaluation); ``"learned"``: (a, b) = (μ, σ²) in training and evaluation alike.
        scale: f_k: ``"none"`` 1, ``"prior"`` 1/√λ_k (the paper's), ``"unit"`` 1/√(K λ_k).
        sharpness: T of the sample assignment: 10 leaves τ soft in small layers, 100 is nearly hard.
        em_rate: η of the EM step; 0 leaves μ, σ², λ to backpropagation.
        shrink: sample assignment only: ρ of the shrinkage of the mode's moments toward the sample's own,
            taken over groups of channels; the prior is the mode, the evidence is the sample. None turns it off.
        learn_shrink: ρ = sigmoid of a learned value per channel that starts at ``shrink``; else ρ is fixed.
        shrink_groups: number of channel groups of the sample's own moments (their greatest divisor in common
            with C).
        depth: sample assignment only, by default 2: the layers of one conversion assign together, by the evidence of
            the first ``depth`` of them (:class:`~uan_da.norms.uan.depth.Place`); 0: each layer assigns by itself, as
            one that is made alone does.
        sync: the moments are those of all processes' batches, as in ``nn.SyncBatchNorm``. Without it each
            process normalises with its own, but μ, σ² and λ follow all, and are equal on all, either way.
        backend: ``"reference"``: the formulas as plain operations; ``"fused"``: operators with kernels, where a
            training step of one process normalises by the moments of its own batch and the parameters have the type of
            the maths, else the reference; ``"auto"``: fused on a CPU, else the reference (no GPU has run its kernels).

    Raises:
        ValueError: an option out of its range.
    """

    assignment: Assignment = "sample"
    num_clusters: ByAssignment = DEFAULT
    moments: MomentSource = "batch"
    scale: Scale = "none"
    sharpness: float = 100.0
    em_rate: float = 0.1
    shrink: float | None = None
    learn_shrink: bool = True
    shrink_groups: int = 8
    depth: ByAssignment = DEFAULT
    sync: bool = False
    backend: Backend = "auto"

    @property
    def balance(self) -> float:
        """What f_k = (balance · λ_k)^(−½) multiplies λ by; 0: f is 1."""
        if self.scale == "none":
            return 0.0
        return 1.0 if self.scale == "prior" else float(self.num_clusters)

    def __post_init__(self) -> None:
        choices = {"assignment": Assignment, "moments": MomentSource, "scale": Scale, "backend": Backend}
        for option, allowed in choices.items():
            self._check(option, getattr(self, option) in get_args(allowed), f"one of {get_args(allowed)}")
        for option, default in DEFAULTS[self.assignment].items():
            if getattr(self, option) is None:
                object.__setattr__(self, option, default)
        shrink, elements = self.shrink, self.assignment == "element"
        self._check("num_clusters", self.num_clusters >= 1, "an integer of at least 1")
        self._check("shrink_groups", self.shrink_groups >= 1, "an integer of at least 1")
        self._check("em_rate", 0.0 <= self.em_rate <= 1.0, "between 0 and 1")
        self._check("sharpness", 0.0 < self.sharpness < math.inf, "larger than 0, and finite")
        self._check("shrink", shrink is None or 0.0 < shrink < 1.0, "between 0 and 1, both excluded")
        self._check("depth", self.depth >= 0, "an integer of at least 0")
        self._check("depth", not (elements and self.depth), "0 under element assignment, where no whole sample has one")
        self._check(
            "shrink", not elements or shrink is None, "None under element assignment: only a sample has moments"
        )

    def _check(self, option: str, good: bool, wanted: str) -> None:
        if not good:
            raise ValueError(f"Expected `{option}` to be {wanted}, but got {getattr(self, option)!r}")


Function = TypeVar("Function", bound=Callable[..., Any])


def takes_options(function: Function) -> Function:
    """Give ``function`` the signature that it has with :class:`Options` in the place of its ``**options``."""
    signature = inspect.signature(function)
    own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    options = inspect.signature(Options).parameters.values()
    function.__signature__ = signature.replace(parameters=[*own, *options])  # type: ignore[attr-defined]
    function.__annotations__ |= get_type_hints(Options, include_extras=True)
    return function
