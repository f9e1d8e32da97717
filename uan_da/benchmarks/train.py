"""One training step of whole networks, with BatchNorm and with UAN in every place of it."""

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from uan_da.benchmarks.measure import Spread, interleaved, peak_bytes, ratios
from uan_da.models.wide_resnet import wrn_28_2
from uan_da.norms import convert_norm, domain_context

NETWORKS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "resnet18": (lambda: torchvision.models.resnet18(num_classes=10), 32),
    "resnet50": (lambda: torchvision.models.resnet50(num_classes=10), 224),
    "wrn28_2": (lambda: nn.Sequential(wrn_28_2(3), nn.Linear(128, 10)), 32),
}
"""Network and size of its square images."""


@dataclass(frozen=True)
class StepCost:
    """One network with one norm; ratios are to the same network with BatchNorm."""

    network: str
    norm: str
    milliseconds: float
    time: Spread
    peak: float | None


def measure_training(
    networks: list[str],
    norms: list[str],
    device: torch.device,
    *,
    batch: int,
    channels_last: bool,
    bfloat16: bool,
    rounds: int,
) -> Iterator[StepCost]:
    """Costs of forward, cross-entropy, backward and SGD, norms interleaved."""
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    for network in networks:
        make, size = NETWORKS[network]
        images = torch.randn(batch, 3, size, size, device=device).contiguous(memory_format=memory_format)
        labels = torch.randint(10, (batch,), device=device)
        steps: dict[str, Callable[[], None]] = {}
        for norm in ("bn", *norms):
            model = make()
            if norm != "bn":
                convert_norm(model, norm)
            model = model.to(device=device, memory_format=memory_format)  # type: ignore[call-overload]
            optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)

            def step(
                model: nn.Module = model,
                optimizer: torch.optim.Optimizer = optimizer,
                images: torch.Tensor = images,
                labels: torch.Tensor = labels,
            ) -> None:
                with domain_context(model, 0), torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
                    loss = F.cross_entropy(model(images), labels)
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()

            steps[norm] = step
        seconds = interleaved(steps, device, rounds)
        times = ratios(seconds, "bn")
        peaks = {norm: peak_bytes(run, device) for norm, run in steps.items()}
        for norm in steps:
            peak, peak_bn = peaks[norm], peaks["bn"]
            ratio = None if peak is None or peak_bn is None else peak / peak_bn
            yield StepCost(network, norm, 1e3 * statistics.median(seconds[norm]), times[norm], ratio)
