"""Forward and backward of single norms against ``nn.BatchNorm2d``."""

import functools
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from uan_da.benchmarks.measure import (
    Spread,
    copy_bandwidth,
    interleaved,
    peak_bytes,
    ratios,
    saved_bytes,
)
from uan_da.norms import UAN2d
from uan_da.norms.uan.options import Backend

FEWEST_PASSES = 8
"""Forward: read, read, write; backward: read x and g twice, write once."""


@dataclass(frozen=True)
class NormCost:
    """One norm at one shape. Ratios are to ``nn.BatchNorm2d`` at that shape; ``bandwidth`` is the share of a copy's,
    counted over the fewest bytes, on a GPU."""

    shape: tuple[int, ...]
    norm: str
    milliseconds: float
    time: Spread
    saved: float
    peak: float | None
    bandwidth: float | None


def norms_of(channels: int, clusters: Sequence[int], backend: Backend, suffix: str = "") -> dict[str, nn.Module]:
    """The norms that are compared, BatchNorm first; the names of the others end in ``suffix``."""
    layers: dict[str, nn.Module] = {"bn": nn.BatchNorm2d(channels)}
    for k in clusters:
        element = UAN2d(channels, num_clusters=k, assignment="element", scale="prior", backend=backend)
        layers[f"uan sample K={k}{suffix}"] = UAN2d(channels, num_clusters=k, backend=backend)
        layers[f"uan element K={k}{suffix}"] = element
    return layers


def measure_norms(
    shapes: Sequence[tuple[int, ...]],
    clusters: Sequence[int],
    device: torch.device,
    dtype: torch.dtype,
    *,
    channels_last: bool,
    backend: Backend,
    rounds: int,
) -> Iterator[NormCost]:
    """Costs shape by shape, norms interleaved.

    The reference, which shows what the kernels buy, has rounds of its own with BatchNorm. It fills the caches with up
    to twenty times the memory of the activations; no norm of a network that has kernels runs after it.
    """
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    for shape in shapes:
        x = torch.randn(shape, device=device, dtype=dtype).contiguous(memory_format=memory_format).requires_grad_()
        yield from _side_by_side(x, norms_of(shape[1], clusters, backend), rounds)
        if backend != "reference":
            _, *references = _side_by_side(x, norms_of(shape[1], clusters, "reference", ", reference"), rounds)
            yield from references


def _side_by_side(x: Tensor, layers: dict[str, nn.Module], rounds: int) -> Iterator[NormCost]:
    g, device = torch.randn_like(x), x.device
    copy = copy_bandwidth(device) if device.type == "cuda" else None

    def step(layer: nn.Module, inputs: Sequence[Tensor]) -> None:
        torch.autograd.grad(layer(inputs[0]), inputs, g)  # adds to no gradient, as in a training that drops them

    layers = {name: layer.to(device) for name, layer in layers.items()}
    steps = {name: functools.partial(step, layer, (x, *layer.parameters())) for name, layer in layers.items()}
    seconds = interleaved(steps, device, rounds)
    times = ratios(seconds, "bn")
    saved = {name: saved_bytes(layer, x) for name, layer in layers.items()}
    peaks = {name: peak_bytes(run, device) for name, run in steps.items()}
    for name in layers:
        median, peak, peak_bn = statistics.median(seconds[name]), peaks[name], peaks["bn"]
        fewest = FEWEST_PASSES * x.numel() * x.element_size()
        yield NormCost(
            tuple(x.shape),
            name,
            1e3 * median,
            times[name],
            saved[name] / saved["bn"],
            None if peak is None or peak_bn is None else peak / peak_bn,
            None if copy is None else fewest / median / copy,
        )
