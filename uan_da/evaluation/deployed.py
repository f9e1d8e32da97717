"""A trained network with its preprocessing: images in, probabilities out."""

import torch
from torch import Tensor, nn

from uan_da.data.resize import fit
from uan_da.data.views import standardize
from uan_da.norms import domain_context
from uan_da.recipe.network import Input


class Deployed(nn.Module):
    """Images ``(N, C, H, W)``, bytes or floats in [0, 1], to ``(logits, probabilities)``, both ``(N, classes)``.

    Images of another size than the network's are resized as in training; mean and standard deviation are inside. Norms
    that keep domains apart take all images for those of ``domain``.

    Args:
        network: images as the network sees them to something with ``logits``.
        input: what the network was trained on.
        domain: the index by which the norms know the images' domain.
    """

    def __init__(self, network: nn.Module, input: Input, domain: int) -> None:
        super().__init__()
        self.network, self.input, self.domain = network, input, domain
        self.eval()

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """``(C, H, W)`` of what the network sees."""
        return self.input.channels, self.input.side, self.input.side

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and probabilities."""
        if images.shape[2:] != (self.input.side, self.input.side):
            images = fit(images, self.input)
        x = standardize(images, self.input)
        with domain_context(self.network, self.domain):
            logits: Tensor = self.network(x).logits
        return logits, torch.softmax(logits, 1)
