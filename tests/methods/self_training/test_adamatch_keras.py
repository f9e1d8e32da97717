"""Keras's AdaMatch against its example's lines, in NumPy."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from uan_da.data.domain_batch import DomainBatch, DomainImages
from uan_da.methods.method import Progress
from uan_da.methods.self_training.adamatch_keras import AdaMatchKeras
from uan_da.models.classifier import Classifier

CLASSES = 4


@pytest.fixture
def model() -> Classifier:
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(5)
    norm.running_mean.normal_()  # type: ignore[union-attr]
    backbone = nn.Sequential(nn.Conv2d(3, 5, 3), norm, nn.ReLU(), nn.Flatten())
    return Classifier(backbone, 20, CLASSES).double()


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@pytest.mark.parametrize("progress", [0.0, 0.01, 0.05, 0.7])
def test_loss_equals_the_examples(
    model: Classifier, batch: DomainBatch, progress: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    draws = [torch.rand(6, CLASSES, dtype=torch.float64) for _ in range(2)]
    feed = iter(draws)
    monkeypatch.setattr(torch, "rand_like", lambda x: next(feed))
    s, t = batch.source, batch.target
    with torch.no_grad():
        inference = model.eval()(torch.cat([s.weak, s.strong])).logits.numpy()
        buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
        training = model.train()(torch.cat([s.weak, s.strong, t.weak, t.strong])).logits.numpy()
    model.load_state_dict(buffers, strict=False)
    # as trained: evaluation with the statistics that the joint forward has just moved
    with torch.no_grad():
        model.train()(torch.cat([s.weak, s.strong, t.weak, t.strong]))
        moved = model.eval()(torch.cat([s.weak, s.strong])).logits.numpy()
    assert not np.allclose(moved, inference)
    model.load_state_dict(buffers, strict=False)

    loss = AdaMatchKeras(model.train(), CLASSES, threshold=0.8, warm_up=0.05).loss(
        model, batch, Progress(round(100 * progress), 100)
    )

    u = torch.cat(draws).numpy()
    source = u * training[:12] + (1 - u) * moved
    q_source, q_target = softmax(source[:6]), softmax(training[12:21])
    raised = q_target * (q_source.mean() / q_target.mean())
    pseudo = raised / np.sqrt((raised**2).sum(1, keepdims=True))
    mask = pseudo.max(1) >= 0.8 * q_source.max(1).mean()
    labels = s.labels.numpy()
    cross_entropy = -np.log(softmax(source))[np.arange(12), np.tile(labels, 2)]
    on_target = (-(pseudo * np.log(softmax(training[21:]))).sum(1) * mask).mean()
    mu = 0.5 - math.cos(min(math.pi, math.pi * progress / 0.05)) / 2
    assert float(loss.total.detach()) == pytest.approx(
        cross_entropy[:6].mean() + cross_entropy[6:].mean() + mu * on_target
    )
    assert float(loss.metrics["mask"]) == pytest.approx(mask.mean())
    assert model.training


def test_an_unsure_target_is_kept_and_weighs_more_than_a_label() -> None:
    """Two even probabilities have confidence 1/√2, and their labels sum to √2."""
    model = Classifier(nn.Flatten(), 2, 2)
    model.head = nn.Identity()
    x = {name: torch.zeros(3, 2, 1, 1) for name in ("weak", "strong")}
    source = DomainImages(x, torch.zeros(3, dtype=torch.long), torch.zeros(3, dtype=torch.long))
    batch = DomainBatch(source, DomainImages(x, torch.full((3,), -1), torch.ones(3, dtype=torch.long)))
    loss = AdaMatchKeras(model, 2, threshold=1.0).loss(model, batch, Progress(1, 2))
    assert float(loss.metrics["mask"]) == 1.0
    assert float(loss.terms["target"].detach()) == pytest.approx(math.sqrt(2) * math.log(2))
