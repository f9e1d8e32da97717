"""The text tower of a CLIP backbone: sentences as directions in the space of its images."""

import functools
import re
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from uan_da.errors import UserError
from uan_da.models.classifier import Classifier
from uan_da.models.head import CosineLinear

WORD = re.compile(r"[^\W\d_]{2,}")
"""Two letters in a row: what a name has that CLIP may have read."""


class TextTower:
    """The text tower in a model's backbone.

    Args:
        model: its backbone is ``clip:NAME`` with ``text: true``, its head a linear layer of cosines.
        method: who asks, for the errors.

    Raises:
        UserError: the model has no text tower, or features or a head that text cannot be compared with.
    """

    def __init__(self, model: Classifier, method: str) -> None:
        if not _is_clip(model.backbone):
            raise UserError(f"method {method} reads CLIP's text tower: backbone={{name: 'clip:ViT-B-16', text: true}}")
        if not isinstance(model.bottleneck, nn.Identity) or not isinstance(model.head, CosineLinear):
            raise UserError(
                f"method {method} compares images with text by their cosine: head={{cosine: 0.01}}, and no bottleneck"
            )
        self.network: Any = model.backbone

    def tokens(self, sentences: Sequence[str]) -> Tensor:
        """Tokens ``(N, length)`` of sentences, on the model's device."""
        tokens: Tensor = _tokenizer(self.network.context_length)(list(sentences))
        return tokens.to(self.network.token_embedding.weight.device)

    def embed(self, tokens: Tensor) -> Tensor:
        """The vectors ``(N, length, width)`` that the tower reads for ``tokens`` ``(N, length)``."""
        vectors: Tensor = self.network.token_embedding(tokens)
        return vectors

    def directions(self, vectors: Tensor, tokens: Tensor) -> Tensor:
        """Embeddings of length one ``(N, E)`` of ``vectors`` ``(N, length, width)``, which stand for ``tokens``
        ``(N, length)``: these say where each sentence ends."""
        x = self.network.transformer(vectors + self.network.positional_embedding, attn_mask=self.network.attn_mask)
        x = self.network.ln_final(x)
        ends = x[torch.arange(len(x), device=x.device), tokens.argmax(1)]  # the end's token is the greatest
        return F.normalize(ends @ self.network.text_projection, dim=1)


def readable(names: Sequence[str], what: str) -> list[str]:
    """Names as CLIP reads them: lower case, blanks for underscores.

    Args:
        names: of classes or domains.
        what: they are, for the error.

    Raises:
        UserError: some are no words.
    """
    strange = [name for name in names if not WORD.search(name)]
    if strange:
        some = ", ".join(map(repr, strange[:4])) + (", …" if len(strange) > 4 else "")
        raise UserError(
            f"CLIP reads the names of {what}, and {some} are no words; a card of the data set may give others"
        )
    return [name.replace("_", " ").lower() for name in names]


def cosine_head(model: Classifier, directions: Tensor) -> nn.Module:
    """A head like the model's, of cosines, whose classes have ``directions`` ``(C, E)``."""
    assert isinstance(model.head, CosineLinear)
    head = CosineLinear(model.num_features, model.num_classes, model.head.temperature).to(model.head.weight)
    head.weight.data.copy_(directions)
    return head


@functools.cache  # it takes a second to make
def _tokenizer(length: int) -> Callable[[list[str]], Tensor]:
    from open_clip import SimpleTokenizer

    tokenizer: Callable[[list[str]], Tensor] = SimpleTokenizer(context_length=length)
    return tokenizer


def _is_clip(backbone: nn.Module) -> bool:
    try:
        from open_clip import CLIP
    except ImportError:
        return False
    return isinstance(backbone, CLIP)
