import pytest
import torch

from uan_da.models.vada import GaussianNoise, vada_large, vada_small


@pytest.mark.parametrize(
    ("build", "widths"), [(vada_small, (64, 64, 64)), (vada_large, (96, 192, 192))], ids=["small", "large"]
)
def test_nine_normalised_convolutions(build, widths: tuple[int, int, int]) -> None:
    net, count, before = build(3), 0, 3
    for width in widths:
        for _ in range(3):
            count += 9 * before * width + 2 * width
            before = width
    assert sum(parameter.numel() for parameter in net.parameters()) == count
    assert net(torch.randn(2, 3, 32, 32)).shape == (2, widths[-1])
    assert net(torch.randn(2, 3, 4, 4)).shape == (2, widths[-1])


def test_noise_has_variance_one_in_training_and_is_none_in_evaluation() -> None:
    x = torch.randn(200, 500)
    noise = GaussianNoise(1.0)
    torch.manual_seed(0)
    added = noise(x) - x
    assert added.mean().abs() < 0.01
    assert added.var().item() == pytest.approx(1, abs=0.02)
    assert torch.equal(noise.eval()(x), x)


def test_an_image_is_noisy_in_training_alone() -> None:
    net, images = vada_small(1), torch.randn(3, 1, 8, 8)
    assert not torch.equal(net(images), net(images))
    net.eval()
    assert torch.equal(net(images), net(images))
