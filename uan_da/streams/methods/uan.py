"""UAN online: a BatchNorm network becomes UAN, and its clusters follow the stream."""

import copy
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, NamedTuple, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from uan_da.models.classifier import Classifier
from uan_da.norms.batch_norm import BatchNorm
from uan_da.norms.uan.conversion import uan
from uan_da.norms.uan.layer import UAN
from uan_da.streams.method import Left, StreamMethod, Surroundings
from uan_da.streams.norm import ImageMoments, StreamNorm, mixed, put_norm

PARKED = -30.0
"""The prior logit of a cluster that waits for images, in a network that is saved."""
SHARPNESS, PRIOR, OWN, NOVELTY, MEMORY = 50.0, 8.0, 0.2, 0.05, 1000.0


class UANOnline(StreamMethod):
    r"""UAN (arXiv:2409.04757), whose clusters follow the stream without a label or a gradient.

    Every BatchNorm of images keeps K clusters of statistics, all of them the source's at the start, so that the
    network's function is kept. An image's clusters are decided once, at the first of them, since a condition is a
    property of the image: by the likelihood of its channels' moments,

    .. math:: τ_k(n) = \mathrm{softmax}_k(T · \mathrm{mean}_{c,s} \log N(x_{ncs}; μ_{kc}, σ_{kc}^2))

    over the clusters that are open. Each batch is one step of EM with memory before it is answered, in every layer:
    with N_k the images that cluster k has had,

    .. math:: N_k ← \min(N_k, M) + \sum_n τ_k(n), \quad (μ_k, σ_k^2) ← \text{the moments of all these images}

    An image is normalised by the moments of its clusters, each shrunk toward the source's as if ``prior`` images of the
    source were in it, and then by a share ``own`` toward the image's own moments.

    One cluster is open at the start. An image whose own moments explain it better than any open cluster does, by more
    than ``novelty`` nats an activation, opens another while one is left, so a stream of one condition fills few. Single
    images are no special case. BatchNorm of vectors, whose modes would be classes, keeps the source's statistics.
    """

    updates: ClassVar[str] = "clusters and their statistics"

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
    ) -> None:
        """``sharpness``: T. ``memory``: M, the images that a cluster's past counts for at most."""
        super().__init__(model, num_classes, surroundings)
        self.assignment = Assignment(num_clusters, sharpness, novelty, memory)
        put_clusters(model, self.assignment, prior, own)

    def answer(self, pixels: Tensor) -> Tensor:
        """The clusters follow the batch, and it is answered by them."""
        self.assignment.begin()
        logits = super().answer(pixels)
        self.assignment.end()
        return logits

    def leaves(self) -> Left:
        """UAN layers with the clusters and their statistics. Each assigns images by itself, and without ``own``."""
        options = {"num_clusters": len(self.assignment.count), "sharpness": self.assignment.sharpness}
        model = copy.deepcopy(self.model)
        for path, layer in list(model.backbone.named_modules()):
            if isinstance(layer, ClusterNorm | BatchNorm):
                parent, _, name = path.rpartition(".")
                made = layer.as_uan(options) if isinstance(layer, ClusterNorm) else uan(layer, **options)
                setattr(model.backbone.get_submodule(parent), name, made.eval())
        return Left(model, {"name": "uan", **options})


def put_clusters(model: Classifier, assignment: "Assignment", prior: float = PRIOR, own: float = OWN) -> None:
    """Clusters in the place of every BatchNorm of images."""

    def follow(bn: BatchNorm) -> nn.Module:
        return bn if isinstance(bn, nn.BatchNorm1d) else ClusterNorm(bn, assignment, prior, own)

    put_norm(model, "uan", follow)


class Assignment(nn.Module):
    """To which clusters the images of a batch belong, for all layers; ``count`` ``(K,)`` is the images that each has
    had, ``is_open`` ``(K,)`` which take any."""

    count: Tensor
    is_open: Tensor

    def __init__(
        self, num_clusters: int, sharpness: float = SHARPNESS, novelty: float = NOVELTY, memory: float = MEMORY
    ) -> None:
        super().__init__()
        self.sharpness, self.novelty, self.memory = sharpness, novelty, memory
        self.register_buffer("count", torch.zeros(num_clusters))
        self.register_buffer("is_open", torch.arange(num_clusters) == 0)
        self.step: Step | None = None

    def begin(self) -> None:
        """A batch comes: the first layer that it meets assigns it."""
        self.step = None

    def end(self) -> None:
        """The batch is over, and counts."""
        if self.step is not None:
            self.count = self.step.count_k

    @torch.no_grad()
    def of(self, layer: "ClusterNorm", mean_nc: Tensor, var_nc: Tensor) -> "Step":
        """The step of the batch, decided by the first ``layer`` that asks, from its images' moments ``(N, C)``."""
        if self.step is None:
            self.count, self.is_open = self.count.to(mean_nc), self.is_open.to(mean_nc.device)
            likelihood_nk = log_likelihood(mean_nc, var_nc, layer.means, layer.vars, layer.eps)
            self._open(layer, mean_nc, var_nc, likelihood_nk)
            logits_nk = (self.sharpness * likelihood_nk).masked_fill(~self.is_open, -torch.inf)
            self.step = Step.of(logits_nk.softmax(1), self.count.clamp_max(self.memory))
        return self.step

    def _open(self, layer: "ClusterNorm", mean_nc: Tensor, var_nc: Tensor, likelihood_nk: Tensor) -> None:
        """Clusters for the images that are explained worst, worst first; their likelihoods are written in place."""
        own_n = -0.5 * (1 + (var_nc + layer.eps).log()).mean(1)
        for cluster in (~self.is_open).nonzero()[:, 0].tolist():
            gap_n = own_n - likelihood_nk[:, self.is_open].amax(1)
            worst = int(gap_n.argmax())
            if gap_n[worst] <= self.novelty:
                return
            self.is_open[cluster] = True
            seed = slice(worst, worst + 1)
            of_it = log_likelihood(mean_nc, var_nc, mean_nc[seed], var_nc[seed], layer.eps)
            likelihood_nk[:, cluster] = of_it[:, 0]


