# mypy: ignore-errors
# Numba's extension interface has no types.
"""Vector arithmetic that is recorded while Numba compiles, and becomes vector instructions."""

import functools

import numpy as np
from llvmlite import ir
from numba.core import cgutils

LIMIT = 60.0
"""2^LIMIT is beyond all digits, yet not near infinity."""
_DEGREE = {"float": 5, "double": 11}  # odd
_INTEGER = {"float": (32, 23), "double": (64, 52)}  # bits; bits of the fraction


class Vector:
    """One vector, or several that do not depend on one another: their instructions alternate, so that a processor need
    not wait for the last one's result. What is added to a product is fused with it."""

    def __init__(self, builder, *values):
        self.builder, self.values, self.type = builder, values, values[0].type

    def _each(self, operation, *others):
        """``operation`` on each vector and its counterparts of ``others``: vectors, one that all share, or a number."""
        operands = [self, *(other if isinstance(other, Vector) else self.splat(other) for other in others)]
        count = max(len(operand.values) for operand in operands)
        values = (operand.values * (count // len(operand.values)) for operand in operands)
        return type(self)(self.builder, *(operation(*each) for each in zip(*values, strict=True)))

    def splat(self, number):
        """All lanes are ``number``."""
        return type(self)(self.builder, *[ir.Constant(self.type, [number] * self.type.count)] * len(self.values))

    def __add__(self, other):
        return self._each(lambda a, b: self.builder.fadd(a, b, flags=("contract",)), other)

    def __sub__(self, other):
        return self._each(lambda a, b: self.builder.fsub(a, b, flags=("contract",)), other)

    def __mul__(self, other):
        return self._each(lambda a, b: self.builder.fmul(a, b, flags=("contract",)), other)

    def __neg__(self):
        return self._each(self.builder.fneg)

    __radd__, __rmul__ = __add__, __mul__

    def times_plus(self, factor, term):
        """self · ``factor`` + ``term``, fused even where the product has another use."""
        return self._each(lambda *operands: self._call(self._of_width("fmuladd"), *operands), factor, term)

    def reciprocal(self):
        """1 / x."""
        return self._each(lambda a, one: self.builder.fdiv(one, a), 1.0)

    def maximum(self, other):
        """The larger; NaN stays NaN."""
        return self._each(lambda a, b: self.builder.select(self.builder.fcmp_ordered("<", a, b), b, a), other)

    def minimum(self, other):
        """The smaller; NaN stays NaN."""
        return self._each(lambda a, b: self.builder.select(self.builder.fcmp_ordered(">", a, b), b, a), other)

    def floor(self):
        """The largest whole number that is not above x."""
        return self._each(lambda a: self._call(self._of_width("floor"), a))

    def exp2(self, whole):
        """2^(floor(``whole``) + x − floor(x)), at least 2^−60: 2^x where ``whole``, at most 126, is x.

        A polynomial of the fraction, and the whole part added to the exponent."""
        kind = str(self.type.element)
        bits, digits = _INTEGER[kind]
        x = self.maximum(-LIMIT)
        r = x - x.floor()
        shifted = whole.maximum(-LIMIT).floor() + 1.5 * 2.0**digits  # its lowest bits are the whole part
        coefficients = exp2_polynomial(_DEGREE[kind])
        pairs = [r * odd + even for even, odd in zip(coefficients[::2], coefficients[1::2], strict=True)]
        power, square = pairs.pop(), r * r  # a shorter chain than one coefficient after another
        for pair in reversed(pairs):
            power = power * square + pair
        integers = ir.VectorType(ir.IntType(bits), self.type.count)

        def scaled(value, n):
            exponent = self.builder.bitcast(n, integers)
            exponent = self.builder.shl(exponent, ir.Constant(integers, [digits] * self.type.count))
            return self.builder.bitcast(self.builder.add(exponent, self.builder.bitcast(value, integers)), self.type)

        return power._each(scaled, shifted)

    def _call(self, name, *operands):
        """An instruction whose result is a vector of this type."""
        kind = ir.FunctionType(self.type, [operand.type for operand in operands])
        function = cgutils.get_or_insert_function(self.builder.module, kind, f"llvm.{name}")
        return self.builder.call(function, operands)

    def _of_width(self, name):
        return f"{name}.v{self.type.count}f{_INTEGER[str(self.type.element)][0]}"


class Avx512Vector(Vector):
    """With instructions of processors that have AVX-512."""

    def exp2(self, whole):
        """The same, with no least value. For i whole sixteenths of the fraction, 2^(i / 16) is looked up in a table and
        scaled by 2^floor(``whole``), while a polynomial of what is left is computed."""
        if self.type != ir.VectorType(ir.FloatType(), 16):
            return super().exp2(whole)
        mode, every = ir.IntType(32), ir.IntType(16)(-1)
        down, rest_of_sixteenths, default = mode(0b1001), mode(0b0100_1001), mode(4)
        large = self.splat(1.5 * 2.0**19)  # the lowest bits of a sum with it are those of the number of sixteenths
        sixteenths = self._each(lambda a, b: self._call("x86.avx512.add.ps.512", a, b, down), large)
        r = self._each(lambda a: self._call("x86.avx512.mask.reduce.ps.512", a, rest_of_sixteenths, a, every, default))
        table, integers = ir.Constant(self.type, [2.0 ** (i / 16) for i in range(16)]), ir.VectorType(mode, 16)

        def looked_up(n, power):
            root = self._call("x86.avx512.permvar.sf.512", table, self.builder.bitcast(n, integers))
            return self._call("x86.avx512.mask.scalef.ps.512", root, power, root, every, default)

        constant, linear, square = exp2_polynomial(2, 16)
        return ((r * square + linear) * r + constant) * sixteenths._each(looked_up, whole)


def vectors_of(context):
    """The class for the processor that Numba compiles for."""
    _, _, features = context.codegen().magic_tuple()
    return Avx512Vector if {"+avx512f", "+avx512dq"} <= set(features.split(",")) else Vector


@functools.cache
def exp2_polynomial(degree, parts=1):
    """Coefficients on the interval from 0 to 1 / ``parts``."""
    fit = np.polynomial.Chebyshev.interpolate(np.exp2, degree, domain=[0, 1 / parts])
    found = fit.convert(kind=np.polynomial.Polynomial).coef.tolist()
    return found + [0.0] * (degree + 1 - len(found))  # NumPy drops a last one that is rounded to 0
