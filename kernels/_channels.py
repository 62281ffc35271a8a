"""What batch norm and group norm share: moments, sums and affine maps per channel over rows that lie one after another.

Arrays are (N, P, C) and C-contiguous: N sets of P rows; every set has statistics of its own. Batch norm is one set of
all pixels of all images, group norm one set per image. Per-set numbers are (N, C) and float64, also for float32 rows.

Rows are cut into blocks of about 32,768 elements. A block's sums are taken in the rows' dtype around the mean of its
first rows; blocks are put together in float64, in order. The cut depends on shapes alone. A pass over a block keeps its
numbers in registers (_passes.py); so that few channels fill them, several rows side by side count as one wide row: its
elements are lanes, and lanes of one channel are added in the end.

A number near 10,000 has steps of 0.001 in float32, too coarse for the mean of such numbers. So x - mean is computed as
(x - high) - low with high + low = mean: the first difference is exact for x near the mean, the second goes into
constants per channel.
"""

from math import gcd

import numpy as np

from ._cuda import Source
from ._jit import helper, jit, prange
from ._layout import ceil_div
from ._passes import ABREAST, over_rows
from ._pool import empty
from ._queues import share_out, tasks
from ._rows_apart import flat, together
from ._vector import STREAMED, VECTOR_BYTES, fence

_BLOCK = 32768  # elements
_LANES = 512  # of a wide row, if channels are fewer
_GREATEST_LANE = 512  # rows of a lane in a block: few enough for sums in float32
_FEW_BLOCKS = 16  # so few are an even number, and all of equal length: two threads share 6 and a piece badly
_SAMPLE = 8  # a block's rows over those whose mean its sums are taken around
_TOGETHER = 64  # channels whose blocks are put together by a thread


