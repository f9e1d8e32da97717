"""DAPL: CLIP stays as it is, and the words before the names of classes and domains are learned."""

from collections.abc import Sequence
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from uan_da.data.domain_batch import DomainBatch
from uan_da.methods.method import Loss, Method, Phase, Progress
from uan_da.methods.routing import forward
from uan_da.models.classifier import Classifier
from uan_da.models.clip_text import TextTower, cosine_head, readable
from uan_da.models.head import CosineLinear

Length = Annotated[int, Field(ge=1, le=24)]
"""Of learned vectors: two of the greatest leave room for the names, of the 77 tokens that CLIP reads."""


class DAPL(Method):
    r"""Domain adaptation via prompt learning (Ge et al., 2022, arXiv:2202.06687).

    .. math:: L = CE(z_S, y_S) + w · \frac{\sum_i m_i\, CE(z_{T,i}, \arg\max q_i)}{\sum_i m_i}, \quad
        z_k = \cos(g(x), t_{dk}) / T, \quad m_i = 1[\max q_i ≥ τ]

    where t_dk is the text of domain d and class k: ``context`` vectors for each class (``class_specific: false``: for
    all), ``domain_context`` vectors for each domain, and the words "NAME , a DOMAIN image..". q are the probabilities
    of zero-shot CLIP on the target image, "a photo of a NAME.", without gradient. Only the vectors are trained; CLIP is
    in evaluation mode. Images of any domain are evaluated with the target's text.

    From the authors' code: 16 and 16 vectors, from N(0, 0.02²), class-specific, w = 1, τ = 0.5, the cross-entropies
    over the classes of the image's own domain (the paper's is over all pairs of class and domain), and SGD at 3e-3 for
    25 epochs. Where no image is sure, their second term is undefined and here 0; of several sources they train the
    first one's vectors alone. T is that of the head, ``head: {cosine: 0.01}`` is CLIP's own.
    """

    needs: ClassVar[str] = "a backbone clip:NAME with text: true, and classes and domains whose names are words"

    tokens: Tensor
    plain: Tensor

    def __init__(
        self,
        model: Classifier,
        num_classes: int,
        *,
        context: Length = 16,
        domain_context: Length = 16,
        class_specific: bool = True,
        trade_off: Annotated[float, Field(ge=0)] = 1.0,
        threshold: Annotated[float, Field(ge=0, le=1)] = 0.5,
    ) -> None:
        super().__init__()
        self.trade_off, self.threshold = trade_off, threshold
        text = TextTower(model, "dapl")
        classes, domains = readable(model.class_names, "classes"), readable(model.domain_names, "domains")
        blank = " ".join(["X"] * (context + domain_context))
        sentences = [f"{blank} {name} , a {domain} image.." for domain in domains for name in classes]
        self.register_buffer("tokens", text.tokens(sentences), persistent=False)
        self.register_buffer("plain", text.tokens([f"a photo of a {name}." for name in classes]), persistent=False)
        width = text.embed(self.plain[:1]).shape[2]
        self.words = nn.ParameterDict(
            {
                "context": 0.02 * torch.randn(len(classes) if class_specific else 1, context, width),
                "domain": 0.02 * torch.randn(len(domains), domain_context, width),
            }
        )

    def phases(self, model: Classifier) -> Sequence[Phase]:
        """One step, which moves the vectors alone."""
        return [Phase("", self.loss, [self.words])]

    def loss(self, model: Classifier, batch: DomainBatch, progress: Progress) -> Loss:
        """The loss of a batch."""
        source, target = self._features(model, batch)
        directions = self._directions(model)
        on_source = (source[:, None] * directions[batch.source.domain]).sum(2)
        on_target = target @ directions[-1].T
        assert isinstance(model.head, CosineLinear)
        temperature = model.head.temperature
        with torch.no_grad():
            confidence, labels = (target @ self._plain_directions(model).T / temperature).softmax(1).max(1)
            sure = (confidence >= self.threshold).to(confidence.dtype)
        losses = F.cross_entropy(on_target / temperature, labels, reduction="none")
        terms = {
            "source": F.cross_entropy(on_source / temperature, batch.source.labels),
            "target": self.trade_off * (sure * losses).sum() / sure.sum().clamp_min(1),
        }
        return Loss(terms, {"mask": sure.mean()})

    @torch.no_grad()
    def predictor(self, model: Classifier) -> Classifier:
        """The network whose head has the target's text."""
        return model.with_head(cosine_head(model, self._directions(model)[-1]))

    @torch.no_grad()
    def _features(self, model: Classifier, batch: DomainBatch) -> list[Tensor]:
        """Of length one, of source and target; no dropout, and no statistic moves."""
        model.eval()
        sides = [batch.source, batch.target]
        outputs = forward(model, [side.weak for side in sides], [side.domain for side in sides], "joint")
        return [F.normalize(output.features, dim=1) for output in outputs]

    def _directions(self, model: Classifier) -> Tensor:
        """Of each domain and class, ``(D, C, E)``: the learned vectors in the places of the X."""
        text, context, domain = TextTower(model, "dapl"), self.words["context"], self.words["domain"]
        classes = len(self.plain)
        learned = [context.expand(classes, -1, -1).repeat(len(domain), 1, 1), domain.repeat_interleave(classes, 0)]
        with torch.no_grad():
            vectors = text.embed(self.tokens)
        after = 1 + context.shape[1] + domain.shape[1]
        vectors = torch.cat([vectors[:, :1], *learned, vectors[:, after:]], 1)
        return text.directions(vectors, self.tokens).view(len(domain), classes, -1)

    @torch.no_grad()
    def _plain_directions(self, model: Classifier) -> Tensor:
        """Of each class without learned vectors, ``(C, E)``."""
        text = TextTower(model, "dapl")
        return text.directions(text.embed(self.plain), self.plain)
