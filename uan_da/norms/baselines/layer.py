"""Layer normalisation (Ba, Kiros, Hinton, arXiv:1607.06450), over whole images and over channels."""

from torch import Tensor, nn
from torch.nn import functional as F

from uan_da.norms.baselines.group import group_norm
from uan_da.norms.batch_norm import AffineNorm, BatchNorm


def layer_norm(bn: BatchNorm) -> nn.GroupNorm:
    """Layer normalisation: each image by the moments of all its values (arXiv:1607.06450); γ, β per channel."""
    return group_norm(bn, num_groups=1)


def channel_layer_norm(bn: BatchNorm) -> "ChannelLayerNorm":
    """Layer normalisation over channels: each position by the moments of its channels (arXiv:2201.03545)."""
    return ChannelLayerNorm(bn)


class ChannelLayerNorm(AffineNorm):
    """Layer normalisation of ``(N, C, …)`` over the channels of each position, as ConvNeXt has it."""

    def __init__(self, bn: BatchNorm) -> None:
        super().__init__(bn)
        self.num_features, self.eps = bn.num_features, bn.eps

    def forward(self, x: Tensor) -> Tensor:
        """``x`` ``(N, C, …)``, normalised along C."""
        last = x.movedim(1, -1)
        return F.layer_norm(last, (self.num_features,), self.weight, self.bias, self.eps).movedim(-1, 1)

    def extra_repr(self) -> str:
        """The options, as ``repr`` prints them."""
        return f"{self.num_features}, eps={self.eps}, affine={self.weight is not None}"
