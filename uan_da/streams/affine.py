"""Trains γ and β of a network's norms, while the norms normalise by the batch."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from uan_da.errors import UserError
from uan_da.models.classifier import Classifier
from uan_da.norms.affine import affine_parameters, batch_statistics
from uan_da.streams.norm import StreamNorm


class AffineSteps:
    """The affine parameters of every norm of ``model``, and an optimizer for them; all other parameters are frozen.

    Raises:
        UserError: no norm of the model has any.
    """

    def __init__(self, model: Classifier, domain: int, method: str, *, lr: float, sgd: bool = False) -> None:
        model.requires_grad_(True)
        self.parameters = affine_parameters(model, domain) | _of_stream_norms(model)
        model.requires_grad_(False)
        if not self.parameters:
            raise UserError(f"{method} moves γ and β of norms, and no norm of this model has any")
        moved = [parameter.requires_grad_() for parameter in self.parameters.values()]
        self.optimizer: torch.optim.Optimizer = (
            torch.optim.SGD(moved, lr=lr, momentum=0.9) if sgd else torch.optim.Adam(moved, lr=lr)
        )
        self.model = model
        self._needs_input_gradient = any(isinstance(module, nn.GroupNorm) for module in model.modules())

    @contextmanager
    def gradients(self, images: Tensor) -> Iterator[Tensor]:
        """Inside the ``with`` block, norms normalise by the batch and autograd is on; yields the forward's images."""
        with torch.enable_grad(), batch_statistics(self.model):
            # PyTorch 2.11 has a GroupNorm that crashes where its input needs no gradient
            yield images.detach().requires_grad_() if self._needs_input_gradient else images

    def step(self, loss: Tensor) -> None:
        """One step of the optimizer down the ``loss``."""
        self.optimizer.zero_grad(set_to_none=True)
        if loss.requires_grad:
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)

    def snapshot(self) -> list[Tensor]:
        """Copies of the parameters."""
        return [parameter.detach().clone() for parameter in self.parameters.values()]

    @torch.no_grad()
    def restore(self, values: Iterable[Tensor]) -> None:
        """Restore a snapshot, and reset the optimizer."""
        for parameter, value in zip(self.parameters.values(), values, strict=True):
            parameter.copy_(value)
        self.optimizer.state.clear()

    def kept(self) -> Iterator[Tensor]:
        """The optimizer's tensors."""
        for state in self.optimizer.state.values():
            yield from (value for value in state.values() if isinstance(value, Tensor))


def _of_stream_norms(model: Classifier) -> dict[str, nn.Parameter]:
    norms = ((path, norm) for path, norm in model.named_modules() if isinstance(norm, StreamNorm))
    return {f"{path}.{name}": parameter for path, norm in norms for name, parameter in norm.named_parameters()}
