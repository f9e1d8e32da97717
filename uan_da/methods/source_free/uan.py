"""UAN after training: a network with BatchNorm gets clusters that follow the target's unknown conditions."""

import copy
from functools import partial
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm

from uan_da.errors import UserError
from uan_da.methods.entropy import entropy, entropy_of_mean
from uan_da.methods.method import SourceFreeMethod
from uan_da.methods.target import Target
from uan_da.models.classifier import Classifier
from uan_da.norms import UAN, convert_norm, recalibrate, to_batch_norm
from uan_da.norms.baselines.alpha_bn import AlphaBatchNorm
from uan_da.norms.domain import DomainNorm
from uan_da.norms.uan.fit import Batches, fit_mixture

CLUSTERS = (1, 2, 4, 8, 16, 32)
"""The K that are tried."""
AFFINE = ("weight", "bias")
CONVERTED: dict[str, Any] = {"assignment": "sample", "moments": "batch", "scale": "none", "shrink": None}
"""The options of a UAN that can be begun anew."""
IMAGES = 8
"""Images that a cluster has on average at least, for its K to be tried."""
TRIAL = 2048
"""Images, drawn at random, on which K is chosen where the target has more."""


class UANAdaptation(SourceFreeMethod):
    r"""UAN (Faye et al., IJCNN 2024, arXiv:2409.04757) in place of the BatchNorms, fitted to the target.

    .. math:: y = γ \sum_k τ_k \frac{x - m_k}{\sqrt{v_k + ε}} + β

    An image belongs to a mode k of the target, such as one of several lights or cameras; m_k and v_k are the mode's own
    mean and variance. k-means finds the modes, in the means and variances of an image's channels in front of the first
    ``depth`` norm layers. γ and β are the network's. There is no label, no gradient, and no source. With one cluster it
    is AdaBN over all images at once.

    K is the one of 1, 2, 4, 8, 16 and 32 whose predictions have the most mutual information with the images (Shi & Sha,
    ICML 2012): H(mean p) − mean H(p), predictions that are sure one by one and diverse together. Each K is fitted to up
    to 2,048 of the images, the chosen one to all.

    Args:
        clusters: K, or ``auto``.
        sharpness: T of the assignment.
        depth: the number of first norm layers that decide together which mode an image belongs to.
        pseudo_count: a mode's moments are shrunk toward those of all images, as if it had this many more of them.
    """

    def __init__(
        self,
        model: Classifier,
        num_classes: int,
        *,
        clusters: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto",
        sharpness: Annotated[float, Field(gt=0)] = 30.0,
        depth: Annotated[int, Field(ge=1)] = 8,
        pseudo_count: Annotated[float, Field(ge=0)] = 8.0,
    ) -> None:
        super().__init__()
        self.clusters, self.pseudo_count = clusters, pseudo_count
        self.options: dict[str, Any] = {"sharpness": sharpness, "depth": depth}

    def adapt(self, model: Classifier, target: Target) -> None:
        """Convert the backbone's norms in ``model``, and fit them to the target."""
        _check(model)
        _to_batch_norms(model)
        candidates = self._candidates(len(target))
        chosen = candidates[0]
        if len(candidates) > 1:
            scores = {clusters: self._score(model, target, clusters) for clusters in candidates}
            self.scores, chosen = scores, max(candidates, key=lambda clusters: scores[clusters])
        tau = self._fit(model, chosen, target.drawn, target.seed)
        self.groups = torch.empty(len(target), dtype=torch.long)
        self.groups[target.order(0)] = tau.argmax(1)
        self.norm = {"name": "uan", "num_clusters": chosen, **self.options}

    def _candidates(self, images: int) -> list[int]:
        if self.clusters == "auto":
            return [clusters for clusters in CLUSTERS if clusters == 1 or clusters * IMAGES <= images]
        if self.clusters > images:
            raise UserError(f"method.clusters={self.clusters}: there are only {images} images")
        return [self.clusters]

    def _convert(self, model: Classifier, clusters: int) -> list[UAN]:
        """The backbone's BatchNorms as UAN layers, in order."""
        convert_norm(nn.ModuleDict({"backbone": model.backbone}), "uan", num_clusters=clusters, **self.options)
        return [module for module in model.backbone.modules() if isinstance(module, UAN)]

    def _score(self, model: Classifier, target: Target, clusters: int) -> float:
        """The mutual information of images and predictions, of the network that is fitted with K clusters."""
        network, trial = copy.deepcopy(model), partial(target.drawn, TRIAL)
        self._fit(network, clusters, trial, target.seed)
        with torch.no_grad():
            logits = torch.cat([network(images).logits.float().cpu() for images in trial()])
        return float(entropy_of_mean(logits) - entropy(logits).mean())

    def _fit(self, network: Classifier, clusters: int, batches: Batches, seed: int) -> Tensor:
        """Convert ``network`` and fit it, its clusters first. Returns τ ``(N, K)`` of the images of ``batches``."""
        tau = fit_mixture(network, self._convert(network, clusters), batches, self.pseudo_count, seed)
        if any(isinstance(module, BatchNorm) for module in network.modules()):
            # those of the bottleneck and the head have too few values of an image to tell its mode
            recalibrate(network, batches(), only=BatchNorm)
        network.eval()
        return tau


