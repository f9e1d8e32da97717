import math

import torch

from uan_da.data.augment import Affine


def test_without_options_nothing_changes():
    images = torch.rand(4, 3, 9, 14)
    torch.testing.assert_close(Affine()(images, None), images, atol=1e-5, rtol=0)


def test_translation_reaches_its_bound_along_both_axes_and_no_further():
    # One bright pixel in the centre of 41 × 21: its centre of mass is where the image went.
    images = torch.zeros(2000, 1, 41, 21)
    images[:, :, 20, 10] = 1
    moved = Affine(translate=0.2)(images, torch.Generator().manual_seed(0))[:, 0]
    y = (moved.sum(2) * torch.arange(41)).sum(1) - 20
    x = (moved.sum(1) * torch.arange(21)).sum(1) - 10
    for shift, bound in ((y, 0.2 * 41), (x, 0.2 * 21)):
        assert -bound <= shift.min() < -0.95 * bound
        assert 0.95 * bound < shift.max() <= bound
        assert abs(shift.mean()) < 4 * bound / (3 * 2000) ** 0.5


def test_rotation_scale_and_shear_are_uniform_in_their_ranges():
    # The images hold their own coordinates: the slopes at the centre of the result are the matrix drawn.
    y, x = torch.meshgrid(torch.arange(21.0), torch.arange(21.0), indexing="ij")
    images = (torch.stack((x, y, x)) / 20).expand(3000, -1, -1, -1)
    augmentation = Affine(degrees=20, scale=(0.8, 1.5), shear=15)
    result = augmentation(images, torch.Generator().manual_seed(0)) * 20
    (xx, yx), (xy, yy) = (result.roll(-1, dim)[:, :2, 10, 10].T - result[:, :2, 10, 10].T for dim in (3, 2))
    angle, scale = torch.atan2(-yx, yy), 1 / torch.hypot(yx, yy)
    shear = (scale * (xy * angle.cos() - xx * angle.sin())).atan()
    for values, low, high in ((angle.rad2deg(), -20, 20), (scale, 0.8, 1.5), (shear.rad2deg(), -15, 15)):
        width = high - low
        assert low - 1e-2 < values.min() < low + 0.01 * width
        assert high - 0.01 * width < values.max() < high + 1e-2
        assert abs(values.mean() - (low + high) / 2) < 4 * width / math.sqrt(12 * 3000)
