"""AdaMatch against its paper's formula, written naively."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from uan_da.data.domain_batch import DomainBatch, DomainImages
from uan_da.methods.method import Progress
from uan_da.methods.self_training.adamatch import AdaMatch, BatchAlignment, RunningAlignment, interpolated_logits
from uan_da.models.classifier import Classifier

Side = Callable[[int, int, Tensor], DomainImages]


def naive_align(target: list[list[float]], source: list[list[float]]) -> list[list[float]]:
    classes = range(len(target[0]))
    source_mean = [sum(row[k] for row in source) / len(source) for k in classes]
    target_mean = [sum(row[k] for row in target) / len(target) for k in classes]
    raised = [[row[k] * source_mean[k] / target_mean[k] for k in classes] for row in target]
    return [[value / sum(row) for value in row] for row in raised]


class NaiveRunning:
    """The published averages, as lists: the source's exponential, the target's over 128 batches, both from 1/C."""

    def __init__(self, classes: int) -> None:
        self.source, self.batches = [1 / classes] * classes, [[1 / classes] * classes for _ in range(128)]

    def __call__(self, source: Tensor, target: Tensor) -> list[list[float]]:
        means = [
            [sum(column) / len(rows) for column in zip(*rows, strict=True)]
            for rows in map(Tensor.tolist, (source, target))
        ]
        self.source = [0.999 * old + 0.001 * new for old, new in zip(self.source, means[0], strict=True)]
        self.batches = [*self.batches[1:], means[1]]
        mean = [sum(column) / 128 for column in zip(*self.batches, strict=True)]
        raised = [
            [q * (s + 1e-6) / (t + 1e-6) for q, s, t in zip(row, self.source, mean, strict=True)]
            for row in target.tolist()
        ]
        return [[value / sum(row) for value in row] for row in raised]


def batches(count: int, classes: int = 5) -> list[tuple[Tensor, Tensor]]:
    """Class probabilities of source and target, uneven, of changing sizes."""
    random = torch.Generator().manual_seed(0)
    tilt = torch.arange(classes).double()
    return [
        ((torch.randn(3 + i % 4, classes, generator=random) * 2).double().softmax(1),
         (torch.randn(7, classes, generator=random) + 0.3 * tilt).softmax(1))
        for i in range(count)
    ]  # fmt: skip


def test_running_alignment_equals_the_plain_lists_beyond_its_window() -> None:
    running, naive = RunningAlignment(5), NaiveRunning(5)
    for step, (source, target) in enumerate(batches(140)):
        found, expected = running(source, target), naive(source, target)
        if step in (0, 60, 139):
            torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=1e-5, atol=1e-6)


def test_running_alignment_goes_on_from_its_state_exactly() -> None:
    whole, first = RunningAlignment(5), RunningAlignment(5)
    given = batches(20)
    expected = [whole(*each) for each in given]
    for each in given[:11]:
        first(*each)
    second = RunningAlignment(5)
    second.load_state_dict(first.state_dict())
    for each, right in zip(given[11:], expected[11:], strict=True):
        assert torch.equal(second(*each), right)


def teacher(classes: int, images: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Balanced labels, and the probabilities of a teacher that is right with confidence 0.9."""
    labels = torch.randint(classes, (images,), generator=random)
    wrong = torch.full((images, classes), 0.1 / (classes - 1))
    return labels, wrong.scatter(1, labels[:, None], 0.9)


@pytest.mark.parametrize("classes", [31, 65])
def test_a_perfect_teacher_of_many_classes_stays_right(classes: int) -> None:
    """Classes of Office-31 and Office-Home, 32 + 32 images; the network predicts what the teacher does. 130 batches
    fill the averages, then the method's own threshold decides."""
    logits = Classifier(nn.Flatten(), classes, classes)
    logits.head = nn.Identity()
    method, random = AdaMatch(logits, classes), torch.Generator().manual_seed(0)
    flips, kept = [], []
    for _ in range(130):
        labels, target = teacher(classes, 32, random)
        aligned = method.align(teacher(classes, 32, random)[1], target)
        flips.append(float((aligned.argmax(1) != labels).float().mean()))
    for step in range(20):
        (source_labels, source), (_, target) = teacher(classes, 32, random), teacher(classes, 32, random)
        loss = method.loss(logits, batch_of(source.log(), source_labels, target.log()), Progress(step, 20))
        kept.append(float(loss.metrics["mask"]))
    assert sum(flips[-30:]) / 30 <= 0.01
    assert sum(kept) / 20 > 0.95


