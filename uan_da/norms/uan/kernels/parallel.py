# mypy: ignore-errors
# Numba's extension interface has no types.
"""Loops over samples on the threads that PyTorch's own operations run on.

PyTorch's OpenMP library starts a kernel on each of its threads; the threads take samples from a shared counter until
none is left. So ``torch.set_num_threads`` is respected, and no second pool competes for the cores.
"""

import ctypes
import os
from pathlib import Path

import llvmlite.binding as llvm
import torch
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_SYMBOL = "uan_da_start_threads"
_WORKER = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_START = ctypes.CFUNCTYPE(None, _WORKER, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)


def _start_threads() -> int:
    """The address of OpenMP's ``GOMP_parallel(worker, data, threads, flags)``, else of a call of ``worker``."""
    for path in [*sorted(Path(torch.__file__).parent.rglob("lib*omp*.so*")), None]:
        try:
            return ctypes.cast(ctypes.CDLL(path and str(path)).GOMP_parallel, ctypes.c_void_p).value
        except (AttributeError, OSError):
            continue
    return ctypes.cast(_alone, ctypes.c_void_p).value


_alone = _START(lambda worker, data, threads, flags: worker(data))
_owner = os.getpid()
llvm.add_symbol(_SYMBOL, _start_threads())


def threads() -> int:
    """How many to use: PyTorch's number, but one in a forked process, where OpenMP's pool is gone."""
    return torch.get_num_threads() if os.getpid() == _owner else 1


def on_threads(kernel):
    """``start(arguments, count)``: call ``kernel(*arguments)``, which returns nothing, on ``count`` threads at once."""

    @intrinsic
    def start(typing, arguments, count):
        def build(context, builder, signature, values):
            argument_types, _ = signature.args
            call = types.Dispatcher(kernel).get_call_type(context.typing_context, tuple(argument_types), {})
            compiled = kernel.get_compile_result(call)
            context.active_code_library.add_linking_library(compiled.library)
            pointer, integer = ir.IntType(8).as_pointer(), ir.IntType(32)
            worker_type = ir.FunctionType(ir.VoidType(), [pointer])
            worker = ir.Function(builder.module, worker_type, builder.module.get_unique_name("worker"))
            worker.linkage = "internal"
            inside = ir.IRBuilder(worker.append_basic_block())
            packed = inside.load(inside.bitcast(worker.args[0], values[0].type.as_pointer()))
            parts = [inside.extract_value(packed, i) for i in range(len(argument_types))]
            function = context.declare_function(builder.module, compiled.fndesc)
            context.call_conv.call_function(inside, function, types.none, compiled.signature.args, parts)
            inside.ret_void()
            start_type = ir.FunctionType(ir.VoidType(), [worker_type.as_pointer(), pointer, integer, integer])
            begin = cgutils.get_or_insert_function(builder.module, start_type, _SYMBOL)
            data = builder.bitcast(cgutils.alloca_once_value(builder, values[0]), pointer)
            builder.call(begin, [worker, data, builder.trunc(values[1], integer), integer(0)])
            return context.get_dummy_value()

        return types.void(arguments, count), build

    return start


@intrinsic
def take(typing, counter):
    """The next index of a counter, an array of one ``int64``, that threads share."""

    def build(context, builder, signature, values):
        array = context.make_array(signature.args[0])(context, builder, values[0])
        return builder.atomic_rmw("add", array.data, ir.IntType(64)(1), "monotonic")

    return types.int64(counter), build
