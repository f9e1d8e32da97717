"""Learning-rate schedules: the factor on the base rate at a step, ``schedule(step, total, **options)``."""

import math
from typing import Annotated

from pydantic import Field


def constant(step: int, total: int) -> float:
    """1 throughout."""
    return 1.0


def cosine(
    step: int,
    total: int,
    *,
    final: Annotated[float, Field(ge=0, le=1)] = 0.0,
    part: Annotated[float, Field(gt=0, le=1)] = 1.0,
) -> float:
    """Half a cosine from 1 at the first step to ``final``, reached after that ``part`` of the steps; then ``final``."""
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * min(1.0, step / (part * total))))


def cosine_arc(step: int, total: int, *, final: Annotated[float, Field(ge=0, le=1)] = 0.25) -> float:
    """cos(step/total · arccos ``final``): from 1 to ``final`` without flattening, as in FixMatch and AdaMatch."""
    return math.cos(step / total * math.acos(final))


def steps(
    step: int,
    total: int,
    *,
    at: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = (0.5, 0.75),
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.1,
) -> float:
    """1, times ``factor`` at each of the parts ``at`` of the training."""
    return factor ** sum(step >= part * total for part in at)


def inverse_decay(
    step: int,
    total: int,
    *,
    gamma: Annotated[float, Field(ge=0)] = 1e-3,
    power: Annotated[float, Field(ge=0)] = 0.75,
) -> float:
    """(1 + γ·step)^−power, as in DANN (Ganin et al., 2016) and most that followed."""
    return float((1 + gamma * step) ** -power)
