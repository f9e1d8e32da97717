"""Time and memory of alternatives to one another, measured side by side."""

import math
import random
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

Step = Callable[[], object]


@dataclass(frozen=True)
class Spread:
    """Median, least and greatest of some measurements."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> "Spread":
        """The spread of at least one value."""
        return cls(statistics.median(values), min(values), max(values))

    @classmethod
    def of_median(cls, values: list[float]) -> "Spread":
        """The median of at least one value, and the bounds that hold it with 95 % confidence, whatever the
        distribution: two of the sorted values, as far from the middle as the binomial one says."""
        ordered, count = sorted(values), len(values)
        outside = max(0, int(count / 2 - 0.98 * math.sqrt(count)) - 1)
        return cls(statistics.median(ordered), ordered[outside], ordered[count - 1 - outside])


def interleaved(steps: Mapping[str, Step], device: torch.device, rounds: int) -> dict[str, list[float]]:
    """Seconds of each step in each of ``rounds`` rounds, after three to warm up.

    A round runs every step once, in an order of its own, so that whatever else the machine does, and what the step
    before left in the caches, meets all of them alike."""
    order, names = random.Random(0), list(steps)
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(rounds + 3):
        order.shuffle(names)
        for name in names:
            synchronize(device)
            start = time.perf_counter()
            steps[name]()
            synchronize(device)
            if turn >= 3:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def ratios(seconds: Mapping[str, list[float]], baseline: str) -> dict[str, Spread]:
    """Of each name to ``baseline``, round by round."""
    base = seconds[baseline]
    return {
        name: Spread.of([own / other for own, other in zip(values, base, strict=True)])
        for name, values in seconds.items()
    }


def saved_bytes(layer: nn.Module, x: Tensor) -> int:
    """Memory that ``layer(x)`` keeps for its backward: every storage once."""
    storages: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        layer(x)
    return sum(storages.values())


def peak_bytes(step: Step, device: torch.device) -> int | None:
    """The most memory that ``step`` allocates beyond what there is; None where the device does not count."""
    if device.type != "cuda":
        return None
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    step()
    return torch.cuda.max_memory_allocated(device) - before


def copy_bandwidth(device: torch.device, nbytes: int = 1 << 30) -> float:
    """Bytes a second, read and written, of a copy on ``device``."""
    source = torch.empty(nbytes, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    seconds = interleaved({"copy": lambda: target.copy_(source)}, device, 20)["copy"]
    return 2 * nbytes / statistics.median(seconds)


def synchronize(device: torch.device) -> None:
    """Wait for ``device``."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def device_name(device: torch.device) -> str:
    """What the figures were measured on."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} threads"
