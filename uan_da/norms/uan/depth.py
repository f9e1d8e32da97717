"""The layers of one model assign together: a condition is a property of the image, not of a layer."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from uan_da.norms.forward import in_backward

if TYPE_CHECKING:
    from uan_da.norms.uan.layer import UAN


class Depth(threading.local):
    """What the layers of one model share: how many they are, how many give evidence, and what has been gathered.

    Each thread gathers its own, because replicas of a model run in threads. A copy has gathered nothing.
    """

    def __init__(self, layers: int, evidence_layers: int) -> None:
        self.layers, self.evidence_layers = layers, evidence_layers
        self.evidence: Tensor | None = None
        """``(N, K)`` of the batch that the first layer saw last."""
        self.waiting: set[int] = set()
        """The layers that have not assigned by it yet."""

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.layers, self.evidence_layers)


@dataclass(frozen=True)
class Place:
    r"""The place of a layer among those that assign together; ``number`` counts from 0, in the order of definition.

    One assignment serves all layers, so that cluster k is the same set of images in each of them:

    .. math:: τ_k^{(l)}(n) = \mathrm{softmax}_k\Big(\log λ_k^{(l)}
       + \sum_{j \le \min(l, D)} T · \mathrm{mean}_{c,s}\, ℓ_k^{(j)}(x_{ncs})\Big)

    The first D layers, which see the condition before normalisation has taken it away, give the evidence; it adds up.
    The first of all begins it, at every forward. A layer that runs without it assigns by itself, as at depth 0: before
    the first one, for a second time, in a part of the model, or on another number of samples.
    """

    number: int
    depth: Depth

    def adds(self, given: Tensor | None) -> bool:
        """Whether the layer's own evidence counts: that of the first D layers, and where there is no other."""
        return given is None or self.number < self.depth.evidence_layers

    def pass_on(self, given: Tensor | None, evidence: Tensor | None) -> None:
        """Leave the evidence, that ``given`` included, to the layers that follow."""
        if self.number == 0:
            self.depth.waiting = set(range(self.depth.layers))
        if self.number == 0 or given is not None:
            self.depth.waiting.discard(self.number)
            self.depth.evidence = evidence if self.depth.waiting else None

    def given(self, x: Tensor) -> Tensor | None:
        """The evidence ``(N, K)`` of the layers before, for the samples ``x`` ``(N, C, …)``; None where there is none.

        Raises:
            RuntimeError: in activation checkpointing, where the layers before are not run again.
        """
        if self.number == 0:
            return None
        evidence = self.depth.evidence if self.number in self.depth.waiting else None
        if evidence is not None and evidence.shape[0] == x.shape[0]:  # len would be a constant in an export
            return evidence
        if not torch.compiler.is_compiling() and in_backward():
            raise RuntimeError(
                f"UAN layer {self.number + 1} of {self.depth.layers} assigns by the evidence of the first ones, which "
                "activation checkpointing of a part of the network does not run again: checkpoint the whole network, "
                "or convert with depth=0"
            )
        return None


def assign_together(layers: Sequence["UAN"]) -> None:
    """Join ``layers``, in the order of their definition, by their option ``depth``. One layer, or one cluster, is left
    as it is.

    Raises:
        ValueError: their numbers of clusters or their depths differ.
    """
    shapes = sorted({(layer.num_clusters, layer.options.depth) for layer in layers})
    if len(shapes) > 1:
        raise ValueError(f"layers that assign together need one num_clusters and one depth, but got {shapes}")
    if len(layers) > 1 and layers[0].num_clusters > 1:
        depth = Depth(len(layers), layers[0].options.depth)
        for number, layer in enumerate(layers):
            layer.place = Place(number, depth)
