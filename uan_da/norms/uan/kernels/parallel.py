# mypy: ignore-errors
# Numba's extension interface has no types.
"""Loops over samples on the threads that PyTorch's own operations run on.

PyTorch's OpenMP library starts a kernel on each of its threads, so that ``torch.set_num_threads`` is respected, and no
second pool competes for the cores. Each thread takes the samples of a part of its own, as in PyTorch's own operations:
they are in its core's cache from one pass to the next. Then it helps the others.
"""

import ctypes
import os
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import torch
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from uan_da.norms.uan.kernels.compiler import part

_START_THREADS, _THREAD_NUMBER = "uan_da_start_threads", "uan_da_thread_number"
_WORKER = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_START = ctypes.CFUNCTYPE(None, _WORKER, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)
_alone = _START(lambda worker, data, threads, flags: worker(data)), ctypes.CFUNCTYPE(ctypes.c_int)(lambda: 0)


def _openmp() -> tuple[Any, Any]:
    """OpenMP's ``GOMP_parallel(worker, data, threads, flags)`` and ``omp_get_thread_num()``, else those of one
    thread."""
    folder = Path(torch.__file__).parent
    for path in [*sorted([*folder.rglob("lib*omp*.so*"), *folder.rglob("lib*omp*.dylib")]), None]:
        try:
            library = ctypes.CDLL(path and str(path))
            return library.GOMP_parallel, library.omp_get_thread_num
        except (AttributeError, OSError, TypeError):  # Windows does not take None for what the process has loaded
            continue
    return _alone


_owner = os.getpid()
for _symbol, _function in zip((_START_THREADS, _THREAD_NUMBER), _openmp(), strict=True):
    llvm.add_symbol(_symbol, ctypes.cast(_function, ctypes.c_void_p).value)


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
            begin = cgutils.get_or_insert_function(builder.module, start_type, _START_THREADS)
            data = builder.bitcast(cgutils.alloca_once_value(builder, values[0]), pointer)
            builder.call(begin, [worker, data, builder.trunc(values[1], integer), integer(0)])
            return context.get_dummy_value()

        return types.void(arguments, count), build

    return start


_thread_number = types.ExternalFunction(_THREAD_NUMBER, types.int32())


@intrinsic
def _count(typing, counters, i):
    """Counter i, an ``int64``, before it counts one more."""

    def build(context, builder, signature, values):
        array = context.make_array(signature.args[0])(context, builder, values[0])
        counter = builder.gep(array.data, [values[1]])
        return builder.atomic_rmw("add", counter, ir.IntType(64)(1), "monotonic")

    return types.int64(counters, i), build


@part
def take(counters, items, backwards):
    """The next of ``items`` that no thread has taken: of the part of the thread that asks, then of the others'; −1
    where none is left. ``counters``, one a part, are zeros to begin with. A second pass goes ``backwards``: what a
    thread took last is in its cache yet."""
    parts = len(counters)
    for i in range(parts):
        own = (_thread_number() + i) % parts
        first, end, done = own * items // parts, (own + 1) * items // parts, _count(counters, own)
        if done < end - first:
            return end - 1 - done if backwards else first + done
    return -1