def _check(model: Classifier) -> None:
    """UserError where the backbone has no norm that can be converted, or one that BatchNorm cannot stand for."""
    modules = list(model.backbone.modules())
    norms = [module for module in modules if isinstance(module, BatchNorm | UAN)]
    if not norms:
        raise UserError(
            "uan gives the BatchNorms of the backbone clusters, and this backbone has none; shot and lame do without"
        )
    owner = next((module for module in modules if isinstance(module, DomainNorm | AlphaBatchNorm)), None)
    if owner is not None:
        raise UserError(
            "uan gives the BatchNorms of the backbone clusters, and those of this backbone are parts of "
            f"{type(owner).__name__}; adabn, shot and lame do without"
        )
    for layer in norms:
        own = {name: getattr(layer.options, name) for name in CONVERTED} if isinstance(layer, UAN) else CONVERTED
        others = ", ".join(f"{name}={value}" for name, value in own.items() if value != CONVERTED[name])
        if others:
            raise UserError(
                "uan adapts networks with BatchNorm, or with UAN of sample assignment by batch moments, without scale "
                f"and shrinkage; this one has {others}. adabn does without"
            )


def _to_batch_norms(model: Classifier) -> None:
    """UAN layers of the backbone as BatchNorms with their γ and β, to begin anew from."""
    for path, layer in list(model.backbone.named_modules()):
        if isinstance(layer, UAN):
            parent, _, name = path.rpartition(".")
            setattr(model.backbone.get_submodule(parent), name, to_batch_norm(_of_one_cluster(layer)))


@torch.no_grad()
def _of_one_cluster(layer: UAN) -> UAN:
    """A layer of one cluster with the γ and β of ``layer``, and the running moments of all its clusters together."""
    tracks, has_bias = True, layer.bias is not None
    one = type(layer)(
        layer.num_features, layer.eps, layer.momentum, layer.affine, tracks, bias=has_bias, num_clusters=1
    ).to(layer.mean)
    one.load_state_dict({name: tensor for name, tensor in layer.state_dict().items() if name in AFFINE}, strict=False)
    if layer.running is not None and one.running is not None:
        share_k1 = layer.prior_logits.softmax(0)[:, None]
        mean_kc, var_kc, _, batches = layer.running
        mean_c = (share_k1 * mean_kc).sum(0)
        second_c = (share_k1 * (var_kc + mean_kc.square())).sum(0)
        one.running.fill(mean_c, second_c - mean_c.square(), batches)
    return one.train(layer.training)
