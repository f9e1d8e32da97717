import numpy as np
import pytest
import torch
from scipy.special import digamma, gammaln
from torch import Tensor

from uan_da.streams import label_shift
from uan_da.streams.label_shift import LabelShift, class_proportions


def predictions(labels: list[int], classes: int, sure: float) -> Tensor:
    """Probabilities ``sure`` for the labels, the rest shared by the other classes."""
    p = torch.full((len(labels), classes), (1 - sure) / (classes - 1))
    p[torch.arange(len(labels)), torch.tensor(labels)] = sure
    return p


def test_the_bound_of_sure_predictions_is_the_evidence_of_their_counts() -> None:
    """Of labels that are known, the variational bound is exact: Dirichlet-multinomial against uniform."""
    labels = [0] * 20 + [1] * 5 + [3] * 7
    _, evidence = class_proportions(predictions(labels, 4, 1.0).double().numpy())
    counts = np.bincount(labels, minlength=4)
    exact = gammaln(4) - gammaln(4 + 32) + gammaln(counts + 1).sum() + 32 * np.log(4)
    assert float(evidence) == pytest.approx(exact)


def test_proportions_are_a_fixed_point_of_variational_em() -> None:
    random = torch.Generator().manual_seed(0)
    p = (3 * torch.randn(200, 3, generator=random, dtype=torch.double) + torch.tensor([2.0, 0.0, 0.0])).softmax(1)
    a = np.ones(3) + p.numpy().sum(0)
    for _ in range(200):
        r = p.numpy() * np.exp(digamma(a))
        a = 1 + (r / r.sum(1, keepdims=True)).sum(0)
    weight, _ = class_proportions(p.numpy())
    np.testing.assert_allclose(weight, np.exp(digamma(a) - digamma(a.sum())), rtol=2e-2)


def test_balanced_predictions_are_kept() -> None:
    p = predictions(list(range(8)) * 8, 8, 0.7)
    found = LabelShift(8).corrected(p.log()).softmax(1)
    torch.testing.assert_close(found, p, atol=1e-3, rtol=0)


def test_predictions_that_favour_a_class_somewhat_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """24 of 64 images in one class of eight, as wrong predictions may have it; a doubtful one does not follow them."""
    p = predictions([0] * 24 + [1 + n % 7 for n in range(40)], 8, 0.99)
    p[-1] = torch.tensor([0.4, 0.02, 0.02, 0.5, 0.02, 0.02, 0.01, 0.01])
    torch.testing.assert_close(LabelShift(8).corrected(p.log()).softmax(1), p, atol=1e-2, rtol=0)
    monkeypatch.setattr(label_shift, "SLACK", 0.0)
    assert int(LabelShift(8).corrected(p.log())[-1].argmax()) == 0


def test_a_doubtful_prediction_follows_a_batch_of_one_class() -> None:
    labels = [2] * 30 + [5]
    found = LabelShift(8).corrected(predictions(labels, 8, 0.6).log()).softmax(1)
    assert found.argmax(1).tolist() == [2] * 31
    sure = LabelShift(8).corrected(predictions(labels, 8, 0.9999).log())
    assert sure.argmax(1).tolist() == labels


def test_single_images_follow_those_before_and_forget() -> None:
    method = LabelShift(8)
    for _ in range(64):
        method.corrected(predictions([2], 8, 0.9).log())
    doubtful = predictions([5], 8, 0.5).log()
    assert int(method.corrected(doubtful).argmax()) == 2
    for _ in range(64):
        method.corrected(predictions([5], 8, 0.9).log())
    assert int(method.corrected(predictions([2], 8, 0.5).log()).argmax()) == 5
    assert method.recent.shape == (64, 8)


def test_impossible_predictions_are_numbers() -> None:
    logits = torch.tensor([[1e4, -1e4, 0.0]] * 70)
    found = LabelShift(3).corrected(logits)
    assert found.isfinite().all()
    assert found.dtype == logits.dtype
