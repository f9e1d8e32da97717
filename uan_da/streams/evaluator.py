"""Runs a method on a stream: the method sees each batch once and predicts; only the evaluator knows the labels."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uan_da.data.images import ImageSet
from uan_da.errors import UserError
from uan_da.streams.method import StreamMethod
from uan_da.streams.setting import Indices, Segment


@dataclass(frozen=True)
class StreamDomain:
    """A domain of a stream. Only the evaluator sees ``labels`` and ``conditions`` ``(N,)``, which are indices into
    ``names``; ``images`` have no labels."""

    images: ImageSet
    labels: Indices
    conditions: Indices
    names: Sequence[str]
    """The rows of the table: the domain's name, or the names of the conditions that are mixed in it."""


@dataclass(frozen=True)
class StreamPredictions:
    """The predictions of a method, in the order of the stream."""

    probabilities: NDArray[np.float32]
    """``(T, classes)``."""
    domain: Indices
    index: Indices
    seconds: float
    """Time of all predictions, without reading images."""
    stored_bytes: int
    """The maximum of ``stored_bytes``."""
    memory_bytes: int
    """The maximum allocated on the device; 0 on a CPU, where PyTorch does not count."""


def predict_stream(
    make: Callable[[], StreamMethod], domains: Sequence[StreamDomain], stream: Sequence[Segment], batch: int
) -> StreamPredictions:
    """All predictions of a method on a stream; ``make`` builds the method at the start and at each reset.

    Raises:
        UserError: a prediction is not finite.
    """
    method, parts, seconds, stored = make(), [], 0.0, 0
    device = method.surroundings.device
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    for segment in stream:
        if segment.reset:
            method = make()
        for start in range(0, len(segment), batch):
            pixels = fetch(domains, segment, slice(start, start + batch)).to(device)
            began = time.perf_counter()
            with torch.no_grad():
                probabilities = method.predict(pixels).float().softmax(1).cpu()
            seconds += time.perf_counter() - began
            parts.append(probabilities.numpy())
        stored = max(stored, method.stored_bytes())
    everything = np.concatenate(parts)
    if not np.isfinite(everything).all():
        raise UserError(f"{type(method).__name__} ended in predictions that are not finite; smaller steps may help")
    return StreamPredictions(
        everything,
        np.concatenate([segment.domain for segment in stream]),
        np.concatenate([segment.index for segment in stream]),
        seconds,
        stored,
        torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0,
    )


def fetch(domains: Sequence[StreamDomain], segment: Segment, part: slice) -> Tensor:
    """The pixels ``(B, C, H, W)`` of one batch of a segment, bytes."""
    domain, index = segment.domain[part], torch.from_numpy(segment.index[part])
    pixels: Tensor | None = None
    for number in np.unique(domain):
        indices = torch.from_numpy(np.flatnonzero(domain == number))
        (some,) = domains[number].images.stream([index[indices]])
        if pixels is None:
            pixels = some.pixels.new_empty(len(index), *some.pixels.shape[1:])
        pixels[indices.to(pixels.device)] = some.pixels
    assert pixels is not None
    return pixels
