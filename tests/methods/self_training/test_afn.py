import pytest
import torch
from torch import Tensor, nn

from uan_da.methods.method import Loss, Progress
from uan_da.methods.self_training.afn import AFN
from uan_da.models.classifier import Classifier, Output

MODEL = Classifier(nn.Flatten(), 5, 4)


def output(n: int, scale: float = 1.0) -> Output:
    features = scale * torch.randn(n, 5, dtype=torch.float64)
    return Output(features.requires_grad_(), torch.randn(n, 4, dtype=torch.float64).requires_grad_())


def transfer(source: Output, target: Output, **options: float) -> Loss:
    labels = torch.zeros(len(source.logits)).long()
    return AFN(MODEL, 4, **options).transfer(source, target, labels, Progress(1, 2))


def grads(loss: Tensor, *of: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(loss, of, retain_graph=True)


def test_each_feature_is_pulled_along_itself_by_the_same_force() -> None:
    torch.manual_seed(0)
    source, target = output(3), output(7, scale=40.0)
    loss = transfer(source, target, norm_weight=0.2, step=0.3, entropy_weight=0.0)
    assert float(loss.terms["norm"].detach()) == pytest.approx(0.2 * 2 * 0.3**2)
    for side, grad in zip((source, target), grads(loss.total, source.features, target.features), strict=True):
        for row, pull in zip(side.features.tolist(), grad.tolist(), strict=True):
            length = sum(x * x for x in row) ** 0.5
            assert pull == pytest.approx([-0.2 * 2 * 0.3 * x / length / len(side.features) for x in row])


def test_the_entropy_is_the_targets() -> None:
    torch.manual_seed(0)
    source, target = output(3), output(7)
    loss = transfer(source, target)
    expected = 0.1 * torch.distributions.Categorical(logits=target.logits).entropy().mean()
    torch.testing.assert_close(loss.terms["entropy"], expected)
    torch.testing.assert_close(grads(loss.total, target.logits), grads(expected, target.logits))
    assert torch.autograd.grad(loss.total, source.logits, allow_unused=True) == (None,)


def test_a_step_lengthens_the_features() -> None:
    torch.manual_seed(0)
    source, target = output(4), output(4)
    loss = transfer(source, target)
    lengths = []
    for side, grad in zip((source, target), grads(loss.total, source.features, target.features), strict=True):
        before, after = side.features.norm(dim=1), (side.features - grad).norm(dim=1)
        torch.testing.assert_close(after - before, torch.full_like(before, 0.05 * 2 / 4))
        lengths.append(float(before.detach().mean()))
    assert [float(loss.metrics[name].detach()) for name in ("source_norm", "target_norm")] == pytest.approx(lengths)


def test_features_of_length_zero_and_batches_of_one() -> None:
    """A ReLU can silence all features of an image: their norm has no direction to grow in."""
    source = Output(torch.zeros(1, 5, requires_grad=True), torch.zeros(1, 4, requires_grad=True))
    loss = transfer(source, source)
    assert loss.total.isfinite()
    (grad,) = grads(loss.total, source.features)
    assert torch.equal(grad, torch.zeros(1, 5))
