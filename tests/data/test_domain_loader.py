import pytest
import torch

from uan_da.data.domain_loader import DomainLoader
from uan_da.data.images import Images


def loader(n: int, batch: int, seed: int = 0, domain: str = "a") -> DomainLoader:
    images = Images(torch.arange(n, dtype=torch.uint8).view(n, 1, 1, 1), torch.arange(n))
    return DomainLoader(domain, 0, images, batch, seed)


@pytest.mark.parametrize(("n", "batch"), [(10, 4), (10, 5), (3, 8), (1, 4), (7, 7)])
def test_every_pass_sees_every_image_once(n: int, batch: int) -> None:
    stream = torch.cat([loader(n, batch).batch(step).labels for step in range(3 * n)])
    assert len(stream) == 3 * n * batch
    for pass_ in range(len(stream) // n):
        assert sorted(stream[pass_ * n : (pass_ + 1) * n].tolist()) == list(range(n))


def test_passes_are_shuffled_differently() -> None:
    one, two = loader(50, 50).batch(0).labels, loader(50, 50).batch(1).labels
    assert one.tolist() != two.tolist() != list(range(50))


def test_a_step_is_a_function_of_seed_and_domain() -> None:
    labels = loader(50, 8).batch(20).labels
    assert torch.equal(labels, loader(50, 8).batch(20).labels)
    assert not torch.equal(labels, loader(50, 8, seed=1).batch(20).labels)
    assert not torch.equal(labels, loader(50, 8, domain="b").batch(20).labels)


def test_pixels_go_with_their_labels() -> None:
    batch = loader(50, 8).batch(3)
    assert torch.equal(batch.pixels.view(-1).long(), batch.labels)


def test_steps_per_pass() -> None:
    assert [loader(n, 4).steps_per_pass for n in (1, 4, 7, 8, 9)] == [1, 1, 1, 2, 2]


def test_a_step_whose_images_could_not_be_read_is_read_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    failing = loader(50, 8)

    def gone(images: Images, indices: torch.Tensor) -> Images:
        raise OSError("gone")

    failing.batch(2)
    monkeypatch.setattr(failing, "_stream", map(gone, [failing.images] * 2, [torch.arange(8)] * 2))
    with pytest.raises(OSError, match="gone"):
        failing.batch(3)
    assert torch.equal(failing.batch(3).labels, loader(50, 8).batch(3).labels)
