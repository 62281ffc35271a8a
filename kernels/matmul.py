"""Matrix product of stacks of matrices.

    a  (B, M, K)  any strides (a stack that is broadcast has stride 0)
    b  (B, K, N)  any strides
    y  (B, M, N)  C-contiguous, written: y[s] = a[s] @ b[s]

affine: y[s] = a[s] @ b[s] + bias (N,), and not below 0 with relu; NaN stays. It is a linear layer.

The numba form packs b into panels as wide as a register tile and cuts the rows of a into blocks, which meet all panels
while they are in the caches; what the next block reads is fetched meanwhile. A few rows times a large matrix (a small
batch through VGG's linear layers) read the matrix once, where it lies, and so does one row times any: packed first, 8
rows times 25088 × 4096 took 200 to 380 ms, and now 18 to 25. Why not BLAS: it brings threads of its own, which numba's
must wait for, and its sums depend on their number.

On a GPU it is cuBLAS, by CuPy: cuBLAS has a kernel for each shape and each generation of GPUs, for half on tensor
cores, and its threads are in nobody's way. What is stored in half is summed in float32. float32 is rounded to TF32
first only where the environment variable CUPY_TF32 is 1. While a CUDA graph is captured it is matmul.cu, as CuPy then
refuses cuBLAS: the sums are the same, in another order.
"""

from contextlib import contextmanager

import numba
import numpy as np

from . import _cuda
from . import relu as activation
from ._jit import helper, jit, prange
from ._kernel import Kernel
from ._layout import ceil_div
from ._pool import empty
from ._queues import share_out, tasks
from ._threads import MOST_THREADS
from ._tile import FETCHED, TALLEST, further, last_step, tile_last, tile_width
from ._vector import STREAMED, copy, fence, transpose
from .copy_rows import contiguous

_ROWS = 4 * TALLEST  # of a per task, about. Of twice as many the outputs leave the L1 cache: 256 columns 1.07 times.
_SUMMED = 1024  # of the summed axis at a time: y is read and written again for each part (with 256: 1.06 to 1.1 times)
_APART = 16  # elements between a copied row and the next, that they lie in other lines of the L1 cache


def _reference(a, b, y):
    y[...] = np.einsum("smk,skn->smn", a, b)


def _affine_reference(a, b, bias, relu, y):
    _reference(a, b, y)
    y += bias
    if relu:
        y[y <= 0] = 0


# ---- on a GPU ------------------------------------------------------------------------------------------------------

_CUDA = _cuda.Source("matmul", "product")
_SIDE = 32  # of a block's tile: kSide in matmul.cu

_own = False


@contextmanager
def own_products():
    """Within the block, products on a GPU are matmul.cu's, as they are while a CUDA graph is captured.

    So a step that is not captured gives the bits of a replay. It holds for the whole process.
    """
    global _own
    before, _own = _own, True
    try:
        yield
    finally:
        _own = before


def by_cublas():
    """Whether products on a GPU are cuBLAS's now."""
    return not _own and not _cuda.is_capturing()


def _gpu(a, b, y):
    if by_cublas():
        _cuda.note("matmul.forward by cuBLAS")
        if len(y) == 1:  # two matrices CuPy multiplies as they lie, transposed or not; stacks it copies into rows
            a, b, y = a[0], b[0], y[0]
        np.matmul(a, b, out=y)  # CuPy's: NumPy hands its arrays on
        return
    stacks, rows, columns = y.shape
    blocks = stacks * ceil_div(rows, _SIDE) * ceil_div(columns, _SIDE)
    args = *_matrices(a), *_matrices(b), y, rows, a.shape[2], columns
    _CUDA.launch("product", y.dtype, args, grid=blocks)


def _affine_gpu(a, b, bias, relu, y):
    _gpu(a, b, y)
    y += bias
    if relu:
        activation.forward.gpu(y.reshape(-1), y.reshape(-1))


def _matrices(x):
    """C-contiguous memory of a stack, whether it holds each matrix transposed, and how many: 1 where all are one."""
    x = x if x.strides[0] else x[:1]
    turned = not x.flags.c_contiguous and x.transpose(0, 2, 1).flags.c_contiguous
    return contiguous(x.transpose(0, 2, 1) if turned else x), turned, len(x)


