# mypy: ignore-errors
# Numba's extension interface has no types.
"""How the kernels are compiled, kept on disk, and called: by an address, with addresses of tensors.

Numba's own call of a function looks at every argument, which takes longer than a small layer's kernels.
"""

import gc
import hashlib
import inspect
from pathlib import Path

from numba import njit, types
from numba.core.caching import FunctionCache
from numba.core.ccallback import CFunc
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler


class _Library(JITCodeLibrary):
    """Code of a part, for a kernel to link."""

    def _leave(self, *_):
        """Functions are but simplified; no environment is set, which serves exceptions: no part raises any."""

    _optimize_final_module = set_env = _leave
    codegen = property(lambda self: self)

    def _finalize_final_module(self):
        self._finalized = True


class _PartCompiler(Compiler):
    def __init__(self, typing, target, library, *rest):
        super().__init__(typing, target, _Library(target.codegen(), "part"), *rest)


_OPTIONS = {"fastmath": {"nsz", "arcp", "contract", "afn", "reassoc"}, "error_model": "numpy"}
part = njit(**_OPTIONS, nogil=True, no_cfunc_wrapper=True, no_cpython_wrapper=True, pipeline_class=_PartCompiler)
"""What is compiled into a :data:`compiled` function, and cached with it. LLVM optimises it there alone, not
once more for each caller on the way."""
_HERE = Path(__file__).parent
_SOURCES = hashlib.sha256(
    b"".join(path.read_bytes() for path in sorted((*_HERE.glob("*.py"), *_HERE.parent.glob("*.py"))))
).hexdigest()


class Cache(FunctionCache):
    """Numba's cache on disk, for which a function is new wherever a file has changed that it may use."""

    def __init__(self, function, key):
        super().__init__(function)
        self._key = key

    def _index_key(self, signature, codegen):
        return signature, codegen.magic_tuple(), self._key, _SOURCES


def compiled(*key):
    """A function as C calls it, compiled once a machine: of ``float``, where a parameter is so annotated, and else of
    integers. It returns nothing. ``key`` tells it from others of its name: numbers and strings."""

    def compile_it(function):
        parameters = inspect.signature(function).parameters.values()
        numbers = [types.float64 if parameter.annotation is float else types.int64 for parameter in parameters]
        kernel = CFunc(function, (numbers, types.void), {}, _OPTIONS)
        kernel._cache = Cache(function, key)
        collects = gc.isenabled()
        gc.disable()  # a tenth of the time would go into looks at what Numba still needs
        try:
            kernel.compile()
        finally:
            if collects:
                gc.enable()
        return kernel.ctypes

    return compile_it
