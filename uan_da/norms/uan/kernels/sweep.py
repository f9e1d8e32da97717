# mypy: ignore-errors
# Numba's extension interface has no types.
"""Loops over activations, written for one value and run on vectors of 64 bytes.

A *kernel* is a Python function ``kernel(x, g, y, row, clusters)`` of vectors. It returns what is to be written in
the place of y, or None, and a list of terms to be summed. It is called once, while Numba compiles, and what it does to
its arguments becomes vector instructions: nothing is left to an optimiser that may or may not turn a loop into them.
``row(r)`` is row r of coefficients per channel, the same for all values of a lane; a kernel loops over clusters in
Python.

Two layouts differ in the lanes alone: of as many channels where channels come last, of positions of one channel where
they come first. Sums are taken lane by lane, in the type of x, over at most :data:`CHUNK` values, then in double
precision.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from uan_da.norms.uan.kernels.compiler import part
from uan_da.norms.uan.kernels.memory import zeros
from uan_da.norms.uan.kernels.vectors import vectors_of

BYTES = 64
CHUNK = 256
INTEGER = ir.IntType(32)


class _Strip:
    """A loop of vectors that is being written: ``steps`` of them, ``stride`` values apart, of ``width`` lanes."""

    def __init__(self, vector, builder, channels_last, ahead, samples, rows, out, row_length, stride, piece):
        start, self.steps, self.width, column = piece
        self.vector, self.builder, self.last = vector, builder, channels_last
        self.stride, self.row_length, self.ahead = stride, row_length, ahead
        self.x, self.g, self.y = (builder.gep(sample, [start]) for sample in samples)
        self.rows, self.out = (builder.gep(array, [column]) for array in (rows, out))
        self.scalar = self.x.type.pointee
        self.size = {"float": 4, "double": 8}[str(self.scalar)]

    def write(self, function, clusters, vectors, at_once):
        """The loop, for lanes of each number of whole ``vectors``, and for fewer; ``at_once``: steps of a turn."""
        builder, lanes = self.builder, BYTES // self.size
        for count in vectors:
            self.type = ir.VectorType(self.scalar, count * lanes)
            with builder.if_then(builder.icmp_signed("==", self.width, self._index(count * lanes))):
                self._loop(function, clusters, None, at_once)
        self.type = ir.VectorType(self.scalar, lanes)
        with builder.if_then(builder.icmp_signed("<", self.width, self._index(lanes))):
            lane = ir.Constant(ir.VectorType(self.width.type, lanes), list(range(lanes)))
            self._loop(function, clusters, builder.icmp_signed("<", lane, self._splat(self.width)), 1)

    def _index(self, number):
        return ir.Constant(self.width.type, number)

    def _loop(self, function, clusters, mask, at_once):
        """Turns of ``at_once`` steps, then those that are left."""
        builder, self.before, self.coefficients, self.sums = self.builder, self.builder.block, {}, []
        done = self._index(0)
        for count in dict.fromkeys((at_once, 1)):
            turns = builder.udiv(builder.sub(self.steps, done), self._index(count))
            with cgutils.for_range(builder, turns) as loop:
                first = builder.add(done, builder.mul(loop.index, self._index(count)))
                self._step(function, clusters, mask, [builder.add(first, self._index(i)) for i in range(count)])
            done = builder.add(done, builder.mul(turns, self._index(count)))
        for i, total in enumerate(self.sums):
            self._add_up(builder.load(total), builder.mul(self.row_length, self._index(i)))

    def _step(self, function, clusters, mask, steps):
        builder, places = self.builder, [self.builder.mul(step, self.stride) for step in steps]
        x, g, y = (
            self.vector(builder, *(self._load(builder.gep(start, [at]), mask) for at in places))
            for start in (self.x, self.g, self.y)
        )
        for start in (self.x, self.g) if self.ahead else ():
            for at in places:
                self._fetch(builder.gep(start, [builder.add(at, builder.mul(self.stride, self._index(self.ahead)))]))
        y, terms = function(x, g, y, self._row, clusters)
        zero = ir.Constant(self.type, [0.0] * self.type.count)
        while len(self.sums) < len(terms):
            self.sums.append(cgutils.alloca_once(builder, self.type))
            with builder.goto_block(self.before):
                builder.store(zero, self.sums[-1])
        for term, total in zip(terms, self.sums, strict=True):
            found = builder.load(total)
            for value in term.values:
                value = value if mask is None else builder.select(mask, value, zero)
                found = builder.fadd(found, value, flags=("contract",))
            builder.store(found, total)
        if y is not None:
            for value, at in zip(y.values, places, strict=True):
                self._store(value, builder.gep(self.y, [at]), mask)

    def _fetch(self, pointer):
        """Ask for memory that a later step reads, wherever it lies: no more than a hint."""
        byte, reads, keep, data = ir.IntType(8).as_pointer(), INTEGER(0), INTEGER(3), INTEGER(1)
        self._call("llvm.prefetch.p0", ir.VoidType(), self.builder.bitcast(pointer, byte), reads, keep, data)

    def _row(self, r):
        """Row r of the coefficients, which is loaded before the loop."""
        if r not in self.coefficients:
            with self.builder.goto_block(self.before):
                pointer = self.builder.gep(self.rows, [self.builder.mul(self.row_length, self._index(r))])
                if self.last:
                    value = self.builder.load(self._cast(pointer), align=self.size)
                else:
                    value = self._splat(self.builder.load(pointer))
                self.coefficients[r] = self.vector(self.builder, value)
        return self.coefficients[r]

    def _splat(self, value):
        """A vector whose lanes are all ``value``."""
        kind = ir.VectorType(value.type, self.type.count)
        one = self.builder.insert_element(ir.Constant(kind, ir.Undefined), value, INTEGER(0))
        return self.builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(INTEGER, kind.count), [0] * kind.count))

    def _add_up(self, total, at):
        """Sums over positions, to those of the channels of the lanes, or of the one channel."""
        pointer, wide = self.builder.gep(self.out, [at]), ir.DoubleType()
        if self.last:
            wide = ir.VectorType(wide, self.type.count)
            pointer = self.builder.bitcast(pointer, wide.as_pointer())
        else:
            name = f"llvm.vector.reduce.fadd.v{self.type.count}f{8 * self.size}"
            total = self._call(name, self.scalar, self.scalar(-0.0), total, fastmath=("reassoc",))
        if self.size == 4:
            total = self.builder.fpext(total, wide)
        before = self.builder.load(pointer, align=8)
        self.builder.store(self.builder.fadd(before, total), pointer, align=8)

    def _load(self, pointer, mask):
        if mask is None:
            return self.builder.load(self._cast(pointer), align=self.size)
        zero = ir.Constant(self.type, [0.0] * self.type.count)
        return self._call(self._masked("load"), self.type, self._cast(pointer), INTEGER(self.size), mask, zero)

    def _store(self, value, pointer, mask):
        if mask is None:
            self.builder.store(value, self._cast(pointer), align=self.size)
        else:
            self._call(self._masked("store"), ir.VoidType(), value, self._cast(pointer), INTEGER(self.size), mask)

    def _masked(self, what):
        return f"llvm.masked.{what}.v{self.type.count}f{8 * self.size}.p0"

    def _cast(self, pointer):
        return self.builder.bitcast(pointer, self.type.as_pointer())

    def _call(self, name, result, *operands, fastmath=()):
        kind = ir.FunctionType(result, [operand.type for operand in operands])
        function = cgutils.get_or_insert_function(self.builder.module, kind, name)
        return self.builder.call(function, operands, fastmath=fastmath)


@part
def padded(channels, x):
    """The length of a row of coefficients or sums: whole vectors."""
    width = BYTES // x.itemsize
    return -(-channels // width) * width


@part
def pieces(x, channels, last, widest):
    """What :func:`sweep` takes at once of each sample of ``x`` ``(N, S C)``: where it starts, its steps, the values of
    one, and their first channel, ``(P, 4)``. ``last`` is None where channels come first, for a compiler leaves out what
    None excludes.

    Where channels come last, a step takes up to ``widest`` vectors, next to one another: memory is read in longer
    pieces."""
    width, positions, i = BYTES // x.itemsize, x.shape[1] // channels, 0
    if last is None:
        found = zeros((channels * (positions // (CHUNK * width) + 2), 4), np.int64)
        for c in range(channels):
            s = 0
            while s < positions:
                inside = min(width, positions - s)
                steps = min(CHUNK, (positions - s) // inside)
                found[i, 0], found[i, 1], found[i, 2], found[i, 3] = c * positions + s, steps, inside, c
                s, i = s + steps * inside, i + 1
    else:
        chunk = max(16, min(CHUNK, 4096 // channels))  # that its part of x stays in the nearest cache
        found = zeros(((positions // chunk + 1) * (channels // width + 1), 4), np.int64)
        for s in range(0, positions, chunk):
            steps, c = min(chunk, positions - s), 0
            while c < channels:
                inside = min(width, channels - c)
                while 2 * inside <= min(widest * width, channels - c) and inside >= width:
                    inside *= 2
                found[i, 0], found[i, 1], found[i, 2], found[i, 3] = s * channels + c, steps, inside, c
                c, i = c + inside, i + 1
    return found[:i]


def sweep(kernel, vectors=(1,), at_once=1, ahead=0):
    """``run(each, x, g, y, last, n, channels, rows, out, pieces)``: ``kernel`` over sample n.

    x, g, y are ``(N, S C)``. ``each`` is a tuple, as long as there are clusters; ``rows`` ``(R, C)``, in the type of x,
    and ``out`` ``(Q, C)``, in double precision, to which the sums are added, are padded. ``vectors`` are the numbers of
    whole ones that a step may take where channels come last; ``at_once`` is how many steps alternate;
    ``ahead``, how many steps before they are read x and g are asked for."""

    @intrinsic
    def run(typing, each, x, g, y, last, n, channels, rows, out, pieces):
        def build(context, builder, signature, values):
            kinds, channels_last = signature.args, not isinstance(last, types.NoneType)
            x, g, y, rows, out, pieces = (
                context.make_array(kind)(context, builder, value)
                for kind, value in zip(kinds, values, strict=True)
                if isinstance(kind, types.Array)
            )
            x_length, row_length = (cgutils.unpack_tuple(builder, array.shape)[1] for array in (x, rows))
            samples = [builder.gep(array.data, [builder.mul(values[5], x_length)]) for array in (x, g, y)]
            count, size = cgutils.unpack_tuple(builder, pieces.shape)
            stride = values[6] if channels_last else size.type(BYTES * 8 // kinds[1].dtype.bitwidth)
            with cgutils.for_range(builder, count) as loop:
                first = builder.gep(pieces.data, [builder.mul(loop.index, size)])
                piece = [builder.load(builder.gep(first, [size.type(i)])) for i in range(4)]
                where = samples, rows.data, out.data, row_length, stride, piece
                strip = _Strip(vectors_of(context), builder, channels_last, ahead, *where)
                strip.write(kernel, len(kinds[0]), vectors if channels_last else (1,), at_once)
            return context.get_dummy_value()

        return types.void(each, x, g, y, last, n, channels, rows, out, pieces), build

    return run
