"""An upper bound for methods that adapt statistics: the statistics of each condition, with the conditions known."""

import copy
from collections.abc import Sequence

import numpy as np
import torch

from uan_da.models.classifier import Classifier
from uan_da.norms import domain_context, recalibrate
from uan_da.streams.evaluator import StreamDomain, StreamPredictions, fetch
from uan_da.streams.method import Surroundings
from uan_da.streams.setting import Segment

BATCH = 256


def oracle_predictions(
    model: Classifier, surroundings: Surroundings, domains: Sequence[StreamDomain], stream: Sequence[Segment]
) -> StreamPredictions | None:
    """Predictions of the source network with the statistics of each condition, estimated on all of its images in the
    stream; None for a network whose norms have no running statistics."""
    domain = np.concatenate([segment.domain for segment in stream])
    index = np.concatenate([segment.index for segment in stream])
    condition = np.array([domains[d].conditions[i] for d, i in zip(domain, index, strict=True)])
    probabilities: np.ndarray[tuple[int, int], np.dtype[np.float32]] | None = None
    for number, which in sorted(set(zip(domain.tolist(), condition.tolist(), strict=True))):
        (indices,) = np.nonzero((domain == number) & (condition == which))
        segment = Segment(domain[indices], index[indices], reset=False)
        starts = range(0, len(indices), BATCH)
        seen = [surroundings.seen(fetch(domains, segment, slice(s, s + BATCH)).to(surroundings.device)) for s in starts]
        own = copy.deepcopy(model)
        if not recalibrate(own, seen, surroundings.domain):
            return None
        own.eval()
        with torch.no_grad(), domain_context(own, surroundings.domain):
            found = torch.cat([own(images).logits.float().softmax(1).cpu() for images in seen]).numpy()
        if probabilities is None:
            probabilities = np.empty((len(domain), found.shape[1]), dtype=np.float32)
        probabilities[indices] = found
    assert probabilities is not None
    return StreamPredictions(probabilities, domain, index, 0.0, 0, 0)