# ---- on a CPU ------------------------------------------------------------------------------------------------------


def _cpu(a, b, y):
    multiply(a, b, np.zeros(b.shape[2], y.dtype), y)


def _affine_cpu(a, b, bias, relu, y):
    multiply(a, b, bias, y, relu)


def multiply(a, b, start, y, relu=False, residual=None):
    """y = a @ b + start, a row (N,) that every row of y begins with: the bias of a 1×1 convolution.

    Then the residual, shaped as y, is added where it is not None, and what is negative becomes 0 with relu.
    """
    stacks, m, k = a.shape
    n, width = b.shape[2], tile_width(y.dtype)
    if y.size == 0:
        return
    last = last_step(y, relu, residual)
    if k == 0:
        y[...] = np.maximum(start if residual is None else start + residual, last[1])
        return
    if m == 1 and n >= width and b.flags.c_contiguous:
        _one_row(a, b, start, y, relu, residual)
        return
    if m <= _FEW_ROWS and n > m and k * n > _LARGE:
        if b.strides[2] == b.itemsize:
            _few_rows(a, b, start, y, relu, residual)
            return
        if b.strides[1] == b.itemsize:  # its rows are long runs of b, transposed
            turned = empty((stacks, n, m), y.dtype)
            multiply(b.transpose(0, 2, 1), a.transpose(0, 2, 1), np.zeros(m, y.dtype), turned)
            np.add(turned.transpose(0, 2, 1), start, out=y)
            np.maximum(y if residual is None else np.add(y, residual, out=y), last[1], out=y)
            return
    shared = b.strides[0] == 0 or stacks == 1  # one matrix b for the whole stack: pack it once
    panels = empty((1 if shared else stacks, ceil_div(n, width), k, width), y.dtype)
    pack(b, panels)
    starts = np.zeros(ceil_div(n, width) * width, y.dtype)
    starts[:n] = start
    strides = tuple(s // a.itemsize for s in a.strides)
    copied = n >= 4 * width and strides[2] == 1 and strides[1] * a.itemsize % 2048 == 0
    blocks = 2 * round(m / (2 * _ROWS)) or 1
    # Two threads share an even few of equal ones.
    rows = ceil_div(m, blocks) if blocks < 16 else ceil_div(m, TALLEST * blocks) * TALLEST
    scratch = empty((MOST_THREADS, rows * (_SUMMED + _APART) if copied else 0), y.dtype)
    _blocks(a.ctypes.data, strides, panels.reshape(-1), y.reshape(-1), stacks, m, k, n, width, len(panels), starts,
            *last, rows, scratch)  # fmt: skip


_RUN = 16384  # bytes of a row of b at a time: as many of y stay in the L1 cache


def _one_row(a, b, start, y, relu, residual):
    """A task is a run of columns and a slab of the summed axis, as in _few_rows."""
    stacks, k, n = b.shape
    slabs = max(1, min(8, k // 64))
    sums = empty((slabs, stacks, n), y.dtype)
    _one_row_sums(contiguous(a).reshape(stacks, k), b, _RUN // y.itemsize, sums)
    _put_together(sums, start, residual, relu, y)


@jit
def _one_row_sums(a, b, run, sums):
    """Rows of b go by as they lie, four at a time for each reading of the sums.

    One row times 4096 × 4096 3.5 to 2.0 ms (2.6 in another run), times 25088 × 4096 22 to 16.
    """
    (stacks, k, n), slabs = b.shape, len(sums)
    runs = (n + run - 1) // run
    queues = share_out(slabs * stacks * runs)
    for thread in prange(len(queues)):
        for task in tasks(queues, thread):
            slab, s, first = task // (stacks * runs), task // runs % stacks, task % runs * run
            last, row, end = min(n, first + run), k * slab // slabs, k * (slab + 1) // slabs
            y, x = sums[slab, s, first:last], a[s]
            y[:] = 0
            while row + 4 <= end:
                x0, x1, x2, x3 = x[row], x[row + 1], x[row + 2], x[row + 3]
                b0, b1 = b[s, row, first:last], b[s, row + 1, first:last]
                b2, b3 = b[s, row + 2, first:last], b[s, row + 3, first:last]
                for j in range(y.size):
                    y[j] = x3 * b3[j] + (x2 * b2[j] + (x1 * b1[j] + (x0 * b0[j] + y[j])))
                row += 4
            while row < end:
                x0, b0 = x[row], b[s, row, first:last]
                for j in range(y.size):
                    y[j] += x0 * b0[j]
                row += 1


_FEW_ROWS = 64
_LARGE = 1 << 18  # elements of b
_PAGE = 4096  # bytes of a row of b at a time; the hardware fetches ahead up to the end of a page (1 kB: half as fast)
_CACHED = 1 << 22  # bytes of a b that is mostly in the caches, where shorter runs are as fast


def _few_rows(a, b, start, y, relu, residual):
    """A task is a run of columns of one matrix and a slab of the summed axis, whose sums are added at the end."""
    stacks, m, k = a.shape
    n, size, width = b.shape[2], b.itemsize, tile_width(y.dtype)
    run, slabs = _PAGE // size, 1
    if size * k * n <= _CACHED:
        run = min(run, ceil_div(n, 4 * width) * width)
    else:  # tasks for many threads, but the same for any number of them; the sums of a slab are few beside its b
        runs = stacks * ceil_div(n, run)
        slabs = max(1, min(16 // runs, max(4 // runs, k // (16 * m))))
    # Of the summed axis at a time: 256 kB of b, which stay in the L2 cache until all rows of a have met them.
    deep = 32 if m <= TALLEST else 64
    strides = *(s // size for s in a.strides), *(s // size for s in b.strides[:2])
    starts = np.zeros(ceil_div(n, width) * width, y.dtype)
    scratch = empty((MOST_THREADS, m * (deep + _APART)), y.dtype)
    whole = slabs == 1  # then nothing is left to add
    if whole:
        starts[:n] = start
    sums = y.reshape(1, stacks * m, n) if whole else empty((slabs, stacks * m, n), y.dtype)
    last = last_step(y, relu and whole, residual if whole else None)
    _few_rows_sums(a.ctypes.data, b.ctypes.data, strides, starts, *last, a.shape, run, width, deep, scratch, sums)
    if not whole:
        _put_together(sums, start, residual, relu, y)


@jit
def _few_rows_sums(a, b, strides, starts, beside, least, shape, run, width, deep, scratch, sums):
    """a, b: addresses, so that no layout is a type of its own. sums (slabs, B · M, N)."""
    (stacks, m, k), (slabs, _, n) = shape, sums.shape
    kind, size, heights = sums.dtype.type(0), sums.itemsize, (m + TALLEST - 1) // TALLEST
    runs = (n + run - 1) // run
    queues = share_out(slabs * stacks * runs)
    for thread in prange(len(queues)):
        for task in tasks(queues, thread):
            slab, s, first = task // (stacks * runs), task // runs % stacks, task % runs * run
            copied, wide = scratch[numba.get_thread_id()].ctypes.data, min(run, n - first)
            top, bottom = k * slab // slabs, k * (slab + 1) // slabs
            for part in range((bottom - top + deep - 1) // deep):
                here = top + part * deep
                summed = min(deep, bottom - here)
                last = (beside, least) if here + summed == bottom else (0, sums.dtype.type(-np.inf))
                at_a, row, step = a + size * (s * strides[0] + here * strides[2]), strides[1], strides[2]
                if step == 1:
                    # Rows a power of two of bytes apart share a few lines of L1: with a copy 1.05 to 1.2 times.
                    for i in range(m):
                        copy(kind, summed, at_a + size * i * row, copied + size * i * (deep + _APART))
                    at_a, row = copied, deep + _APART
                at_b = b + size * (s * strides[3] + here * strides[4] + first)
                # A tile fetches a row of the next part, a line a step: all at once they would hold up the products.
                fetched, beyond = at_b + size * deep * strides[4], at_b + size * (bottom - here) * strides[4]
                for column in range(0, wide, width):
                    for tall in range(heights):
                        i = m * tall // heights
                        at_y = sums.ctypes.data + size * (((slab * stacks + s) * m + i) * n + first + column)
                        begin, begin_row = (starts.ctypes.data + size * (first + column), 0) if part == 0 else (at_y, n)
                        ahead = fetched if fetched < beyond else 0
                        tile_last(kind, m * (tall + 1) // heights - i, min(width, wide - column), at_a + size * i * row,
                                  row, 0, step, at_b + size * column, 0, strides[4], 1, summed, begin, begin_row, *last,
                                  False, at_y, n, ahead)  # fmt: skip
                        fetched += size * strides[4]


def _put_together(sums, start, residual, relu, y):
    """y from the sums (slabs, B · M, N) of the parts of the summed axis."""
    begin = contiguous(start if residual is None else start + residual).reshape(-1, y.shape[2])
    _add_slabs(sums, begin, last_step(y, relu, None)[1], y.reshape(sums.shape[1:]))


@jit
def _add_slabs(sums, begin, least, y):
    """y (rows, N) = begin + the sum of sums (slabs, rows, N), at least `least`; begin has a row, or as many as y."""
    slabs, rows, n = sums.shape
    queues = share_out(rows)
    for thread in prange(len(queues)):
        for i in tasks(queues, thread):
            row = i
            for j in range(n):
                y[row, j] = begin[row % len(begin), j]
            for slab in range(slabs):
                for j in range(n):
                    y[row, j] += sums[slab, row, j]
            for j in range(n):
                y[row, j] = least if y[row, j] < least else y[row, j]


def pack(b, panels):
    """b (B, K, N) to panels (B, N / width rounded up, K, width), zeros where the last is not full."""
    if b.itemsize not in b.strides[1:]:
        b = contiguous(b)
    _pack(b.ctypes.data, tuple(stride // b.itemsize for stride in b.strides), b.shape[2], panels)


@jit
def _pack(b, strides, n, panels):
    """b is an address; in its rows or in its columns elements are contiguous."""
    stacks, blocks, k, width = panels.shape
    kind, size = panels.dtype.type(0), panels.itemsize
    queues = share_out(stacks * blocks)
    for thread in prange(len(queues)):
        for task in tasks(queues, thread):
            s, block = task // blocks, task % blocks
            wide = min(width, n - block * width)
            if wide < width:
                panels[s, block] = 0
            source = b + size * (s * strides[0] + block * width * strides[2])
            target = panels.ctypes.data + size * (s * blocks + block) * k * width
            if strides[2] == 1:
                for r in range(k):
                    copy(kind, wide, source + size * r * strides[1], target + size * r * width)
            else:
                transpose(kind, k, wide, source, strides[2], target, width)


@jit
def _blocks(a, strides, panels, y, stacks, m, k, n, width, packed, starts, beside, least, rows, scratch):
    """A task is a block of rows of one matrix, whose address is a, and a block of its columns."""
    columns = (n + width - 1) // width
    row_blocks = (m + rows - 1) // rows
    # Few rows (a small batch through a large layer): let the tasks share the columns as well.
    column_blocks = max(1, min(columns, 16 // max(1, stacks * row_blocks)))
    queues = share_out(stacks * row_blocks * column_blocks)
    for thread in prange(len(queues)):
        for task in tasks(queues, thread):
            s = task // (row_blocks * column_blocks)
            top = task // column_blocks % row_blocks * rows
            block = task % column_blocks
            _block(a, strides, panels, y, s, top, min(top + rows, m), columns * block // column_blocks,
                   columns * (block + 1) // column_blocks, m, k, n, width, s % packed, starts,
                   beside, least, scratch[numba.get_thread_id()])  # fmt: skip


@helper
def _block(a, strides, panels, y, s, top, bottom, first, beyond, m, k, n, width, packed, starts, beside, least,
           scratch):  # fmt: skip
    columns = (n + width - 1) // width
    kind, size = y.dtype.type(0), y.itemsize
    streamed = k <= _SUMMED and size * y.size >= STREAMED
    # The rows and the residual of the next block, where they are runs of memory.
    rows, ahead = min(bottom - top, m - bottom), (0, 0, 0, 0)
    if strides[1] == k and strides[2] == 1 and beyond - first == columns:
        next_a = a + size * (s * strides[0] + bottom * k)
        residual = y.ctypes.data + size * (s * m + bottom) * n + beside
        fetched = min(size * rows * n, FETCHED) if beside else 0
        ahead = next_a, next_a + min(size * rows * k, FETCHED), residual, residual + fetched
    for start in range(0, k, _SUMMED):
        summed = min(_SUMMED, k - start)
        last = (beside, least) if start + summed == k else (0, y.dtype.type(-np.inf))
        begin_a, row, step = s * strides[0] + top * strides[1] + start * strides[2], strides[1], strides[2]
        data = a + size * begin_a
        if scratch.size:
            # Rows a power of two of bytes apart share a few lines of the L1 cache; a copy of them serves all columns.
            for i in range(bottom - top):
                copy(kind, summed, data + size * i * row, scratch.ctypes.data + size * i * (_SUMMED + _APART))
            data, row = scratch.ctypes.data, _SUMMED + _APART
        for column in range(first, beyond):
            panel = panels.ctypes.data + size * ((packed * columns + column) * k + start) * width
            wide = min(width, n - column * width)
            begin_column = starts.ctypes.data + size * column * width
            at_y = y.ctypes.data + size * ((s * m + top) * n + column * width)
            begin, begin_row = (begin_column, 0) if start == 0 else (at_y, n)
            tile_last(kind, bottom - top, wide, data, row, 0, step, panel, 0, width, 1, summed, begin, begin_row,
                      *last, streamed, at_y, n, ahead[0])  # fmt: skip
            ahead = further(ahead, bottom - top, summed)
    fence()


def _samples(rng, dtype):
    for stacks, m, k, n in [
        (1, 5, 3, 4),
        (2, 17, 33, 35),
        (3, 1, 7, 1),
        (1, 130, 300, 70),
        (2, 0, 3, 4),
        (1, 3, 0, 2),
        (2, 17, 300, 1100),  # few rows, a large matrix
        (2, 1, 267, 4200),
    ]:
        a = rng.standard_normal((stacks, m, k)).astype(dtype)
        b = rng.standard_normal((stacks, k, n)).astype(dtype)
        yield a, b, np.empty((stacks, m, n), dtype)
        yield (
            a.transpose(0, 2, 1).copy().transpose(0, 2, 1),
            np.broadcast_to(b[:1], b.shape),
            np.empty((stacks, m, n), dtype),
        )
        yield a[:, ::-1], b[:, :, ::-1], np.empty((stacks, m, n), dtype)


def _affine_samples(rng, dtype):
    for number, (a, b, y) in enumerate(_samples(rng, dtype)):
        yield a, b, rng.standard_normal(y.shape[2]).astype(dtype), number % 3 > 0, y


def _workload(rng, dtype, part=1):
    a, b = rng.standard_normal((1, 1024 // part, 1024), dtype), rng.standard_normal((1, 1024, 1024), dtype)
    return a, b, np.empty((1, len(a[0]), 1024), dtype)


def _affine_workload(rng, dtype, part=1):
    a, b, y = _workload(rng, dtype, part)
    return a, b, rng.standard_normal(y.shape[2], dtype), True, y


forward = Kernel(
    "matmul.forward",
    reference=_reference,
    cpu=_cpu,
    gpu=_gpu,
    samples=_samples,
    nanoseconds=lambda a, b, y: a.size * y.shape[2] // 20,
    workload=_workload,
    flops=lambda a, b, y: 2 * y.size * a.shape[2],
)
affine = Kernel(
    "matmul.affine",
    reference=_affine_reference,
    cpu=_affine_cpu,
    gpu=_affine_gpu,
    samples=_affine_samples,
    nanoseconds=lambda a, b, bias, relu, y: a.size * y.shape[2] // 20,
    workload=_affine_workload,
    flops=lambda a, b, bias, relu, y: 2 * y.size * a.shape[2],
)