def test_batch_means_of_many_classes_flip_a_perfect_teacher() -> None:
    """Why the averages run: by the means of 32 + 32 images most of 65 classes' labels change."""
    random, flips, kept = torch.Generator().manual_seed(0), [], []
    for _ in range(100):
        labels, target = teacher(65, 32, random)
        aligned = BatchAlignment()(teacher(65, 32, random)[1], target)
        flips.append(float((aligned.argmax(1) != labels).float().mean()))
        kept.append(float((aligned.amax(1) >= 0.81).float().mean()))
    assert sum(flips) / 100 == pytest.approx(0.62, abs=0.02)
    assert sum(kept) / 100 == pytest.approx(0.008, abs=0.006)


def batch_of(source: Tensor, labels: Tensor, target: Tensor) -> DomainBatch:
    """Images that are logits, the same in both views."""
    sides = [
        DomainImages({"weak": x[:, :, None, None], "strong": x[:, :, None, None]}, y, torch.full((len(x),), domain))
        for x, y, domain in ((source, labels, 0), (target, torch.full((len(target),), -1), 1))
    ]
    return DomainBatch(*sides)


def test_alignment_is_per_class() -> None:
    target, source = torch.rand(7, 3).softmax(1), (torch.randn(5, 3) * 2).softmax(1)
    expected = torch.tensor(naive_align(target.tolist(), source.tolist()))
    torch.testing.assert_close(BatchAlignment()(source, target), expected, rtol=1e-4, atol=1e-5)


def test_alignment_moves_the_class_marginal_and_is_no_scalar() -> None:
    """The Keras example's ratio of two grand means is 1 whatever the data: alignment would do nothing."""
    target = torch.tensor([[0.9, 0.1], [0.8, 0.2]])
    source = torch.tensor([[0.5, 0.5], [0.5, 0.5]])
    aligned = BatchAlignment()(source, target)
    torch.testing.assert_close(aligned.sum(1), torch.ones(2))
    assert (aligned[:, 1] > target[:, 1]).all()


def test_defaults_are_the_published_averages() -> None:
    method = AdaMatch(Classifier(nn.Flatten(), 4, 3), 3)
    assert isinstance(method.align, RunningAlignment)
    assert {name: tuple(x.shape) for name, x in method.state_dict().items()} == {
        "align.source": (3,),
        "align.target": (128, 3),
    }


def test_alignment_of_a_class_that_the_target_never_shows() -> None:
    aligned = BatchAlignment()(torch.tensor([[0.5, 0.5]]), torch.tensor([[1.0, 0.0]]))
    assert aligned.isfinite().all()
    torch.testing.assert_close(aligned.sum(1), torch.ones(1))


