"""UAN online: a BatchNorm network becomes UAN, and its clusters follow the stream."""

import copy
from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor, nn

from uan_da.models.classifier import Classifier
from uan_da.norms.batch_norm import BatchNorm
from uan_da.norms.uan.conversion import uan
from uan_da.streams.clusters import MEMORY, NOVELTY, OWN, PRIOR, SHARPNESS, Assignment, ClusterNorm
from uan_da.streams.label_shift import LabelShift
from uan_da.streams.method import Left, StreamMethod, Surroundings
from uan_da.streams.norm import put_norm


class UANOnline(StreamMethod):
    r"""UAN (arXiv:2409.04757) whose clusters follow the stream, without a label or a gradient.

    Every BatchNorm of images gets K clusters of statistics. All start as the source's, so that the network's function
    is kept. For each batch:

    1. The first of these layers assigns the images, and this serves all layers: the condition belongs to the image. It
       takes the likelihood of its channels' values under the clusters that are open,

       .. math:: τ_k(n) = \mathrm{softmax}_k(T · \mathrm{mean}_{c,s} \log N(x_{ncs}; μ_{kc}, σ_{kc}^2))

       At the start one is open. An image opens another, while one is left, if its own moments explain it better than
       every open cluster, by more than ``novelty`` nats per activation.
    2. In every layer the clusters take one EM step with memory, where N_k is the number of images of cluster k:

       .. math:: N_k ← \min(N_k, M) + \sum_n τ_k(n), \quad (μ_k, σ_k^2) ← \text{the moments of all these images}
    3. Each image is normalised by a weighted mean of moments: ``own`` is the weight of its own, the rest is that of its
       clusters, in each of which ``prior`` images of the source count.
    4. With ``label_shift`` the predictions follow the proportions of the classes among the last images, where there is
       evidence that these are not equal: :class:`~uan_da.streams.label_shift.LabelShift`.

    A batch may have one image. BatchNorm of vectors, whose modes would be classes, keeps the source's statistics.
    """

    updates: ClassVar[str] = "clusters and their statistics, the proportions of the classes"

    def __init__(
        self,
        model: Classifier,
        num_classes: int,
        surroundings: Surroundings,
        *,
        num_clusters: Annotated[int, Field(ge=1)] = 16,
        sharpness: Annotated[float, Field(gt=0)] = SHARPNESS,
        prior: Annotated[float, Field(ge=0)] = PRIOR,
        own: Annotated[float, Field(ge=0, le=1)] = OWN,
        novelty: Annotated[float, Field(ge=0)] = NOVELTY,
        memory: Annotated[float, Field(gt=0)] = MEMORY,
        label_shift: bool = True,
    ) -> None:
        """``sharpness``: T. ``memory``: M, how many images the past of a cluster counts for at most."""
        super().__init__(model, num_classes, surroundings)
        self.assignment = Assignment(
            num_clusters, sharpness=sharpness, novelty=novelty, memory=memory, prior=prior, own=own
        )
        self.label_shift = LabelShift(num_classes) if label_shift else None
        put_clusters(model, self.assignment)

    def predict(self, pixels: Tensor) -> Tensor:
        """Update the clusters by the batch, then predict it."""
        self.assignment.begin()
        logits = super().predict(pixels)
        self.assignment.end()
        return logits if self.label_shift is None else self.label_shift.corrected(logits)

    def leaves(self) -> Left:
        """UAN layers with the clusters and their statistics. Each assigns images by itself, ``own`` has no effect, and
        the proportions of the classes are not kept."""
        options = {"num_clusters": len(self.assignment.count), "sharpness": self.assignment.sharpness, "depth": 0}
        model = copy.deepcopy(self.model)
        for path, layer in list(model.backbone.named_modules()):
            if isinstance(layer, ClusterNorm | BatchNorm):
                parent, _, name = path.rpartition(".")
                made = layer.as_uan(options) if isinstance(layer, ClusterNorm) else uan(layer, **options)
                setattr(model.backbone.get_submodule(parent), name, made.eval())
        return Left(model, {"name": "uan", **options})


def put_clusters(model: Classifier, assignment: Assignment) -> None:
    """Replace every BatchNorm of images by clusters."""

    def follow(bn: BatchNorm) -> nn.Module:
        return bn if isinstance(bn, nn.BatchNorm1d) else ClusterNorm(bn, assignment)

    put_norm(model, "uan", follow)
