"""Max pooling over channels-last images.

    x      (N, H, W, C)    input
    y      (N, OH, OW, C)  written: the greatest of each window; NaN if there is one in it
    where  (N, OH, OW, C)  int32, written: h * W + w of that element; the first of equals, the last of NaNs (as PyTorch)
           (0, OH, OW, C) where nobody will ask
    gy     (N, OH, OW, C)  gradient of y
    gx     (N, H, W, C)    written: gradient of x

kernel_size, stride, padding and dilation are pairs (rows, columns). The border never wins: it counts as -inf and is at
most half a window, so every window sees the image. With ceil_mode the last window may reach over the border's edge.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ._cuda import Source
from ._jit import helper, jit, prange, shared
from ._kernel import Kernel
from ._layout import ceil_div
from ._queues import share_out, tasks
from ._vector import LINE, STREAMED, VECTOR_BYTES, Vectors, fence

_CUDA = Source("max_pool2d", *(f"{kernel}<T, {n}>" for kernel in ("forward", "backward") for n in (1, 4)))

# Of the backward pass, all in terms of sizes: how it is cut does not change a bit of the result.
_FEWEST_TASKS = 16  # so that cores share the work evenly also at batch 1
_FEWEST_OVERLAPPING = 4  # fewer where windows reach from a band into the next: both bands read them, and slowly
_BAND = 4  # rows of windows in a band, at least
_AT_ONCE = 4  # vectors of channels that ask a window at once

# ---- forward -------------------------------------------------------------------------------------------------------


def _forward_reference(x, kernel_size, stride, padding, dilation, y, where):
    _, h, w, _ = x.shape
    for n, i, j, c in np.ndindex(y.shape):
        rows = [i * stride[0] - padding[0] + u * dilation[0] for u in range(kernel_size[0])]
        columns = [j * stride[1] - padding[1] + v * dilation[1] for v in range(kernel_size[1])]
        window = [(r, q) for r in rows for q in columns if 0 <= r < h and 0 <= q < w]
        values = np.array([x[n, r, q, c] for r, q in window])
        nans = np.flatnonzero(np.isnan(values))
        winner = nans[-1] if len(nans) else values.argmax()
        y[n, i, j, c] = values[winner]
        if where.size:
            where[n, i, j, c] = window[winner][0] * w + window[winner][1]


@jit
def _forward_cpu(x, kernel_size, stride, padding, dilation, y, where):
    """A task is a row of windows. It gets addresses: to make views of shared arrays, threads wait for each other."""
    n, oh, ow, c = y.shape
    h, w = x.shape[1:3]
    streamed = y.itemsize * y.size >= STREAMED and (y.ctypes.data | c * y.itemsize) % VECTOR_BYTES == 0
    # The windows that lie in the image from their first column to their last.
    first = min(ow, (padding[1] + stride[1] - 1) // stride[1])
    beyond = max(first, min(ow, (w - 1 - (kernel_size[1] - 1) * dilation[1] + padding[1]) // stride[1] + 1))
    queues = share_out(n * oh)
    for thread in prange(len(queues)):
        for task in tasks(queues, thread):
            image, i = task // oh, task % oh
            at = task * ow * c
            numbers = where.ctypes.data + where.itemsize * at if where.size else 0
            _forward_row(x.dtype.type(0), x.ctypes.data + x.itemsize * image * h * w * c, h, w, c, i, kernel_size,
                         stride, padding, dilation, y.ctypes.data + y.itemsize * at, numbers, ow, first, beyond,
                         x.itemsize, streamed)  # fmt: skip
            fence()


@helper
def _forward_row(kind, x, h, w, channels, i, kernel_size, stride, padding, dilation, y, where, count, inner, beyond,
                 size, streamed):  # fmt: skip
    (kh, kw), (dh, dw), top = kernel_size, dilation, i * stride[0] - padding[0]
    u = max(0, -top + dh - 1) // dh  # the rows of the window that lie in the image; v: the columns
    rows = min(kh, (h - 1 - top) // dh + 1) - u
    high = stride[0] if size * channels >= LINE else 0  # what lies closer together the hardware fetches in time
    j = 0
    while j < count:
        left, v, columns, windows = j * stride[1] - padding[1], 0, kw, beyond - j
        if j < inner or j >= beyond:  # over the border: one at a time
            v, windows = max(0, -left + dw - 1) // dw, 1
            columns = min(kw, (w - 1 - left) // dw + 1) - v
        first = (top + u * dh) * w + left + v * dw
        below = x + size * ((top + (kh - 1) * dh + 1) * w + left) * channels  # what the next row of windows adds
        number = where + 4 * j * channels if where else 0
        args = (windows, x + size * first * channels, channels, dh * w, dw, stride[1], first, y + size * j * channels,
                number, streamed, below, high, w)  # fmt: skip
        # With the usual sizes as constants LLVM unrolls the window: two thirds of the time.
        if rows == 2 and columns == 2:
            _greatest(kind, 2, 2, *args)
        elif rows == 3 and columns == 3:
            _greatest(kind, 3, 3, *args)
        else:
            _greatest(kind, rows, columns, *args)
        j += windows


@intrinsic
def _greatest(context, kind, rows, columns, windows, x, channels, down, across, step, first, y, where, streamed, below,
              high, w):  # fmt: skip
    """Of each channel the greatest in a window and the number of its pixel, for windows `step` pixels apart in a row.

    x, y, where, below: addresses, of the first window; where is 0 if the number is not wanted. Pixels are `channels`
    elements apart; a window's first is number `first`, and `down` or `across` pixels on are its next row and column.
    From `below` on, `high` rows of `step` pixels are fetched for each window, the rows `w` pixels apart.
    """

    def emit(context, builder, signature, args):
        vectors = Vectors(builder, kind.bitwidth)
        _, rows, columns, windows, x, channels, down, across, step, first, y, where, streamed, below, high, w = args
        pixel = builder.mul(channels, channels.type(vectors.size))
        numbered = builder.icmp_signed("!=", where, where.type(0))
        with cgutils.for_range(builder, windows) as window:
            passed = builder.mul(window.index, step)
            at_x, at_y, at_below = (
                builder.add(address, builder.mul(pixels, pixel))
                for address, pixels in ((x, passed), (y, window.index), (below, passed))
            )
            at_where = builder.add(where, builder.mul(builder.mul(window.index, channels), channels.type(4)))
            pixels = rows, columns, channels, down, across, builder.add(first, passed)

            def one(channel, inside):
                before = builder.mul(channel, channel.type(vectors.size))
                of_x, of_y = builder.add(at_x, before), builder.add(at_y, before)
                _emit_prefetch(builder, vectors, before, channels, at_below, high, w, step)
                with builder.if_else(numbered) as (then, otherwise):
                    with then:
                        of_where = builder.add(at_where, builder.mul(channel, channel.type(4)))
                        _emit_greatest(builder, vectors, inside, pixels, of_x, of_y, of_where, streamed)
                    with otherwise:
                        _emit_greatest(builder, vectors, inside, pixels, of_x, of_y, None, streamed)

            vectors.along(channels, one)
        return context.get_dummy_value()

    return types.void(kind, *[types.intp] * 11, types.boolean, *[types.intp] * 3), emit


def _emit_prefetch(builder, vectors, before, channels, below, high, w, wide):
    """Fetch a vector of channels, `before` bytes from a pixel's first, of the pixels that the next row adds."""
    pixel = builder.mul(channels, channels.type(vectors.size))
    with cgutils.for_range(builder, high) as row, cgutils.for_range(builder, wide) as column:
        number = builder.add(builder.mul(row.index, w), column.index)
        vectors.prefetch(builder.add(builder.add(below, before), builder.mul(number, pixel)))


