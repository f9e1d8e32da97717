"""Adaptive batch normalisation: the target's own statistics in place of the source's."""

from typing import Annotated

from pydantic import Field

from uan_da.errors import UserError
from uan_da.methods.method import SourceFreeMethod
from uan_da.methods.target import Target
from uan_da.models.classifier import Classifier
from uan_da.norms import recalibrate


class AdaBN(SourceFreeMethod):
    r"""Adaptive batch normalisation (Li et al., Pattern Recognition 2018, arXiv:1603.04779).

    .. math:: y = γ \frac{x - μ_T}{\sqrt{σ_T^2 + ε}} + β

    with the mean and variance of every channel over the target's images in place of the source's; no parameter moves.
    The moments are plain averages over batches of ``batch`` images: exact where one batch holds all images, else up to
    the variance between batches. Any norm that keeps running statistics is adapted so: BatchNorm, UAN (its clusters
    stay), the branch that evaluates the target in DSBN and its like.
    """

    def __init__(self, model: Classifier, num_classes: int, *, batch: Annotated[int, Field(ge=2)] = 256) -> None:
        super().__init__()
        self.batch = batch

    def adapt(self, model: Classifier, target: Target) -> None:
        """Estimate the running statistics anew on the target."""
        images = (images for _, images in target.batches(self.batch, epoch=0))
        if not recalibrate(model, images, target.domain):
            raise UserError(
                "adabn re-estimates the running statistics of norms, and no norm of this model keeps any; "
                "shot and lame do without"
            )
