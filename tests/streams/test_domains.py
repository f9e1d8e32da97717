import numpy as np
import torch

from uan_da.data.adapter import Arrays
from uan_da.data.open_dataset import open_dataset
from uan_da.recipe.network import Input
from uan_da.streams.domains import Images, load_domains


def test_length_draws_some_images_of_each_domain() -> None:
    data, device = open_dataset("digits_c"), torch.device("cpu")
    names, input = ("contrast", "optdigits"), Input(size=28)  # corruptions made here, and images that are at hand
    found = load_domains(data, names, "mixed", "test", input, device, Images(7, seed=3))
    for number, (name, domain) in enumerate(zip(names, found, strict=True)):
        indices = Images(7, seed=3).of(360, number)
        assert len(set(indices.tolist())) == 7
        whole = data.load(name, "test")
        assert isinstance(whole, Arrays)
        assert domain.labels.tolist() == whole.labels[indices].tolist()
        (some,) = domain.images.stream([torch.arange(7)])
        expected = whole.images[indices] if whole.images.ndim == 4 else whole.images[indices][..., None]
        np.testing.assert_array_equal(
            some.pixels.permute(0, 2, 3, 1).numpy(), np.broadcast_to(expected, (7, 28, 28, 3))
        )
    assert Images().of(5, 0).tolist() == list(range(5))
    assert Images(7, seed=4).of(360, 0).tolist() != Images(7, seed=3).of(360, 0).tolist()
