"""A layer keeps float32's digits at any scale and offset of its input."""

import copy
from dataclasses import replace

import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from uan_da.norms import UAN1d

scales = st.floats(-6, 6).map(lambda exponent: 10.0**exponent)


@settings(deadline=None, max_examples=60)
@given(scales, st.floats(-1e4, 1e4), st.integers(1, 3), st.sampled_from(["sample", "element"]), st.integers(0, 99))
@example(1e-6, 1e4, 3, "sample", 0)
@example(1e-6, 1e4, 3, "element", 0)
@example(1e-3, 1e4, 2, "sample", 0)
@example(1e6, 1e4, 3, "element", 1)
@example(1e-4, -1.0, 3, "element", 7)
def test_float32_at_any_scale_and_offset(scale: float, offset: float, k: int, assignment: str, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = ((torch.randn(8, 3, 5, generator=generator).double() + 2) * scale + offset).float()
    # without EM, whose step is rounded to where μ stands: at an offset of 1e4 by 5e-4 in float32, and not in float64
    layer = UAN1d(3, num_clusters=k, assignment=assignment, sharpness=1.0, momentum=1.0, em_rate=0.0)
    layer(x)
    tau = layer.responsibilities(x)
    assert tau.isfinite().all()
    total = tau.sum(1 if assignment == "sample" else 0)
    torch.testing.assert_close(total, torch.ones_like(total))
    layer.running_var.zero_()  # so that what comes next is the batch's alone
    layer.step_mean.zero_()  # which float32 cannot add to a mean as float64 can
    wide = copy.deepcopy(layer).double()
    wide.options = replace(layer.options, backend="reference")
    y, expected = layer(x), wide(x.double())
    deviation = expected.detach().std()
    assert ((y.double() - expected).abs() <= 1e-4 * expected.abs() + 1e-4 * deviation + 1e-6).all()
    difference = (layer.running_var.double() - wide.running_var).abs()
    resolution = 1e-9 * x.abs().max().double()  # of a channel that is constant in float32
    apart = 1e-6 * layer.eps  # clusters start √ε apart where the data is narrower, and so far are its moments' centres
    assert (difference <= 1e-5 * wide.running_var + apart + resolution**2).all()
