"""Learning-rate schedules: the factor on the base rate at a step, ``schedule(step, total, **options)``."""

import math
from typing import Annotated

from pydantic import Field


def constant(step: int, total: int) -> float:
    """1 throughout."""
    return 1.0


def cosine(step: int, total: int, *, final: Annotated[float, Field(ge=0, le=1)] = 0.0) -> float:
    """Half a cosine from 1 at the first step to ``final`` after the last one."""
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * step / total))


def inverse_decay(
    step: int,
    total: int,
    *,
    gamma: Annotated[float, Field(ge=0)] = 1e-3,
    power: Annotated[float, Field(ge=0)] = 0.75,
) -> float:
    """(1 + γ·step)^−power, as in DANN (Ganin et al., 2016) and most that followed."""
    return float((1 + gamma * step) ** -power)
