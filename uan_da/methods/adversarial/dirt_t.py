"""DIRT-T: after VADA, the target alone refines the boundaries, held back by a teacher that follows in leaps."""

import copy
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from uan_da.data.domain_batch import DomainBatch, View
from uan_da.methods.adversarial.vada import VADA, Radius, Weight, smoothness
from uan_da.methods.adversarial.virtual_adversarial import divergence
from uan_da.methods.entropy import entropy
from uan_da.methods.method import Loss, Method, Progress
from uan_da.methods.routing import Routing, forward
from uan_da.models.classifier import Classifier


class DIRTT(Method):
    r"""Decision-boundary iterative refinement training with a teacher (Shu et al., ICLR 2018, arXiv:1802.08735).

    VADA first (the pre-training, with VADA's loss; or the recipe's ``init``), then, without the source,

    .. math:: L = w_T · \big[V + E\,H(p(x_T))\big] + β · E\,KL(q(x_T) ‖ p(x_T))

    with the virtual adversarial loss V, the entropy H and the teacher's predictions q. The teacher is the average of
    the network's weights, decay 0.998, as it was at the start and at every ``refresh`` steps; it predicts as in an
    evaluation. The average as it is now is what is evaluated and kept.

    From the authors' code: w_T = β = 0.01, a refresh every 5000 steps, 80 epochs (of 1000 steps) of VADA. There
    the teacher labels target images of a batch of its own; here those of the one batch. There Adam goes on with the
    moments that VADA left; here it starts anew.
    """

    views: ClassVar[tuple[View, ...]] = ("weak",)
    needs: ClassVar[str] = "target images"
    pretrain_epochs: ClassVar[int] = 80
    pretrains_with_target: ClassVar[bool] = True

    def __init__(
        self,
        model: Classifier,
        num_classes: int,
        *,
        domain_weight: Weight = 1e-2,
        source_weight: Weight = 1.0,
        target_weight: Weight = 1e-2,
        radius: Radius = 3.5,
        routing: Routing = "separate",
        beta: Weight = 1e-2,
        refresh: Annotated[int, Field(ge=1)] = 5000,
        decay: Annotated[float, Field(ge=0, lt=1)] = 0.998,
    ) -> None:
        super().__init__()
        self.target_weight, self.radius, self.beta, self.refresh = target_weight, radius, beta, refresh
        self.vada = VADA(
            model,
            num_classes,
            domain_weight=domain_weight,
            source_weight=source_weight,
            target_weight=target_weight,
            radius=radius,
            routing=routing,
        )
        average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))  # type: ignore[no-untyped-call]
        self.average = average.requires_grad_(False)
        self.teacher = copy.deepcopy(model).requires_grad_(False)

    def pretrain_loss(self, model: Classifier, batch: DomainBatch, progress: Progress) -> Loss:
        """VADA's; the average follows, one step behind."""
        self.average.update_parameters(model)
        return self.vada.loss(model, batch, progress)

    def start(self, model: Classifier) -> None:
        """The average takes the last step of VADA, or, without one, the model as it is."""
        self.average.update_parameters(model)

    def loss(self, model: Classifier, batch: DomainBatch, progress: Progress) -> Loss:
        """The loss of one batch of the target."""
        if progress.step % self.refresh == 0:
            self.teacher.load_state_dict(self.average.module.state_dict())
        images, domains = [batch.target.weak], [batch.target.domain]
        outputs = forward(model, images, domains, "separate")
        self.teacher.eval()
        with torch.no_grad():
            (taught,) = forward(self.teacher, images, domains, "separate")
        (smooth,) = smoothness(model, images, domains, outputs, self.radius, "separate")
        predictions = outputs[0].logits
        terms = {
            "target_smoothness": self.target_weight * smooth,
            "target_entropy": self.target_weight * entropy(predictions).mean(),
            "teacher": self.beta * divergence(taught.logits, predictions).mean(),
        }
        return Loss(terms, {"agreement": (predictions.argmax(1) == taught.logits.argmax(1)).float().mean()})

    def after_step(self, model: Classifier) -> None:
        """The average follows the model; its running statistics are the model's."""
        self.average.update_parameters(model)

    def predictor(self, model: Classifier) -> Classifier:
        """The average, once there is one."""
        if not self.average.n_averaged:
            return model
        assert isinstance(self.average.module, Classifier)
        return self.average.module
