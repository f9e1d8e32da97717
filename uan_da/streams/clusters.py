r"""Clusters of statistics that follow a stream. One assignment of images to clusters serves all layers.

A layer describes an image by ``moments_nd`` ``(N, 2C)``: :math:`E[z]` and :math:`E[z^2]` of each channel, where
:math:`z = x - μ_S` is the distance to the source's mean. The moments of several images together are the mean of theirs.
So an EM step, the prior and the image's own part are weighted means of moments, and all layers share the weights:
:class:`Step`.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from uan_da.norms.batch_norm import BatchNorm
from uan_da.norms.uan.conversion import uan
from uan_da.norms.uan.layer import UAN
from uan_da.streams.norm import StreamNorm, image_moments

PARKED = -30.0
"""The prior logit, in a saved network, of a cluster that is not in use yet."""
SHARPNESS = 50.0
"""T. From 30 to 100 nearly every image belongs to one cluster, and errors on digits_c are alike."""
PRIOR = 8.0
"""Images of the source that count in each cluster, so that a cluster of few images stays near the source. From 4 to 16
errors on digits_c are alike."""
OWN = 0.2
"""The weight of an image's own moments, for images of one condition differ. From 0.1 to 0.3 errors on digits_c are
alike."""
NOVELTY = 0.05
"""Nats. Images of one condition are explained by each other's moments about so well."""
MEMORY = 1000.0
"""Images. So many determine a mean to 3 % of the deviation among images; what is older can be forgotten."""


class Step(NamedTuple):
    """The weights of one EM step, the same in all layers. Of ``1 + K`` rows or columns, the first is the source's; its
    moments do not change."""

    tau_nk: Tensor
    """The responsibility of each cluster for each image of the batch."""
    count_k: Tensor
    """The number of images whose mean each cluster's new moments are."""
    learn_kn: Tensor
    """The weight of each image in the new moments of the clusters, ``(1 + K, N)``."""
    keep_k1: Tensor
    """The weight of the old moments in the new ones, ``(1 + K, 1)``."""
    use_nk: Tensor
    """The weight of each cluster in the moments that an image is normalised by, ``(N, 1 + K)``."""


class Assignment(nn.Module):
    """Assigns the images of a batch to the clusters that are open. ``count`` ``(K,)`` is the number of images that each
    cluster has had, ``is_open`` ``(K,)`` says which are in use.

    Args:
        num_clusters: K.
        sharpness: T.
        novelty: an image opens a cluster if its own moments explain it better than every open one, by more than so many
            nats per activation.
        memory: how many images the past of a cluster counts for at most.
        prior: how many images of the source count in each cluster.
        own: the weight of the image's own moments in those that it is normalised by.
    """

    count: Tensor
    is_open: Tensor

    def __init__(
        self,
        num_clusters: int,
        *,
        sharpness: float = SHARPNESS,
        novelty: float = NOVELTY,
        memory: float = MEMORY,
        prior: float = PRIOR,
        own: float = OWN,
    ) -> None:
        super().__init__()
        self.sharpness, self.novelty, self.memory, self.prior, self.own = sharpness, novelty, memory, prior, own
        self.register_buffer("count", torch.zeros(num_clusters))
        self.register_buffer("is_open", torch.arange(num_clusters) == 0)
        self.step: Step | None = None

    def begin(self) -> None:
        """Before a batch: the first layer that it meets will assign it."""
        self.step = None

    def end(self) -> None:
        """After a batch: its images count for the clusters from now on."""
        if self.step is not None:
            self.count = self.step.count_k

    def of(self, layer: "ClusterNorm", moments_nd: Tensor) -> Step:
        """The EM step of the batch, computed by the first ``layer`` that asks."""
        if self.step is None:
            self.step = self._decide(layer, moments_nd)
        return self.step

    @torch.no_grad()
    def _decide(self, layer: "ClusterNorm", moments_nd: Tensor) -> Step:
        self.count, self.is_open = self.count.to(moments_nd), self.is_open.to(moments_nd.device)
        closed = ~self.is_open
        likelihood_nk = log_likelihood(moments_nd, layer.clusters[1:], layer.eps).masked_fill_(closed, -torch.inf)
        self._open(closed.nonzero()[:, 0].tolist(), moments_nd, likelihood_nk, layer.eps)
        return self._step((self.sharpness * likelihood_nk).softmax(1))

    def _open(self, closed: Sequence[int], moments_nd: Tensor, likelihood_nk: Tensor, eps: float) -> None:
        """Open clusters for the images that are explained too badly, the worst first; ``likelihood_nk`` follows."""
        if not closed:
            return
        own_n = -0.5 * (1 + (variance(moments_nd) + eps).log().mean(1))
        best_n = likelihood_nk.amax(1)
        for cluster in closed:
            gap, worst = (own_n - best_n).max(0)
            if gap <= self.novelty:
                return
            self.is_open[cluster] = True
            likelihood_nk[:, cluster] = log_likelihood(moments_nd, moments_nd[worst][None], eps)[:, 0]
            best_n = torch.maximum(best_n, likelihood_nk[:, cluster])

    def _step(self, tau_nk: Tensor) -> Step:
        now_k = tau_nk.sum(0)
        count_k = self.count.clamp_max(self.memory) + now_k
        learn_kn = pad((tau_nk / count_k.clamp_min(1e-6)).T, (0, 0, 1, 0))
        source_k = self._source_share(count_k)
        use_nk = (1 - self.own) * tau_nk
        from_source_n1 = (use_nk @ source_k)[:, None]
        return Step(
            tau_nk,
            count_k,
            learn_kn,
            1 - learn_kn.sum(1, keepdim=True),
            torch.cat([from_source_n1, use_nk * (1 - source_k)], 1),
        )

    def _source_share(self, count_k: Tensor) -> Tensor:
        return self.prior / (self.prior + count_k).clamp_min(1e-6)

    def shrunk(self, clusters: Tensor) -> Tensor:
        """The moments of a layer's clusters, the images of the source that count in them included, ``(K, 2C)``."""
        return torch.lerp(clusters[1:], clusters[:1], self._source_share(self.count)[:, None])