def blocks_of(height, channels, itemsize):
    """(elements of a wide row, rows of a block, blocks of a set)"""
    group = ABREAST * VECTOR_BYTES // itemsize  # elements that are at hand together
    abreast = group // gcd(channels, group)
    if abreast * channels > _LANES:
        abreast = max(1, _LANES // max(channels, 1))
    wide = abreast * channels
    most = max(1, min(_GREATEST_LANE, _BLOCK // max(wide, abreast))) * abreast
    if channels == 0 or height == 0:
        return wide, most, 0
    blocks = (height + most - 1) // most
    if 1 < blocks < _FEW_BLOCKS:
        blocks += blocks % 2
    rows = ((height + blocks - 1) // blocks + abreast - 1) // abreast * abreast
    return wide, rows, (height + rows - 1) // rows


cut = helper(blocks_of)

# ---- moments -------------------------------------------------------------------------------------------------------


def moments(x, eps, mean, var, rstd):
    """The mean, the mean squared deviation and 1 / sqrt(var + eps) of every channel of every set of at least a row."""
    n, height, channels = x.shape
    _moments(x.reshape(-1), n, height, channels, float(eps), mean, var, rstd)


def _deviations(v, _, x, about, sums):
    d = v.builder.fsub(x[0], about[0])
    return [v.builder.fadd(sums[0], d), v.fma(d, d, sums[1])], []


# Of (x, about, total, squares): about += x * share; total += d, squares += d², d = x - about.
_add_shares = over_rows("shares", (0,), (), (1,), (), lambda v, share, x, _, sums: ([v.fma(x[0], share, sums[0])], []))
_add_deviations = over_rows("deviations", (0,), (1,), (2, 3), (), _deviations)


@jit
def _moments(x, n, height, channels, eps, mean, var, rstd):
    """First, of each block and channel, the mean m of its first rows, and the sums of x - m and of its square.

    With the mean of all rows, read before, it took 1.2 to 1.4 times as long. An eighth of the rows does: however they
    differ from the others, the square of their mean's distance from the block's is at most seven times the block's
    variance, of which rounding then takes three bits.
    """
    wide, rows, blocks = cut(height, channels, x.itemsize)
    sums, one = np.empty((n * blocks, 3, wide), x.dtype), x.dtype.type(1)
    queues = share_out(n * blocks)
    for thread in prange(len(queues)):
        for task in tasks(queues, thread):
            image, block = task // blocks, task % blocks
            first = (image * height + block * rows) * channels
            last = (image * height + min((block + 1) * rows, height)) * channels
            about, total, squares = sums[task, 0], sums[task, 1], sums[task, 2]
            about[:], total[:], squares[:] = 0, 0, 0
            sampled = min(last, first + (last - first + _SAMPLE * wide - 1) // (_SAMPLE * wide) * wide)
            share = one / x.dtype.type((sampled - first) // channels)  # the sum of shares does not overflow
            arrays = x.ctypes.data, about.ctypes.data, total.ctypes.data, squares.ctypes.data
            _add_shares(share, first, sampled, wide, 0, False, arrays)
            _fold(about, channels)
            for k in range(channels, wide):
                about[k] = about[k - channels]
            _add_deviations(share, first, last, wide, 0, False, arrays)
            _fold(total, channels)
            _fold(squares, channels)
    parts = (channels + _TOGETHER - 1) // _TOGETHER
    queues = share_out(n * parts)
    for thread in prange(len(queues)):
        for task in tasks(queues, thread):
            image, first = task // parts, task % parts * _TOGETHER
            last = min(first + _TOGETHER, channels)
            own_mean, own_var = mean[image, first:last], var[image, first:last]
            _combine(sums[image * blocks : (image + 1) * blocks], height, rows, first, last, own_mean, own_var)
            for c in range(last - first):
                if not np.isfinite(own_mean[c]):  # an infinite one is known as NaN so far: inf - inf
                    own_mean[c] = _plain_mean(x[image * height * channels + first + c :], height, channels)
                rstd[image, first + c] = 1 / np.sqrt(own_var[c] + eps)


@helper
def _fold(lanes, channels):
    """Add up the lanes of each channel, into the first `channels` elements."""
    for start in range(channels, lanes.size, channels):
        for c in range(channels):
            lanes[c] += lanes[start + c]


@helper
def _combine(sums, height, rows, first, last, mean, var):
    """The moments of channels first to last."""
    # Chan, Golub & LeVeque 1983: with block means m_b and sums of squared deviations M_b over n_b rows,
    #     mean = sum n_b m_b / P        var = (sum M_b + sum n_b (m_b - mean)^2) / P
    mean[:], var[:] = 0.0, 0.0
    for block in range(len(sums)):
        count = np.float64(min(rows, height - block * rows))
        about, total = sums[block, 0, first:last], sums[block, 1, first:last]
        for c in range(mean.size):
            mean[c] += count * about[c] + total[c]
    for c in range(mean.size):
        mean[c] /= height
    for block in range(len(sums)):
        count = np.float64(min(rows, height - block * rows))
        share = 1 / count
        about, total = sums[block, 0, first:last], sums[block, 1, first:last]
        squares = sums[block, 2, first:last]
        for c in range(mean.size):
            from_about = total[c] * share
            distance = about[c] + from_about - mean[c]
            var[c] += squares[c] - total[c] * from_about + count * distance * distance
    for c in range(mean.size):
        v = var[c] / height
        var[c] = 0.0 if v < 0.0 else v


@helper
def _plain_mean(x, height, step):
    total = 0.0
    for row in range(height):
        total += x[row * step]
    return total / height


# ---- affine maps ---------------------------------------------------------------------------------------------------


@helper
def _repeat(values, lanes):
    """The numbers of the channels, for every lane of a wide row, in its dtype."""
    for start in range(0, lanes.size, values.size):
        for c in range(values.size):
            lanes[start + c] = values[c]


def normalize(x, mean, rstd, weight, bias, residual, relu, y):
    """y = (x - mean) * rstd * weight + bias, plus the residual where it has rows; then max(y, 0) where relu."""
    n, height, channels = x.shape
    arrays = x.reshape(-1), mean, rstd, weight, bias, residual.reshape(-1)
    _normalize(*arrays, bool(residual.size), relu, n, height, channels, y.reshape(-1))


def _normalized(add, relu):
    """Of (x, residual, high, scale, shift, y)."""

    def formula(v, _, inputs, numbers, sums):
        high, scale, shift = numbers
        value = v.fma(v.builder.fsub(inputs[0], high), scale, shift)
        value = v.builder.fadd(value, inputs[1]) if add else value
        return [], [v.where_positive(value, value) if relu else value]

    return over_rows(f"normalize.{add}.{relu}", (0, 1) if add else (0,), (2, 3, 4), (), (5,), formula)


_write_normalized, _write_relu = _normalized(False, False), _normalized(False, True)
_write_sum, _write_relu_of_sum = _normalized(True, False), _normalized(True, True)


@jit
def _normalize(x, mean, rstd, weight, bias, residual, add, relu, n, height, channels, y):
    wide, rows, blocks = cut(height, channels, x.itemsize)
    one, streamed = x.dtype.type(1), y.itemsize * y.size >= STREAMED
    numbers = np.empty((3, n, wide), x.dtype)
    high, scale, shift = numbers[0], numbers[1], numbers[2]
    for i in range(n):
        _affine(mean[i], rstd[i], weight, bias, high[i], scale[i], shift[i])
    queues = share_out(n * blocks)
    for thread in prange(len(queues)):
        for task in tasks(queues, thread):
            i, block = task // blocks, task % blocks
            first = (i * height + block * rows) * channels
            last = (i * height + min((block + 1) * rows, height)) * channels
            arrays = (
                x.ctypes.data, residual.ctypes.data, high[i].ctypes.data, scale[i].ctypes.data, shift[i].ctypes.data,
                y.ctypes.data,
            )  # fmt: skip
            if add and relu:
                _write_relu_of_sum(one, first, last, wide, 0, streamed, arrays)
            elif add:
                _write_sum(one, first, last, wide, 0, streamed, arrays)
            elif relu:
                _write_relu(one, first, last, wide, 0, streamed, arrays)
            else:
                _write_normalized(one, first, last, wide, 0, streamed, arrays)
            fence()


@helper
def _affine(mean, rstd, weight, bias, high, scale, shift):
    _repeat(mean, high)
    _repeat(rstd * weight, scale)
    _repeat(bias + (high[: mean.size] - mean) * (rstd * weight), shift)


# ---- gradients -----------------------------------------------------------------------------------------------------

# Where a ReLU came last its gradient is 0 where its output was. Either that output is there; or it is computed anew
# from x, with the numbers and the expression of normalize, so that signs agree: two arrays of seven less to read.
NO_RELU, BY_OUTPUT, BY_INPUT = 0, 1, 2


def gradients(gy, x, y, relu, size, mean, rstd, weight, bias, moves, gx, gw, gb, g=None):
    """gx, and per channel gw = sum of g * (x - mean) * rstd and gb = sum of g; g = gy, but 0 where a ReLU gave 0.

    gy: the rows of one set may lie apart.
    relu: NO_RELU; BY_OUTPUT, of what y has; BY_INPUT, of (x - mean) * rstd * weight + bias, which no other has use for.
    size: of a group of channels that have a mean and rstd together; they are given for each of them, (N, C).
    moves: whether mean and rstd are x's own and move with it; where not, relu is not BY_INPUT.
    g: where it is not None, which goes with BY_OUTPUT, it is written, too.
    """
    n, height, channels = x.shape
    gy, step, scratch = flat(gy, max(_BLOCK, _LANES))
    kept = x[:0].reshape(-1) if g is None else g.reshape(-1)
    _gradients(
        gy, x.reshape(-1), y.reshape(-1), relu, size, mean, rstd, weight, bias, moves, n, height, channels, step,
        scratch, gx.reshape(-1), gw, gb, kept,
    )  # fmt: skip


def _gradient(v, relu, inputs, numbers):
    """(g, x - high) from the vectors (gy, x) or (gy, x, y) and (high, scale, shift, …)."""
    d = v.builder.fsub(inputs[1], numbers[0])
    if relu == BY_OUTPUT:
        return v.where_positive(inputs[0], inputs[2]), d
    if relu == BY_INPUT:
        return v.where_positive(inputs[0], v.fma(d, numbers[1], numbers[2])), d
    return inputs[0], d


def _gradient_terms(relu, keep=False):
    """Of (gy, x, y, high, scale, shift, sum of g, sum of g * d, g)."""

    def formula(v, _, inputs, numbers, sums):
        g, d = _gradient(v, relu, inputs, numbers)
        return [v.builder.fadd(sums[0], g), v.fma(g, d, sums[1])], [g] if keep else []

    inputs, outputs = (0, 1, 2) if relu == BY_OUTPUT else (0, 1), (8,) if keep else ()
    return over_rows(f"gradient_sums.{relu}.{keep}", inputs, (3, 4, 5), (6, 7), outputs, formula)


_add_gradients, _add_by_output, _add_by_input = map(_gradient_terms, (NO_RELU, BY_OUTPUT, BY_INPUT))
_add_and_keep = _gradient_terms(BY_OUTPUT, True)


def _input_gradients(relu, moves):
    """Of (gy, x, y, high, scale, shift, slope, offset, gx): gx = scale * g [- (x - high) * slope - offset]."""

    def moved(v, _, inputs, numbers, sums):
        g, d = _gradient(v, relu, inputs, numbers)
        _, scale, _, slope, offset = numbers
        return [], [v.builder.fsub(v.builder.fmul(scale, g), v.fma(d, slope, offset))]

    def scaled(v, _, inputs, numbers, sums):
        return [], [v.builder.fmul(numbers[0], v.where_positive(*inputs) if relu else inputs[0])]

    name = f"input_gradient.{relu}.{moves}"
    if moves:
        return over_rows(name, (0, 1, 2) if relu == BY_OUTPUT else (0, 1), (3, 4, 5, 6, 7), (), (8,), moved)
    return over_rows(name, (0, 2) if relu else (0,), (4,), (), (8,), scaled)


_move, _move_by_output, _move_by_input = (_input_gradients(relu, True) for relu in (NO_RELU, BY_OUTPUT, BY_INPUT))
_scale, _scale_by_output = (_input_gradients(relu, False) for relu in (NO_RELU, BY_OUTPUT))


@jit
def _gradients(gy, x, y, relu, size, mean, rstd, weight, bias, moves, n, height, channels, step, scratch, gx, gw, gb,
               kept):  # fmt: skip
    """One pass takes the sums of g and of g * (x - mean); a second one, with these, gx."""
    wide, rows, blocks = cut(height, channels, x.itemsize)
    sums, one = np.empty((n * blocks, 2, wide), x.dtype), x.dtype.type(1)
    numbers = np.empty((5, n, wide), x.dtype)
    high, scale, shift, slope, offset = numbers[0], numbers[1], numbers[2], numbers[3], numbers[4]
    for i in range(n):
        _affine(mean[i], rstd[i], weight, bias, high[i], scale[i], shift[i])
    streamed = kept.itemsize * kept.size >= STREAMED
    queues = share_out(n * blocks)
    for thread in prange(len(queues)):
        for task in tasks(queues, thread):
            i, block = task // blocks, task % blocks
            first = (i * height + block * rows) * channels
            last = (i * height + min((block + 1) * rows, height)) * channels
            sums[task] = 0
            arrays = (
                together(gy, first, last, channels, step, scratch), x.ctypes.data, y.ctypes.data, high[i].ctypes.data,
                scale[i].ctypes.data, shift[i].ctypes.data, sums[task, 0].ctypes.data, sums[task, 1].ctypes.data,
                kept.ctypes.data,
            )  # fmt: skip
            if relu == BY_INPUT:
                _add_by_input(one, first, last, wide, 0, False, arrays)
            elif kept.size:
                _add_and_keep(one, first, last, wide, 0, streamed, arrays)
                fence()
            elif relu == BY_OUTPUT:
                _add_by_output(one, first, last, wide, 0, False, arrays)
            else:
                _add_gradients(one, first, last, wide, 0, False, arrays)
            _fold(sums[task, 0], channels)
            _fold(sums[task, 1], channels)
    _coefficients(sums, size, mean, rstd, weight, high, height, gw, gb, slope, offset)
    streamed = gx.itemsize * gx.size >= STREAMED
    queues = share_out(n * blocks)
    for thread in prange(len(queues)):
        for task in tasks(queues, thread):
            i, block = task // blocks, task % blocks
            first = (i * height + block * rows) * channels
            last = (i * height + min((block + 1) * rows, height)) * channels
            g = kept.ctypes.data if kept.size else together(gy, first, last, channels, step, scratch)
            arrays = (
                g, x.ctypes.data, y.ctypes.data, high[i].ctypes.data, scale[i].ctypes.data, shift[i].ctypes.data,
                slope[i].ctypes.data, offset[i].ctypes.data, gx.ctypes.data,
            )  # fmt: skip
            if moves and relu == BY_INPUT:
                _move_by_input(one, first, last, wide, 0, streamed, arrays)
            elif moves and relu == BY_OUTPUT and not kept.size:
                _move_by_output(one, first, last, wide, 0, streamed, arrays)
            elif moves:
                _move(one, first, last, wide, 0, streamed, arrays)
            elif relu and not kept.size:
                _scale_by_output(one, first, last, wide, 0, streamed, arrays)
            else:
                _scale(one, first, last, wide, 0, streamed, arrays)
            fence()


@helper
def _coefficients(sums, size, mean, rstd, weight, high, height, gw, gb, slope, offset):
    """gw and gb, and of gx = scale * g - (x - high) * slope - offset the latter two, from the blocks' sums."""
    (n, channels), blocks = mean.shape, len(sums) // max(1, len(mean))
    gw_sum, gb_sum, sum_g, sum_gd = np.zeros(channels), np.zeros(channels), np.empty(channels), np.empty(channels)
    own_slope, own_offset = np.empty(channels), np.empty(channels)
    for i in range(n):
        _add_blocks(sums[i * blocks : (i + 1) * blocks], mean[i], high[i], sum_g, sum_gd)
        for c in range(channels):
            gb_sum[c] += sum_g[c]
            gw_sum[c] += rstd[i, c] * sum_gd[c]
        for first in range(0, channels, size):
            total, products = 0.0, 0.0
            for c in range(first, first + size):
                total += weight[c] * sum_g[c]
                products += weight[c] * sum_gd[c]
            for c in range(first, first + size):
                r, low = rstd[i, c], mean[i, c] - high[i, c]
                own_slope[c] = r * r * r * products / (height * size)
                own_offset[c] = r * total / (height * size) - low * own_slope[c]
        _repeat(own_slope, slope[i])
        _repeat(own_offset, offset[i])
    for c in range(channels):
        gw[c], gb[c] = gw_sum[c], gb_sum[c]


@helper
def _add_blocks(sums, mean, high, sum_g, sum_gd):
    sum_g[:], sum_gd[:] = 0, 0
    for block in range(len(sums)):
        total, products = sums[block, 0], sums[block, 1]
        for c in range(sum_g.size):
            sum_g[c] += total[c]
            sum_gd[c] += products[c]
    for c in range(sum_g.size):
        sum_gd[c] -= (mean[c] - high[c]) * sum_g[c]


# ---- on a GPU ------------------------------------------------------------------------------------------------------

_CUDA = Source(
    "_channels", "sums", "totals<T, T>", "totals<T, double>", "moments", "combine_moments", "update_running",
    "normalize", "gradient_sums", "channel_gradients", "group_gradients", "parameter_gradients", "input_gradient",
)  # fmt: skip
_TILE_ROWS = 16  # that a thread takes: ROWS in _channels.cu


def tile(height, channels):
    """How a GPU's blocks cut a set.

    Returns:
        (threads of a block (along the channels, along the rows), 256 in all or as many as there is work for; rows of a
        block; blocks along the rows; blocks along the channels)
    """
    width = max(1, min(32, channels))
    lanes = max(1, min(256 // width, ceil_div(height, _TILE_ROWS)))
    rows = lanes * _TILE_ROWS
    return (width, lanes), rows, ceil_div(height, rows), ceil_div(channels, width)


def _small_sums(count, parts):
    """For `count` small sums of so many parts: how many threads share one, a power of two; the launch's sizes."""
    width = min(32, 1 << max(parts - 1, 0).bit_length())
    return width, {"grid": ceil_div(count * width, 256), "block": min(256, 32 * ceil_div(count * width, 32))}


def sums_gpu(x, divisor, y):
    """y (N, C): the sum over the rows of each set of x (N, P, C), divided."""
    n, height, channels = x.shape
    block, _, blocks, tiles = tile(height, channels)
    partial = empty((n, channels, blocks), np.float64, x)
    _CUDA.launch("sums", x.dtype, (x, partial, height, channels, blocks), grid=n * blocks * tiles, block=block)
    totals_gpu(partial, divisor, y)


def totals_gpu(partial, divisor, y):
    """y (*): the sum of each row of partial (*, blocks), float64, divided."""
    parts = partial.shape[-1]
    width, launch = _small_sums(y.size, parts)
    _CUDA.launch("totals<T, T>", y.dtype, (partial, y, y.size, parts, width, divisor), **launch)


def moments_gpu(x, size, eps, mean, var, rstd):
    """Mean, mean squared deviation and 1 / sqrt(var + eps), each (N, C / size), of groups of channels in each set.

    x has a row at least.
    """
    n, height, channels = x.shape
    block, rows, blocks, tiles = tile(height, channels)
    partial = empty((2, n, channels, blocks), np.float64, x)
    _CUDA.launch("moments", x.dtype, (x, *partial, height, channels, blocks), grid=n * blocks * tiles, block=block)
    if size == 1:
        _combine_gpu(x.dtype, *partial, mean, var, rstd, eps, blocks, rows, height)
        return
    of_channels = empty((2, n, channels), np.float64, x)
    _combine_gpu(x.dtype, *partial, *of_channels, None, eps, blocks, rows, height)
    _combine_gpu(x.dtype, *of_channels, mean, var, rstd, eps, size, height, height * size)


def _combine_gpu(dtype, means, vars, mean, var, rstd, eps, parts, rows, height):
    width, launch = _small_sums(mean.size, parts)
    args = means, vars, mean, var, rstd, float(eps), mean.size, parts, width, rows, height
    _CUDA.launch("combine_moments", dtype, args, **launch)


def update_running_gpu(mean, var, count, momentum, running_mean, running_var):
    """See batch_norm.py."""
    args = mean, var, running_mean, running_var, count / (count - 1), float(momentum), mean.size
    _CUDA.launch("update_running", running_mean.dtype, args, threads=mean.size)


def normalize_gpu(x, size, mean, rstd, weight, bias, residual, relu, y):
    """As normalize; mean and rstd are (N, C / size), residual may be None."""
    n, height, channels = x.shape
    block, _, blocks, tiles = tile(height, channels)
    args = x, mean, rstd, weight, bias, residual, y, height, channels, blocks, size, bool(relu)
    _CUDA.launch("normalize", x.dtype, args, grid=n * blocks * tiles, block=block)


def gradients_gpu(gy, x, y, relu, size, mean, rstd, weight, bias, moves, gx, gw, gb, gresidual):
    """The gradients of x (N, P, C), weight and bias (C,) and, where it is not None, the residual.

    mean, rstd: (N, C / size). moves: x moves them. relu: whether one came last. y: what it gave, or None.
    """
    n, height, channels = x.shape
    block, _, blocks, tiles = tile(height, channels)
    cut = {"grid": n * blocks * tiles, "block": block}
    sizes = height, channels, blocks, size
    partial = empty((2, n, channels, blocks), np.float64, x)
    args = gy, x, y, relu, mean, rstd, weight, bias, *partial, *sizes
    _CUDA.launch("gradient_sums", x.dtype, args, **cut)
    slope, offset = empty((2, mean.size), np.float64, x) if moves else (None, None)
    if n == size == 1:
        width, launch = _small_sums(channels, blocks)
        args = *partial, mean, rstd, weight, gw, gb, slope, offset, channels, blocks, width, height
        _CUDA.launch("channel_gradients", x.dtype, args, **launch)
    else:
        sums = empty((2, n, channels), np.float64, x)
        width, launch = _small_sums(sums.size, blocks)
        _CUDA.launch("totals<T, double>", x.dtype, (partial, sums, sums.size, blocks, width, 1), **launch)
        args = *sums, mean, rstd, gw, gb, n, channels, size
        _CUDA.launch("parameter_gradients", x.dtype, args, threads=channels)
        if moves:
            width, launch = _small_sums(mean.size, size)
            args = *sums, mean, rstd, weight, slope, offset, mean.size, size, width, height, channels
            _CUDA.launch("group_gradients", x.dtype, args, **launch)
    args = gy, x, y, relu, mean, rstd, weight, bias, slope, offset, gx, gresidual, *sizes
    _CUDA.launch("input_gradient", x.dtype, args, **cut)