class Step(NamedTuple):
    """A step of EM, alike in all layers."""

    tau_nk: Tensor
    """To which clusters the images of the batch belong."""
    weight_kn: Tensor
    """The same, as weights of each cluster's mean over the batch."""
    share_k1: Tensor
    """The batch's part of each cluster's images, ``(K, 1)``."""
    count_k: Tensor
    """The images that each cluster's moments stand for once the batch counts."""

    @classmethod
    def of(cls, tau_nk: Tensor, past_k: Tensor) -> Self:
        """From the responsibilities, and the images that each cluster's moments stood for before."""
        now_k = tau_nk.sum(0)
        count_k = past_k + now_k
        weight_kn = tau_nk.T / now_k.clamp_min(1e-6)[:, None]
        return cls(tau_nk, weight_kn, (now_k / count_k.clamp_min(1e-6))[:, None], count_k)


class ClusterNorm(StreamNorm):
    """The clusters of one layer: ``means`` and ``vars`` ``(K, C)`` are the moments of each cluster's images."""

    means: Tensor
    vars: Tensor

    def __init__(self, bn: BatchNorm, assignment: Assignment, prior: float, own: float) -> None:
        super().__init__(bn)
        self.assignment, self.prior, self.own = assignment, prior, own
        self.image_moments = ImageMoments()
        clusters = len(assignment.count)
        self.register_buffer("means", self.source_mean.repeat(clusters, 1))
        self.register_buffer("vars", self.source_var.repeat(clusters, 1))

    @torch.no_grad()
    def as_uan(self, options: Mapping[str, Any]) -> UAN:
        """The layer of UAN that assigns to these clusters and normalises by their shrunk statistics."""
        bn = nn.BatchNorm2d(self.num_features, self.eps, affine=self.weight is not None).to(self.mean)
        bn.weight, bn.bias = copy.deepcopy(self.weight), copy.deepcopy(self.bias)
        assert bn.running_mean is not None
        assert bn.running_var is not None
        bn.running_mean.copy_(self.source_mean)
        bn.running_var.copy_(self.source_var)
        layer = uan(bn, **options)
        means_kc, vars_kc = self._shrunk(self.assignment.count)
        assert layer.running_mean is not None
        assert layer.running_var is not None
        layer.running_mean.copy_(means_kc)
        layer.running_var.copy_(vars_kc)
        layer.mean.copy_(self.means)
        layer.log_var.copy_(self.vars.clamp_min(1e-12).log())
        layer.prior_logits.copy_(torch.where(self.assignment.is_open, 0.0, PARKED))
        return layer

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Each image's ``(N, C)``; the clusters have followed the batch."""
        mean_nc, var_nc = self.image_moments(x)
        with torch.no_grad():
            step = self.assignment.of(self, mean_nc.detach(), var_nc.detach())
            self._follow(step, mean_nc, var_nc)
            means_kc, vars_kc = self._shrunk(step.count_k)
        mean, var = step.tau_nk @ means_kc, step.tau_nk @ vars_kc
        return torch.lerp(mean, mean_nc, self.own), torch.lerp(var, var_nc, self.own)

    def _follow(self, step: "Step", mean_nc: Tensor, var_nc: Tensor) -> None:
        """One step of EM: the moments of what the clusters have had and of the batch together, centred."""
        # relative to the source's mean, for E[x²] − m² has no digits to spare at a large offset
        shift_nc = mean_nc - self.source_mean
        batch_shift_kc = step.weight_kn @ shift_nc
        batch_var_kc = (step.weight_kn @ (var_nc + shift_nc.square()) - batch_shift_kc.square()).clamp_min_(0.0)
        batch_mean_kc = self.source_mean + batch_shift_kc
        self.means, self.vars = mixed(self.means, self.vars, batch_mean_kc, batch_var_kc, step.share_k1)

    def _shrunk(self, count_k: Tensor) -> tuple[Tensor, Tensor]:
        """The clusters' moments with ``prior`` images of the source in each."""
        share_k1 = (self.prior / (self.prior + count_k).clamp_min(1e-6))[:, None]
        return mixed(self.means, self.vars, self.source_mean, self.source_var, share_k1)


def log_likelihood(mean_nc: Tensor, var_nc: Tensor, mean_kc: Tensor, var_kc: Tensor, eps: float) -> Tensor:
    """Mean log-likelihood of an image's activations under each cluster, ``(N, K)``, in nats less a constant."""
    wide_kc = var_kc + eps
    squares_nkc = (mean_nc[:, None] - mean_kc).square() + var_nc[:, None]
    return -0.5 * (squares_nkc / wide_kc + wide_kc.log()).mean(-1)
