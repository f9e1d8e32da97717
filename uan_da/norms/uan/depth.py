"""The layers of one model assign together: a condition is a property of the image, not of a layer."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.nn import functional as F

from uan_da.norms.uan.mixture import Mixture

if TYPE_CHECKING:
    from uan_da.norms.uan.assignment import Batch
    from uan_da.norms.uan.layer import UAN


@dataclass
class Depth:
    """What the layers of one model share: how many they are, how many give evidence, and what has been gathered."""

    layers: int
    evidence_layers: int
    evidence: Tensor | None = field(default=None, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        """Without the evidence of a forward under way."""
        return {**self.__dict__, "evidence": None}


@dataclass(frozen=True)
class Place:
    r"""The place of a layer among those that assign together; ``number`` counts from 0.

    One assignment serves all layers, so that cluster k is the same set of images in each of them:

    .. math:: τ_k^{(l)}(n) = \mathrm{softmax}_k\Big(\log λ_k^{(l)}
       + \sum_{j \le \min(l, D)} T · \mathrm{mean}_{c,s}\, ℓ_k^{(j)}(x_{ncs})\Big)

    The first D layers, which see the condition before normalisation has taken it away, give the evidence; it adds up.
    The layers run in their order, each once a forward.
    """

    number: int
    depth: Depth

    def assign(self, batch: "Batch", mixture: Mixture) -> Tensor:
        """τ ``(N, K)``; the layers that follow build on its evidence."""
        tau, evidence = self.look(batch, mixture)
        self.depth.evidence = None if self.number == self.depth.layers - 1 else evidence
        return tau

    def look(self, batch: "Batch", mixture: Mixture) -> tuple[Tensor, Tensor]:
        """τ, and the evidence of the layers up to this one, both ``(N, K)``; nothing is kept."""
        depth, evidence = self.depth, self.depth.evidence
        if self.number == 0:
            evidence = batch.evidence(mixture)
        elif evidence is None or evidence.shape[0] != batch.x.shape[0]:  # len would be a constant in an export
            raise RuntimeError(
                f"UAN layer {self.number + 1} of {depth.layers} assigns by the evidence of the first ones, and they "
                "did not run before it on this batch; depth=0 lets each layer assign by itself"
            )
        elif self.number < depth.evidence_layers:
            evidence = evidence + batch.evidence(mixture)
        return F.softmax(mixture.log_prior + evidence, dim=1), evidence


def assign_together(layers: Sequence["UAN"]) -> None:
    """Join ``layers``, in the order in which they run, by their option ``depth``.

    Raises:
        ValueError: their numbers of clusters or their depths differ.
    """
    shapes = sorted({(layer.num_clusters, layer.options.depth) for layer in layers})
    if len(shapes) > 1:
        raise ValueError(f"layers that assign together need one num_clusters and one depth, but got {shapes}")
    depth = Depth(len(layers), shapes[0][1]) if shapes else None
    for number, layer in enumerate(layers):
        layer.place = None if depth is None else Place(number, depth)
