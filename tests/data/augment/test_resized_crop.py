import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from uan_da.data.augment import ResizedCrop

side = st.integers(1, 60)
share = st.floats(0.01, 1)
aspect = st.floats(0.01, 100)


@given(height=side, width=side, scale=st.tuples(share, share), ratio=st.tuples(aspect, aspect))
@settings(max_examples=100, deadline=None)
def test_boxes_lie_inside_the_image(height, width, scale, ratio):
    augmentation = ResizedCrop(size=8, scale=tuple(sorted(scale)), ratio=tuple(sorted(ratio)))
    box = augmentation.boxes(50, height, width, torch.Generator().manual_seed(0))
    top, left, box_height, box_width = box.unbind(1)
    assert (torch.stack((top, left)) >= 0).all()
    assert (torch.stack((box_height, box_width)) >= 1).all()
    assert (top + box_height <= height).all()
    assert (left + box_width <= width).all()


def test_boxes_have_the_areas_and_ratios_asked_for():
    # Boxes of at most a quarter of the area always fit: the first draw is taken, whose law is known.
    augmentation = ResizedCrop(size=8, scale=(0.05, 0.25), ratio=(0.5, 2.0))
    box = augmentation.boxes(5000, 1000, 1000, torch.Generator().manual_seed(0)).double()
    area, log_ratio = box[:, 2] * box[:, 3] / 1e6, (box[:, 3] / box[:, 2]).log()
    assert area.min() == pytest.approx(0.05, abs=2e-3)
    assert area.max() == pytest.approx(0.25, abs=2e-3)
    assert area.mean() == pytest.approx(0.15, abs=4 * 0.2 / math.sqrt(12 * 5000))
    assert log_ratio.abs().max() == pytest.approx(math.log(2), abs=1e-2)
    assert log_ratio.mean() == pytest.approx(0, abs=4 * 2 * math.log(2) / math.sqrt(12 * 5000))
    free = (box[:, 0] / (1000 - box[:, 2])).mean()
    assert free == pytest.approx(0.5, abs=4 / math.sqrt(12 * 5000))


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [(10, 90, (0, 35, 10, 20)), (90, 10, (35, 0, 20, 10)), (20, 30, (0, 0, 20, 30))],
)
def test_where_no_draw_fits_the_box_is_centred(height, width, expected):
    augmentation = ResizedCrop(size=8, scale=(1, 1), ratio=(0.5, 2.0))
    augmentation_never_fits = ResizedCrop(size=8, scale=(1, 1), ratio=(0.5, 0.5001))
    boxes = augmentation.boxes(20, height, width, torch.Generator().manual_seed(0))
    if (height, width) == (20, 30):
        # The whole image is within the ratios, but a draw of another ratio and the full area never fits.
        assert expected in {tuple(box) for box in boxes.tolist()}
        assert tuple(augmentation_never_fits.boxes(1, 20, 30, None)[0].tolist()) == (0, 10, 20, 10)
    else:
        assert boxes.tolist() == [list(expected)] * 20
