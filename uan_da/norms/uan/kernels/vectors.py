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

    def reciprocal(self):
        """1 / x."""
        return self._each(lambda a, one: self.builder.fdiv(one, a), 1.0)

    def maximum(self, other):
        """The larger; NaN stays NaN."""
        return self._each(lambda a, b: self.builder.select(self.builder.fcmp_ordered("<", a, b), b, a), other)

    def minimum(self, other):
        """The smaller; NaN stays NaN."""
        return self._each(lambda a, b: self.builder.select(self.builder.fcmp_ordered(">", a, b), b, a), other)

    def exp2(self):
        """2^x for x ≤ 126, and 2^−60 for x below −60: a polynomial on [−½, ½], and the rest added to the exponent."""
        kind = str(self.type.element)
        bits, fraction = _INTEGER[kind]
        shifted, _, r = self.maximum(-LIMIT)._rounded(1)
        coefficients = exp2_polynomial(_DEGREE[kind])
        pairs = [r * odd + even for even, odd in zip(coefficients[::2], coefficients[1::2], strict=True)]
        power, square = pairs.pop(), r * r  # a shorter chain than one coefficient after another
        for pair in reversed(pairs):
            power = power * square + pair
        integers = ir.VectorType(ir.IntType(bits), self.type.count)

        def scaled(value, n):
            exponent = self.builder.bitcast(n, integers)
            exponent = self.builder.shl(exponent, ir.Constant(integers, [fraction] * self.type.count))
            return self.builder.bitcast(self.builder.add(exponent, self.builder.bitcast(value, integers)), self.type)

        return power._each(scaled, shifted)

    def _rounded(self, parts):
        """The nearest multiple of 1 / ``parts``, also as a sum whose lowest bits are that multiple; and the rest."""
        _, fraction = _INTEGER[str(self.type.element)]
        large = 1.5 * 2.0**fraction / parts  # so large that no more digits are left
        shifted = self + large
        rounded = shifted - large
        return shifted, rounded, self - rounded


class Avx512Vector(Vector):
    """With instructions of processors that have AVX-512."""

    def exp2(self):
        """2^x for any finite number: 2^(i / 16), of which one instruction looks up all lanes in a table, times a
        polynomial of the rest, at most 1/32, and times 2^n, which another instruction does."""
        if self.type != ir.VectorType(ir.FloatType(), 16):
            return super().exp2()
        shifted, rounded, r = self._rounded(16)
        constant, linear, square = exp2_polynomial(2, 16)
        power = (r * square + linear) * r + constant
        integers, mask, mode = ir.VectorType(ir.IntType(32), 16), ir.IntType(16), ir.IntType(32)
        table = ir.Constant(self.type, [2.0 ** (i / 16) for i in range(16)])
        permute = self._instruction("permvar.sf.512", self.type, integers)
        scale = self._instruction("mask.scalef.ps.512", *[self.type] * 3, mask, mode)
        power *= shifted._each(lambda n: self.builder.call(permute, [table, self.builder.bitcast(n, integers)]))
        return power._each(lambda a, n: self.builder.call(scale, [a, n, a, mask(-1), mode(4)]), rounded)

    def _instruction(self, name, *kinds):
        kind = ir.FunctionType(self.type, kinds)
        return cgutils.get_or_insert_function(self.builder.module, kind, f"llvm.x86.avx512.{name}")


def vectors_of(context):
    """The class for the processor that Numba compiles for."""
    _, _, features = context.codegen().magic_tuple()
    return Avx512Vector if "+avx512f" in features.split(",") else Vector


@functools.cache
def exp2_polynomial(degree, parts=1):
    """Coefficients on the interval around 0 that is 1 / ``parts`` long."""
    fit = np.polynomial.Chebyshev.interpolate(np.exp2, degree, domain=[-0.5 / parts, 0.5 / parts])
    found = fit.convert(kind=np.polynomial.Polynomial).coef.tolist()
    return found + [0.0] * (degree + 1 - len(found))  # NumPy drops a last one that is rounded to 0