def _emit_greatest(builder, vectors, inside, pixels, x, y, where, streamed):
    """A vector of channels; where is None if the number is not wanted."""
    (rows, columns, step, down, across, first), x = pixels, vectors.pointer(x)
    best = cgutils.alloca_once_value(builder, vectors.load(x, inside))
    number = cgutils.alloca_once_value(builder, vectors.splat(builder.trunc(first, ir.IntType(32))))
    with cgutils.for_range(builder, rows) as row, cgutils.for_range(builder, columns) as column:
        further = builder.add(builder.mul(row.index, down), builder.mul(column.index, across))
        value = vectors.load(builder.gep(x, [builder.mul(further, step)]), inside)
        # The first of equal ones wins, and the last NaN.
        greater = builder.fcmp_ordered(">", value, builder.load(best))
        wins = builder.or_(greater, builder.fcmp_unordered("uno", value, value))
        builder.store(builder.select(wins, value, builder.load(best)), best)
        if where is not None:
            here = vectors.splat(builder.trunc(builder.add(first, further), ir.IntType(32)))
            builder.store(builder.select(wins, here, builder.load(number)), number)
    _store(vectors, builder.load(best), vectors.pointer(y), inside, streamed)
    if where is not None:
        vectors.store(builder.load(number), builder.inttoptr(where, ir.IntType(32).as_pointer()), inside)


