# mypy: ignore-errors
# Numba's extension interface has no types.
"""Arrays of the kernels: on memory of PyTorch, and of their own.

Numba compiles a function of its own for each kind of ``np.empty``, which takes longer than the kernels.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import populate_array


@intrinsic
def array(typing, address, shape, number):
    """The numbers in memory from ``address`` on."""

    def build(context, builder, signature, values):
        data = builder.inttoptr(values[0], ir.IntType(8).as_pointer())
        return _view(context, builder, kind, data, None, *_lengths(context, builder, kind, values[1]))

    kind, lengths = _kinds(shape, number)
    return kind(types.int64, lengths, number), build


@intrinsic
def zeros(typing, shape, number):
    """As many new numbers, all 0."""

    def build(context, builder, signature, values):
        lengths, strides = _lengths(context, builder, kind, values[0])
        size = builder.mul(lengths[0], strides[0])
        memory = context.nrt.meminfo_alloc_aligned(builder, size, 64)
        data = context.nrt.meminfo_data(builder, memory)
        cgutils.memset(builder, data, size, 0)
        return _view(context, builder, kind, data, memory, lengths, strides)

    kind, lengths = _kinds(shape, number)
    return kind(lengths, number), build


def _kinds(shape, number):
    """The types of an array and its shape, a number or a tuple."""
    dimensions = len(shape) if isinstance(shape, types.BaseTuple) else 1
    lengths = types.UniTuple(types.int64, dimensions) if dimensions > 1 else types.int64
    return types.Array(number.dtype, dimensions, "C"), lengths


def _lengths(context, builder, kind, shape):
    """Those of the dimensions, and the bytes between two indices of each."""
    lengths = cgutils.unpack_tuple(builder, shape) if kind.ndim > 1 else [shape]
    strides = [context.get_constant(types.intp, context.get_abi_sizeof(context.get_data_type(kind.dtype)))]
    for length in reversed(lengths[1:]):
        strides.insert(0, builder.mul(strides[0], length))
    return lengths, strides


def _view(context, builder, kind, data, memory, lengths, strides):
    view = context.make_array(kind)(context, builder)
    data = builder.bitcast(data, view.data.type)
    populate_array(view, data, lengths, strides, strides[-1], memory)
    return view._getvalue()
