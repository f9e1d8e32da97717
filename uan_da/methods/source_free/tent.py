"""Tent: sure predictions on the target, by the affine parameters of the norms alone."""

from typing import Annotated

import torch
from pydantic import Field

from uan_da.errors import UserError
from uan_da.methods.entropy import entropy
from uan_da.methods.method import SourceFreeMethod
from uan_da.methods.target import Target
from uan_da.models.classifier import Classifier
from uan_da.norms import domain_context, recalibrate
from uan_da.norms.affine import affine_parameters, batch_statistics


class Tent(SourceFreeMethod):
    r"""Test-time entropy minimisation (Wang et al., ICLR 2021, arXiv:2006.10726).

    .. math:: \min_{γ, β} \frac{1}{B} \sum_i H(softmax f(x_i))

    one step of Adam a batch, over γ and β of every norm (of a norm with a branch per domain, the target's), while norms
    normalise by the batch. Everything else stays, clusters of UAN included. Defaults: the authors' code for CIFAR-10-C.
    The paper is online and predicts each batch once, from its own statistics. A saved model needs statistics of its
    own: after the last step the running ones are estimated anew on the target, as by AdaBN, and the predictions come
    from the model so adapted. ``epochs`` above 1 goes over the images again.
    """

    def __init__(
        self,
        model: Classifier,
        num_classes: int,
        *,
        lr: Annotated[float, Field(gt=0)] = 1e-3,
        batch: Annotated[int, Field(ge=2)] = 200,
        epochs: Annotated[int, Field(ge=1)] = 1,
    ) -> None:
        super().__init__()
        self.lr, self.batch, self.epochs = lr, batch, epochs

    def adapt(self, model: Classifier, target: Target) -> None:
        """Minimise the entropy of the target's predictions, then estimate the running statistics anew."""
        affine = list(affine_parameters(model, target.domain).values())
        if not affine:
            raise UserError(
                "tent moves the affine parameters of norms (γ and β), and no norm of this model has any; "
                "shot and lame do without"
            )
        optimizer = torch.optim.Adam(affine, lr=self.lr)
        with batch_statistics(model), domain_context(model, target.domain):
            for epoch in range(self.epochs):
                for _, images in target.batches(self.batch, epoch):
                    images.requires_grad_()  # PyTorch 2.11 has a GroupNorm that crashes where its input needs none
                    loss = entropy(model(images).logits).mean()
                    _, *gradients = torch.autograd.grad(loss, [images, *affine], allow_unused=True)
                    for parameter, gradient in zip(affine, gradients, strict=True):
                        parameter.grad = gradient
                    optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        recalibrate(model, (images for _, images in target.batches(self.batch, self.epochs)), target.domain)