def _store(vectors, value, pointer, inside, streamed):
    """Past the caches if `streamed`, whole vectors alone."""
    if inside is not None:
        vectors.store(value, pointer, inside)
        return
    with vectors.builder.if_else(streamed) as (then, otherwise):
        with then:
            vectors.stream(value, pointer)
        with otherwise:
            vectors.store(value, pointer)


def _forward_gpu(x, kernel_size, stride, padding, dilation, y, where):
    sizes = *x.shape[1:], *y.shape[1:3], *kernel_size, *stride, *padding, *dilation
    _CUDA.launch_rows("forward", y, (x, y, where if where.size else None, *sizes))


# ---- backward ------------------------------------------------------------------------------------------------------


def _backward_reference(gy, where, kernel_size, stride, padding, dilation, gx):
    w = gx.shape[2]
    gx[...] = 0
    for n, i, j, c in np.ndindex(gy.shape):
        gx[n, where[n, i, j, c] // w, where[n, i, j, c] % w, c] += gy[n, i, j, c]


def _backward_cpu(gy, where, kernel_size, stride, padding, dilation, gx):
    n, oh = gy.shape[:2]
    if kernel_size == stride and padding == (0, 0) and dilation == (1, 1):
        _fill_windows(gy, where, kernel_size, gx)
        return
    reach = tuple((size - 1) * step + 1 for size, step in zip(kernel_size, dilation, strict=True))
    if gx.shape[3] * gx.itemsize >= _AT_ONCE * VECTOR_BYTES:
        _ask_windows(gy, where, reach, stride, padding, gx)
    else:
        tasks = _FEWEST_TASKS if reach[0] <= stride[0] else _FEWEST_OVERLAPPING
        bands = max(1, min(oh // _BAND, ceil_div(tasks, max(n, 1))))
        _add_to_bands(gy, where, reach[0], stride[0], padding[0], bands, gx)


@jit
def _fill_windows(gy, where, kernel_size, gx):
    """Windows that tile the image: every pixel asks its one window whether it was the greatest.

    No memory is read to be added to: VGG's last pool takes half the time.
    """
    (n, oh, ow, c), (_, h, w, _), (kh, kw) = gy.shape, gx.shape, kernel_size
    kind, size, whole = gx.dtype.type(0), gx.itemsize, min(ow, w // kw)
    streamed = size * gx.size >= STREAMED and (gx.ctypes.data | c * size) % VECTOR_BYTES == 0
    queues = share_out(n * oh)
    for thread in prange(len(queues)):
        for task in tasks(queues, thread):
            image, i = task // oh, task % oh
            rows, at, first = min(kh, h - i * kh), task * ow * c, i * kh * w
            source, numbers = gy.ctypes.data + size * at, where.ctypes.data + 4 * at
            to = gx.ctypes.data + size * (image * h * w + first) * c
            if rows == 2 and kw == 2:  # LLVM unrolls it
                _fill(kind, 2, 2, whole, source, numbers, first, c, w, streamed, to)
            else:
                _fill(kind, rows, kw, whole, source, numbers, first, c, w, streamed, to)
            if whole < ow:  # over the edge
                seen = whole * kw
                _fill(kind, rows, w - seen, 1, source + size * whole * c, numbers + 4 * whole * c, first + seen, c, w,
                      streamed, to + size * seen * c)  # fmt: skip
            fence()
            for r in range(i * kh, i * kh + rows):
                gx[image, r, ow * kw :] = 0
            if i == oh - 1:
                gx[image, oh * kh :] = 0


@intrinsic
def _fill(context, kind, rows, columns, windows, gy, where, first, channels, w, streamed, gx):
    """The pixels of windows side by side: the window's gradient where the pixel was the greatest, else 0.

    gy, where, gx: addresses, of the first window's first pixel; `first` is its number. Rows of gx are w pixels apart.
    """

    def emit(context, builder, signature, args):
        vectors = Vectors(builder, kind.bitwidth)
        _, rows, columns, windows, gy, where, first, channels, w, streamed, gx = args
        gy, gx, where = vectors.pointer(gy), vectors.pointer(gx), builder.inttoptr(where, ir.IntType(32).as_pointer())
        with cgutils.for_range(builder, windows) as window:

            def one(channel, inside):
                at = builder.add(builder.mul(window.index, channels), channel)
                value = vectors.load(builder.gep(gy, [at]), inside)
                number = vectors.load_numbers(builder.gep(where, [at]), inside)
                with cgutils.for_range(builder, rows) as row, cgutils.for_range(builder, columns) as column:
                    along = builder.add(builder.mul(window.index, columns), column.index)
                    pixel = builder.add(builder.mul(row.index, w), along)
                    here = vectors.splat(builder.trunc(builder.add(first, pixel), ir.IntType(32)))
                    mine = builder.icmp_signed("==", number, here)
                    to = builder.gep(gx, [builder.add(builder.mul(pixel, channels), channel)])
                    _store(vectors, builder.select(mine, value, vectors.constant(0)), to, inside, streamed)

            vectors.along(channels, one)
        return context.get_dummy_value()

    return types.void(kind, *[types.intp] * 8, types.boolean, types.intp), emit


@jit
def _ask_windows(gy, where, reach, stride, padding, gx):
    """Every pixel asks the windows that it may lie in whether it was the greatest, in their order. A task is a row.

    Vectors of channels ask at once, at the memory's speed: 1.1 to 1.3 times as fast as _add_to_bands. With fewer
    channels than _AT_ONCE vectors the loop around it takes longer than that: 0.07 to 0.8 times as fast.
    """
    (n, oh, ow, c), (_, h, w, _) = gy.shape, gx.shape
    kind, size = gx.dtype.type(0), gx.itemsize
    streamed = size * gx.size >= STREAMED and (gx.ctypes.data | c * size) % VECTOR_BYTES == 0
    queues = share_out(n * h)
    for thread in prange(len(queues)):
        for task in tasks(queues, thread):
            image, row = task // h, task % h
            first = max(0, (row + padding[0] - reach[0] + stride[0]) // stride[0])
            rows = max(0, min(oh, (row + padding[0]) // stride[0] + 1) - first)
            to, begin, end = gx.ctypes.data + size * task * w * c, 0, 0
            for j in range(w):
                while end < ow and end * stride[1] - padding[1] <= j:
                    end += 1
                while begin < end and begin * stride[1] - padding[1] + reach[1] <= j:
                    begin += 1
                at = ((image * oh + first) * ow + begin) * c
                _add_up(kind, rows, end - begin, gy.ctypes.data + size * at, where.ctypes.data + 4 * at, ow * c,
                        row * w + j, c, streamed, to + size * j * c)  # fmt: skip
            fence()


@intrinsic
def _add_up(context, kind, rows, columns, gy, where, down, pixel, channels, streamed, gx):
    """A pixel's gradient, at address gx: the sum of those of rows × columns windows that have its number as theirs.

    gy, where: addresses, of the first window, whose next row is `down` elements on.
    """
    return shared(types.void(kind, *[types.intp] * 7, types.boolean, types.intp), _emit_add_up)


def _emit_add_up(builder, signature, args):
    vectors = Vectors(builder, signature.args[0].bitwidth)
    _, rows, columns, gy, where, down, pixel, channels, streamed, gx = args
    gy, gx, where = vectors.pointer(gy), vectors.pointer(gx), builder.inttoptr(where, ir.IntType(32).as_pointer())
    here, lanes = vectors.splat(builder.trunc(pixel, ir.IntType(32))), channels.type(vectors.lanes)
    at_once = channels.type(_AT_ONCE * vectors.lanes)

    def some(first, count, inside):
        """`count` vectors from the channel `first` on."""
        sums = [cgutils.alloca_once_value(builder, vectors.constant(0)) for _ in range(count)]
        with cgutils.for_range(builder, rows) as row, cgutils.for_range(builder, columns) as column:
            at = builder.add(builder.mul(row.index, down), builder.mul(column.index, channels))
            at = builder.add(at, first)
            for total in sums:
                mine = builder.icmp_signed("==", vectors.load_numbers(builder.gep(where, [at]), inside), here)
                value, before = vectors.load(builder.gep(gy, [at]), inside), builder.load(total)
                builder.store(builder.select(mine, builder.fadd(before, value), before), total)
                at = builder.add(at, lanes)
        for total in sums:
            _store(vectors, builder.load(total), builder.gep(gx, [first]), inside, streamed)
            first = builder.add(first, lanes)

    blocks = builder.sdiv(channels, at_once)
    with cgutils.for_range(builder, blocks) as block:
        some(builder.mul(block.index, at_once), _AT_ONCE, None)
    done = builder.mul(blocks, at_once)
    vectors.along(builder.sub(channels, done), lambda first, inside: some(builder.add(done, first), 1, inside))


@jit
def _add_to_bands(gy, where, reach, stride, padding, bands, gx):
    """A task is a band of rows of an image, so each element has one writer and, in any band, one order of summing."""
    n, oh, ow, channels = gy.shape
    _, h, w, _ = gx.shape
    queues = share_out(n * bands)
    for thread in prange(len(queues)):
        for task in tasks(queues, thread):
            image, band = task // bands, task % bands
            first, last = oh * band // bands, oh * (band + 1) // bands  # the rows of windows that start in the band
            top = 0 if band == 0 else first * stride - padding
            bottom = h if band == bands - 1 else min(h, last * stride - padding)
            gx[image, top:bottom] = 0
            pixels = gx[image].reshape(-1, channels)
            while first > 0 and (first - 1) * stride - padding + reach > top:  # and those that reach into it
                first -= 1
            for i in range(first, last):
                row = i * stride - padding
                if (band == 0 or row >= top) and (band == bands - 1 or row + reach <= bottom):
                    for j in range(ow):
                        for c in range(channels):
                            pixels[where[image, i, j, c], c] += gy[image, i, j, c]
                else:
                    for j in range(ow):
                        for c in range(channels):
                            at = where[image, i, j, c]
                            mine = (at >= top * w) & (at < bottom * w)
                            # Zero to the band's first pixel where it is not: a branch here takes four times as long.
                            pixels[at if mine else top * w, c] += gy[image, i, j, c] if mine else 0


def _backward_gpu(gy, where, kernel_size, stride, padding, dilation, gx):
    sizes = *gx.shape[1:], *gy.shape[1:3], *kernel_size, *stride, *padding, *dilation
    _CUDA.launch_rows("backward", gx, (gy, where, gx, *sizes))


# ---- samples and registration --------------------------------------------------------------------------------------

# (N, H, W, C, kernel_size, stride, padding, dilation, OH, OW)
_CASES = [
    (2, 6, 8, 3, (2, 2), (2, 2), (0, 0), (1, 1), 3, 4),
    (2, 7, 9, 5, (3, 3), (2, 2), (1, 1), (1, 1), 4, 5),  # overlapping
    (1, 8, 11, 17, (3, 2), (2, 3), (1, 0), (1, 1), 5, 4),  # ceil_mode: windows over the edge
    (1, 9, 10, 2, (2, 3), (1, 2), (0, 1), (3, 2), 6, 4),
    (2, 7, 6, 12, (3, 2), (2, 2), (1, 0), (1, 1), 4, 3),  # channels in fours
    (0, 4, 6, 3, (2, 2), (2, 2), (0, 0), (1, 1), 2, 3),
    (2, 7, 9, 5, (2, 2), (2, 2), (0, 0), (1, 1), 3, 4),  # pixels of no window
    (1, 7, 8, 18, (3, 3), (3, 3), (0, 0), (1, 1), 3, 3),  # side by side, the last over the edge
    (1, 5, 6, 4, (3, 3), (1, 1), (1, 1), (1, 1), 5, 6),  # over both edges
    (2, 6, 5, 69, (3, 2), (2, 1), (1, 1), (1, 2), 3, 5),  # channels that ask at once, and some that are left
    (1, 7, 9, 64, (2, 2), (3, 4), (0, 0), (1, 1), 2, 2),  # pixels between the windows
]


def _forward_samples(rng, dtype):
    for n, h, w, c, kernel_size, stride, padding, dilation, oh, ow in _CASES:
        x = rng.standard_normal((n, h, w, c)).astype(dtype)
        ties = rng.integers(0, 3, x.shape).astype(dtype)
        special = np.where(rng.random(x.shape) < 0.1, rng.choice([np.nan, np.inf, -np.inf], x.shape), x).astype(dtype)
        for image in (x, ties, special, np.full_like(x, -np.inf)):
            y = np.empty((n, oh, ow, c), dtype)
            yield image, kernel_size, stride, padding, dilation, y, np.empty(y.shape, np.int32)
        yield special, kernel_size, stride, padding, dilation, np.empty_like(y), np.empty((0, *y.shape[1:]), np.int32)


def _backward_samples(rng, dtype):
    for x, *geometry, y, where in _forward_samples(rng, dtype):
        if where.shape != y.shape:
            continue
        _forward_reference(x, *geometry, y, where)
        yield rng.standard_normal(y.shape).astype(dtype), where, *geometry, np.empty_like(x)


def _forward_workload(rng, dtype, part=1):
    """The pool behind ResNet's first convolution."""
    x = rng.standard_normal((max(1, 16 // part), 112, 112, 64), dtype)
    y = np.empty((len(x), 56, 56, 64), dtype)
    return x, (3, 3), (2, 2), (1, 1), (1, 1), y, np.empty(y.shape, np.int32)


def _backward_workload(rng, dtype, part=1):
    x, *geometry, y, where = _forward_workload(rng, dtype, part)
    _forward_cpu(x, *geometry, y, where)
    return rng.standard_normal(y.shape, dtype), where, *geometry, x


forward = Kernel(
    "max_pool2d.forward",
    reference=_forward_reference,
    cpu=_forward_cpu,
    gpu=_forward_gpu,
    samples=_forward_samples,
    nanoseconds=lambda x, kernel_size, *rest: rest[-2].size * kernel_size[0] * kernel_size[1] // 4,
    outputs=2,
    workload=_forward_workload,
)
backward = Kernel(
    "max_pool2d.backward",
    reference=_backward_reference,
    cpu=_backward_cpu,
    gpu=_backward_gpu,
    samples=_backward_samples,
    workload=_backward_workload,
)