@pytest.mark.parametrize(
    ("kind", "alignment", "source_loss"),
    [("soft", "batch", "sum"), ("soft", "running", "sum"), ("hard", "running", "mean")],
)
@pytest.mark.parametrize("progress", [0.0, 0.2, 0.5, 0.9])
def test_loss_and_gradient_equal_the_formula(
    model: Classifier,
    batch: DomainBatch,
    progress: float,
    kind: str,
    alignment: str,
    source_loss: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    draws = [torch.rand(6, 4, dtype=torch.float64) for _ in range(2)]
    feed = iter(draws)
    monkeypatch.setattr(torch, "rand_like", lambda x: next(feed))
    model.train()
    options = {"pseudo_label": kind, "alignment": alignment, "source_loss": source_loss}
    method = AdaMatch(model, 4, threshold=0.95, **options)  # type: ignore[arg-type]
    loss = method.loss(model, batch, Progress(round(10 * progress), 10))
    grads = torch.autograd.grad(loss.total, list(model.parameters()))

    s, t, y = batch.source, batch.target, batch.source.labels
    z = model(torch.cat([s.weak, s.strong, t.weak, t.strong])).logits
    z2 = model(torch.cat([s.weak, s.strong])).logits
    sw = draws[0] * z[:6] + (1 - draws[0]) * z2[:6]
    ss = draws[1] * z[6:12] + (1 - draws[1]) * z2[6:]
    tw, ts = z[12:21], z[21:]
    probs = sw.softmax(1).detach()
    q = tw.detach().softmax(1)
    raised = naive_align(q.tolist(), probs.tolist()) if alignment == "batch" else NaiveRunning(4)(probs, q)
    pseudo = torch.tensor(raised, dtype=torch.float64)
    confidence = 0.95 * sum(max(row) for row in probs.tolist()) / 6
    on_target = 0.0
    for i in range(9):
        if max(pseudo[i].tolist()) >= confidence:
            label = pseudo[i] if kind == "soft" else nn.functional.one_hot(pseudo[i].argmax(), 4)
            on_target = on_target - (label * ts[i].log_softmax(0)).sum() / 9
    mu = 0.5 - math.cos(min(math.pi, 2 * math.pi * progress)) / 2
    on_source = -sum((sw[i].log_softmax(0)[y[i]] + ss[i].log_softmax(0)[y[i]]) / 6 for i in range(6))
    expected = on_source * (0.5 if source_loss == "mean" else 1.0) + mu * on_target
    torch.testing.assert_close(loss.total, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(grads, torch.autograd.grad(expected, list(model.parameters())), rtol=1e-4, atol=1e-5)
    kept = sum(max(row) >= confidence for row in pseudo.tolist())
    assert float(loss.metrics["mask"]) == pytest.approx(kept / 9)
    assert 0 < kept < 9  # the threshold of this test does decide something


def test_labelled_target_images_are_learned_beside_the_source_and_no_more(
    model: Classifier, batch: DomainBatch, side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are in both forwards and have a mean of their own; alignment and threshold stay the source's."""
    given = replace(batch, labelled=side(2, 1, torch.tensor([3, 1])))
    u = torch.rand(16, 4, dtype=torch.float64)
    feed = iter(u.split([6, 6, 2, 2]))
    monkeypatch.setattr(torch, "rand_like", lambda x: next(feed))
    model.train()
    loss = AdaMatch(model, 4, threshold=0.95).loss(model, given, Progress(2, 10))
    grads = torch.autograd.grad(loss.total, list(model.parameters()))

    assert given.labelled is not None
    known = torch.cat([view for part in (given.source, given.labelled) for view in (part.weak, part.strong)])
    z = model(torch.cat([known, given.target.weak, given.target.strong])).logits
    labelled = u * z[:16] + (1 - u) * model(known).logits
    weak, strong = z[16:25], z[25:]
    probs = labelled[:6].softmax(1).detach()
    pseudo = torch.tensor(NaiveRunning(4)(probs, weak.detach().softmax(1)), dtype=torch.float64)
    kept = [i for i in range(9) if max(pseudo[i].tolist()) >= 0.95 * sum(map(max, probs.tolist())) / 6]
    log_p, labels = labelled.log_softmax(1), [*given.source.labels.tolist() * 2, 3, 1, 3, 1]
    expected = -sum(log_p[i, y] / (6 if i < 12 else 2) for i, y in enumerate(labels))
    expected = expected - sum((pseudo[i] * strong[i].log_softmax(0)).sum() for i in kept) / 9 * (
        0.5 - math.cos(0.4 * math.pi) / 2
    )
    assert 0 < len(kept) < 9
    torch.testing.assert_close(loss.total, expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(grads, torch.autograd.grad(expected, list(model.parameters())), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("labelled", [False, True])
def test_only_the_joint_forward_updates_running_statistics(
    model: Classifier, batch: DomainBatch, side: Side, labelled: bool
) -> None:
    model.train()
    more = [side(2, 1, torch.tensor([3, 1]))] if labelled else []
    AdaMatch(model, 4).loss(model, replace(batch, labelled=more[0] if more else None), Progress(1, 2))
    norm = model.backbone[1]
    images = torch.cat([view for part in (batch.source, *more, batch.target) for view in (part.weak, part.strong)])
    seen = model.backbone[0](images)
    torch.testing.assert_close(norm.running_mean, 0.1 * seen.mean((0, 2, 3)))
    assert int(norm.num_batches_tracked) == 1


def test_interpolation_draws_for_each_logit(model: Classifier, batch: DomainBatch) -> None:
    model.train()
    with torch.no_grad():
        (one, target), (two, same) = (interpolated_logits(model, batch) for _ in range(2))
    difference = one[0][0] - two[0][0]
    assert difference.std(1).min() > 0  # not one draw a sample
    assert difference.std(0).min() > 0
    torch.testing.assert_close(target, same)  # the target is not interpolated
