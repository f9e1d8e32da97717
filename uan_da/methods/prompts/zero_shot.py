"""Zero-shot CLIP: each class is the direction of a sentence with its name."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from uan_da.errors import UserError
from uan_da.methods.method import Method, Phase
from uan_da.models.classifier import Classifier
from uan_da.models.clip_text import TextTower, cosine_head, readable


class ZeroShot(Method):
    r"""Zero-shot CLIP (Radford et al., ICML 2021, arXiv:2103.00020).

    .. math:: p = softmax_k\big(\cos(g(x), t_k) / T\big), \quad t_k = text(prompt_k)

    where the prompt of a class is a sentence with its name. It trains nothing and sees no image of either domain: the
    row that any adaptation of a CLIP backbone has to beat. A recipe gives it one step. The temperature T is that of the
    head; CLIP's own is ``head: {cosine: 0.01}``.

    Names of classes are read in lower case, with blanks for underscores. The paper's ensembles of prompts are not here.
    """

    needs: ClassVar[str] = "a backbone clip:NAME with text: true, and classes whose names are words"
    uses_target: ClassVar[bool] = False

    tokens: Tensor

    def __init__(self, model: Classifier, num_classes: int, *, prompt: str = "a photo of a {}.") -> None:
        """``prompt`` is the sentence; {} is the name."""
        super().__init__()
        if prompt.count("{}") != 1:
            raise UserError(f"method.prompt={prompt!r}: expected a sentence with one {{}} for the name of the class")
        sentences = [prompt.replace("{}", name) for name in readable(model.class_names, "classes")]
        self.register_buffer("tokens", TextTower(model, "zero_shot").tokens(sentences), persistent=False)

    def phases(self, model: Classifier) -> Sequence[Phase]:
        """None."""
        return []

    @torch.no_grad()
    def predictor(self, model: Classifier) -> Classifier:
        """The network whose head has the directions of the sentences."""
        text = TextTower(model, "zero_shot")
        return model.with_head(cosine_head(model, text.directions(text.embed(self.tokens), self.tokens)))
