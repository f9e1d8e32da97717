"""A model's answers on a set of images."""

from dataclasses import dataclass

import torch
from torch import Tensor

from uan_da.data.images import Images
from uan_da.data.task import standardize
from uan_da.models.classifier import Classifier
from uan_da.norms import domain_context
from uan_da.recipe.schema import Input

BATCH = 256


@dataclass(frozen=True)
class Predictions:
    """``features`` ``(N, F)``, class ``probabilities`` ``(N, classes)`` and ``labels`` ``(N,)``, on the CPU."""

    features: Tensor
    probabilities: Tensor
    labels: Tensor

    @property
    def classes(self) -> Tensor:
        """The predicted classes ``(N,)``."""
        return self.probabilities.argmax(1)


@torch.no_grad()
def predict(model: Classifier, images: Images, layout: Input, domain: int) -> Predictions:
    """Run ``model`` in evaluation mode over ``images`` of the domain with that index; its mode is restored."""
    training = model.training
    model.eval()
    features, probabilities = [], []
    with domain_context(model, domain):
        for pixels in torch.split(images.pixels, BATCH):
            x = standardize(pixels.float() / 255, layout).contiguous(memory_format=torch.channels_last)
            output = model(x)
            features.append(output.features.float().cpu())
            probabilities.append(output.logits.float().softmax(1).cpu())
    model.train(training)
    return Predictions(torch.cat(features), torch.cat(probabilities), images.labels.cpu())