class ClusterNorm(StreamNorm):
    """The clusters of one layer. ``clusters`` ``(1 + K, 2C)`` has the moments of the source, then those of each
    cluster."""

    clusters: Tensor

    def __init__(self, bn: BatchNorm, assignment: Assignment) -> None:
        super().__init__(bn)
        self.assignment = assignment
        source = torch.cat([torch.zeros_like(self.source_var), self.source_var])
        self.register_buffer("clusters", source.repeat(1 + len(assignment.count), 1))

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The moments of each image, ``(N, C)``, after the clusters were updated by the batch."""
        mean_nc, var_nc = image_moments(x, self.source_mean)
        own_nd = torch.cat([mean_nc, torch.addcmul(var_nc, mean_nc, mean_nc)], 1)
        step = self.assignment.of(self, own_nd.detach())
        self.clusters = torch.addmm(step.keep_k1 * self.clusters, step.learn_kn, own_nd.detach())
        used_nd = torch.addmm(own_nd, step.use_nk, self.clusters, beta=self.assignment.own)
        return self.source_mean + used_nd[:, : self.num_features], variance(used_nd)

    @torch.no_grad()
    def as_uan(self, options: Mapping[str, Any]) -> UAN:
        """The layer of UAN that assigns to these clusters and normalises by their shrunk statistics."""
        bn = nn.BatchNorm2d(self.num_features, self.eps, affine=self.weight is not None).to(self.mean)
        bn.weight, bn.bias = copy.deepcopy(self.weight), copy.deepcopy(self.bias)
        layer = uan(bn, **options)
        shrunk_kd = self.assignment.shrunk(self.clusters)
        assert layer.running_mean is not None
        assert layer.running_var is not None
        layer.running_mean.copy_(self.source_mean + shrunk_kd[:, : self.num_features])
        layer.running_var.copy_(variance(shrunk_kd))
        layer.mean.copy_(self.source_mean + self.clusters[1:, : self.num_features])
        layer.log_var.copy_(variance(self.clusters[1:]).clamp_min(1e-12).log())
        layer.prior_logits.copy_(torch.where(self.assignment.is_open, 0.0, PARKED))
        return layer


def variance(moments: Tensor) -> Tensor:
    """``(…, C)``, of moments ``(…, 2C)``. About the source's mean these have digits to spare."""
    first, second = moments.chunk(2, -1)
    return torch.addcmul(second, first, first, value=-1).clamp_min(0.0)


def log_likelihood(moments_nd: Tensor, moments_kd: Tensor, eps: float) -> Tensor:
    r"""Mean log-likelihood of an image's activations under each cluster, ``(N, K)``, in nats less a constant:
    :math:`-\tfrac12 \mathrm{mean}_c [(E[z^2] - 2 m E[z] + m^2) / w + \log w]`, w the variance and ε."""
    mean_kc, wide_kc = moments_kd.chunk(2, 1)[0], variance(moments_kd) + eps
    inverse_kc = wide_kc.reciprocal()
    constant_k = (mean_kc.square() * inverse_kc + wide_kc.log()).sum(1)
    factors_kd = torch.cat([-2 * mean_kc * inverse_kc, inverse_kc], 1)
    return torch.addmm(constant_k, moments_nd, factors_kd.T).mul_(-0.5 / mean_kc.shape[1])
