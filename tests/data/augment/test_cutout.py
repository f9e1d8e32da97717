import torch

from uan_da.data.augment import Cutout


def test_squares_lie_around_every_pixel_and_may_be_cut_off():
    images = torch.ones(3000, 3, 8, 12)
    erased = Cutout(size=0.5)(images, torch.Generator().manual_seed(0)) == 0.5
    assert torch.equal(erased[:, 0], erased[:, 2])
    rows, columns = erased[:, 0].any(2).sum(1), erased[:, 0].any(1).sum(1)
    assert erased[:, 0].sum((1, 2)).equal(rows * columns)
    assert set(rows.tolist()) == set(columns.tolist()) == {2, 3, 4}
    assert erased.any(0).all()


def test_size_zero_erases_nothing():
    images = torch.rand(4, 1, 8, 8)
    assert torch.equal(Cutout(size=0.0)(images, None), images)
