import pytest
import torch

from uan_da.evaluation.predict import Predictions


class Make:
    """Predictions from a seed, or from probabilities."""

    def __call__(
        self, n: int = 60, classes: int = 4, features: int = 8, seed: int = 0, spread: float = 2.0
    ) -> Predictions:
        random = torch.Generator().manual_seed(seed)
        logits = spread * torch.randn(n, classes, generator=random)
        labels = torch.randint(classes, (n,), generator=random)
        return Predictions(torch.randn(n, features, generator=random), logits, labels)

    def of(self, probabilities: list[list[float]], labels: list[int], features: int = 3) -> Predictions:
        p = torch.tensor(probabilities)
        random = torch.Generator().manual_seed(0)
        return Predictions(torch.randn(len(p), features, generator=random), p.log(), torch.tensor(labels))


@pytest.fixture
def make() -> Make:
    return Make()
