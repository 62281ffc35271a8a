// Moments, sums and affine maps per channel over rows: see _channels.py, and batch_norm.py and group_norm.py, which are
// the same thing here. Arrays are (sets, height, channels). Channels come in groups of `size` that share a mean; a batch norm
// is one set of groups of one channel, a group norm has a set per image. Of weights and biases there is one number per
// channel, so they cost no time, and are Real<T>: float beside rows of half.
//
// A block takes a tile: up to 32 channels of up to 16 * blockDim.y rows of a set. Threads in x are channels, which lie
// side by side in memory; threads in y are rows, of which each takes every blockDim.y-th. With few channels the tile is
// narrow and has many rows, and its threads still read one stretch of memory. The cut depends on sizes alone.
//
// What a block has added up, it writes as one number per channel; a second kernel adds those in double. Blocks that added to
// one number would need atomics, whose order nobody knows.
//
// All are bound by memory. Per element (float), with d = x - mean and g the gradient behind a ReLU:
//
//   moments         reads x                        4 bytes    5 operations
//   normalize       reads x, writes y              8 bytes    3
//   gradient_sums   reads gy, x [, y]              8 to 12    4 to 6
//   input_gradient  reads gy, x [, y], writes gx   12 to 20   4 to 6  (and writes gresidual)
//
// Roofline: 12 bytes, 8 operations per element forward; 20 to 32 bytes, 8 to 12 operations per element backward.

#include "_common.cuh"

constexpr int ROWS = 16;  // that a thread takes; _channels.py knows

// The thread's part of the block's tile: `own` rows of a set, from `first` in steps of `stride`, in one channel.
struct Tile {
  int set, block, channel;
  int channels, first, stride, own;
  int count;  // rows of the block
  int start;  // the index of the set's row 0 in the thread's channel

  __device__ Tile(int height, int all_channels, int blocks) : channels(all_channels), stride(blockDim.y) {
    const int tiles = (channels + blockDim.x - 1) / blockDim.x, rows = ROWS * stride;
    channel = blockIdx.x % tiles * blockDim.x + threadIdx.x;
    block = blockIdx.x / tiles % blocks;
    set = blockIdx.x / tiles / blocks;
    first = block * rows + threadIdx.y;
    count = min(rows, height - block * rows);
    own = exists() ? (count - int(threadIdx.y) + stride - 1) / stride : 0;
    start = set * height * channels + channel;
  }
  __device__ bool exists() const { return channel < channels; }  // the last tile may reach beyond
  __device__ int index(int i) const { return start + (first + i * stride) * channels; }
  // Where the block's number is written, and by whom. A channel's lie side by side, a group's too.
  __device__ bool writes() const { return exists() && threadIdx.y == 0; }
  __device__ int partial(int blocks) const { return (set * channels + channel) * blocks + block; }
};

// For the index of each of the thread's elements. Unrolled, so that it asks for four and then waits: a load takes hundreds
// of cycles. What is written is __restrict__ for the same reason: else it might be what is read next, and the next load
// would have to wait for it.
#define FOR_EACH_ELEMENT(at, tile) \
  _Pragma("unroll 4") for (int row = 0, at = tile.index(0); row < tile.own; row++, at += tile.stride * tile.channels)

// Small sums: `width` threads of a warp side by side, a power of two, have one item. Shuffles want all lanes of a warp, so
// those beyond the last item work on it again, and write nothing.
struct Lanes {
  int item, lane;
  bool within;
  __device__ Lanes(int count, int width) {
    const int thread = blockIdx.x * blockDim.x + threadIdx.x;
    lane = thread % width;
    within = thread / width < count;
    item = min(thread / width, count - 1);
  }
  __device__ bool writes() const { return within && lane == 0; }
};

// ---- sums ---------------------------------------------------------------------------------------------------------

template <typename T>
__global__ void sums(const T* x, double* partial, int height, int channels, int blocks) {
  const Tile tile(height, channels, blocks);
  Real<T> total = 0;
  FOR_EACH_ELEMENT(i, tile) total += load(x + i);
  total = column_sum(total);
  if (tile.writes()) partial[tile.partial(blocks)] = total;
}

// y[i] = sum over the parts of partial[i], divided: `width` threads side by side for each i
template <typename T, typename Y>
__global__ void totals(const double* partial, Y* y, int count, int parts, int width, int divisor) {
  const Lanes lanes(count, width);
  double total = 0;
  for (int part = lanes.lane; part < parts; part += width) total += partial[lanes.item * parts + part];
  total = warp_reduce<Sum>(total, width);
  if (lanes.writes()) store(y + lanes.item, Real<Y>(total / divisor));
}

// ---- moments ------------------------------------------------------------------------------------------------------

// The block's mean of each channel and its mean squared deviation. The tile is read once, into registers: first for a
// mean that is right to a few digits, then for the deviations from it. A sum of squares, less the square of the sum, would
// cancel away the digits of channels whose mean is large.
template <typename T>
__global__ void moments(const T* x, double* means, double* vars, int height, int channels, int blocks) {
  const Tile tile(height, channels, blocks);
  const Real<T> share = Real<T>(1) / tile.count;  // the sum of shares does not overflow
  Real<T> values[ROWS], about = 0, total = 0, squares = 0;
  #pragma unroll
  for (int i = 0; i < ROWS; i++) {
    values[i] = i < tile.own ? load(x + tile.index(i)) : 0;
    about += values[i] * share;
  }
  about = column_sum(about);
  #pragma unroll
  for (int i = 0; i < ROWS; i++) {
    const Real<T> d = i < tile.own ? values[i] - about : 0;
    total += d;
    squares += d * d;
  }
  total = column_sum(total);
  squares = column_sum(squares);
  if (!tile.writes()) return;
  const double mean = double(total) / tile.count, var = squares / tile.count - mean * mean;  // of the deviations
  means[tile.partial(blocks)] = isfinite(total) ? about + mean : about;  // an infinite mean stays one: inf - inf is NaN
  vars[tile.partial(blocks)] = var < 0 ? 0 : var;                         // a NaN stays
}

// The mean and the mean squared deviation of `height` rows out of those of parts of `rows` rows each, the last fewer.
// Chan, Golub & LeVeque 1983: with means m_b and variances v_b of parts of n_b rows,
//     mean = sum n_b m_b / n        var = sum n_b (v_b + (m_b - mean)^2) / n
// And rstd = 1 / sqrt(var + eps), where it is wanted.
template <typename T>
__global__ void combine_moments(const double* means, const double* vars, double* mean, double* var, double* rstd,
                                Real<T> eps, int count, int parts, int width, int rows, int height) {
  const Lanes lanes(count, width);
  const int first = lanes.item * parts;
  double total = 0, squares = 0;
  for (int part = lanes.lane; part < parts; part += width)
    total += min(rows, height - part * rows) * means[first + part];
  const double m = warp_reduce<Sum>(total, width) / height;
  for (int part = lanes.lane; part < parts; part += width) {
    const double d = means[first + part] - m;
    squares += min(rows, height - part * rows) * (vars[first + part] + d * d);
  }
  squares = warp_reduce<Sum>(squares, width);
  if (!lanes.writes()) return;
  mean[lanes.item] = m;
  var[lanes.item] = squares / height;
  if (rstd) rstd[lanes.item] = 1 / sqrt(squares / height + eps);
}

// running = (1 - momentum) * running + momentum * the batch's; of the variance with count / (count - 1)
template <typename T>
__global__ void update_running(const double* mean, const double* var, T* running_mean, T* running_var,
                               Real<T> correction, Real<T> momentum, int channels) {
  FOR_EACH(c, channels) {
    store(running_mean + c, (1 - momentum) * load(running_mean + c) + momentum * Real<T>(mean[c]));
    store(running_var + c, (1 - momentum) * load(running_var + c) + momentum * (Real<T>(var[c]) * correction));
  }
}

// ---- the affine map -----------------------------------------------------------------------------------------------

// A float near 10,000 has steps of 0.001, too coarse for the mean of such numbers. So x - mean is (x - high) - low with
// high + low = mean: the first difference is exact for x near the mean, the second goes into a constant of the channel.
template <typename T> struct Affine {
  Real<T> high, scale, shift;
  __device__ Affine(int group, int channel, const double* mean, const double* rstd, const Real<T>* weight,
                    const Real<T>* bias) {
    high = mean[group], scale = rstd[group] * weight[channel];
    shift = (bias ? bias[channel] : 0) - (mean[group] - high) * rstd[group] * weight[channel];
  }
  __device__ Real<T> operator()(Real<T> d) const { return d * scale + shift; }  // of d = x - high
};

template <typename T>
__global__ void normalize(const T* __restrict__ x, const double* mean, const double* rstd, const Real<T>* weight,
                          const Real<T>* bias, const T* __restrict__ residual, T* __restrict__ y, int height,
                          int channels, int blocks, int size, bool relu) {
  const Tile tile(height, channels, blocks);
  if (!tile.exists()) return;
  const Affine<T> map((tile.set * channels + tile.channel) / size, tile.channel, mean, rstd, weight, bias);
  FOR_EACH_ELEMENT(i, tile) {
    Real<T> value = map(load(x + i) - map.high);
    if (residual) value += load(residual + i);
    store(y + i, relu && value <= 0 ? 0 : value);
  }
}

// ---- the gradient -------------------------------------------------------------------------------------------------

// The gradient behind a ReLU: 0 where that gave 0. If y is null, what it gave is computed anew, as normalize did it; to
// read it would take as long as another of the arrays.
template <typename T>
__device__ Real<T> gradient(const T* gy, const T* y, bool relu, const Affine<T>& map, Real<T> d, int i) {
  const Real<T> g = load(gy + i);
  return relu && (y ? load(y + i) : map(d)) <= 0 ? 0 : g;
}

// The block's sums of g and of g * (x - high) in each channel.
template <typename T>
__global__ void gradient_sums(const T* gy, const T* x, const T* y, bool relu, const double* mean, const double* rstd,
                              const Real<T>* weight, const Real<T>* bias, double* sums_g, double* sums_gd, int height,
                              int channels, int blocks, int size) {
  const Tile tile(height, channels, blocks);
  const int channel = min(tile.channel, channels - 1);
  const Affine<T> map((tile.set * channels + channel) / size, channel, mean, rstd, weight, bias);
  Real<T> total = 0, products = 0;
  FOR_EACH_ELEMENT(i, tile) {
    const Real<T> d = load(x + i) - map.high, g = gradient(gy, y, relu, map, d, i);
    total += g;
    products += g * d;
  }
  total = column_sum(total);
  products = column_sum(products);
  if (!tile.writes()) return;
  sums_g[tile.partial(blocks)] = total;
  sums_gd[tile.partial(blocks)] = products;
}

// What is left of a mean beyond `high`. With it, the sum of g * (x - mean) is that of g * (x - high) less low * sum of g.
template <typename T> __device__ double low(double mean) { return mean - Real<T>(mean); }

// Of a batch norm, whose sets are one and whose groups are channels: gw, gb and, where x moves the statistics, slope and
// offset, out of the blocks' sums. `width` threads side by side for each channel.
//     gb = sum of g    gw = rstd * sum of g * (x - mean)    offset = rstd * weight * gb / n    slope = rstd^2 * weight * gw / n
template <typename T>
__global__ void channel_gradients(const double* sums_g, const double* sums_gd, const double* mean, const double* rstd,
                                  const Real<T>* weight, Real<T>* gw, Real<T>* gb, double* slope, double* offset,
                                  int channels, int parts, int width, int height) {
  const Lanes lanes(channels, width);
  const int channel = lanes.item, first = channel * parts;
  double total = 0, products = 0;
  for (int part = lanes.lane; part < parts; part += width) {
    total += sums_g[first + part];
    products += sums_gd[first + part];
  }
  total = warp_reduce<Sum>(total, width);
  products = warp_reduce<Sum>(products, width) - low<T>(mean[channel]) * total;
  if (!lanes.writes()) return;
  const double r = rstd[channel], share = r * weight[channel] / height;
  gb[channel] = total;
  gw[channel] = r * products;
  if (!slope) return;
  offset[channel] = share * total;
  slope[channel] = share * r * r * products;
}

// What the mean and the variance of each group pass on to its input, out of the sums of its `size` channels:
//     offset = rstd * sum of weight * g / n        slope = rstd^3 * sum of weight * g * (x - mean) / n
template <typename T>
__global__ void group_gradients(const double* sum_g, const double* sum_gd, const double* mean, const double* rstd,
                                const Real<T>* weight, double* slope, double* offset, int count, int size, int width,
                                int height, int channels) {
  const Lanes lanes(count, width);
  double total = 0, products = 0;
  for (int k = lanes.lane; k < size; k += width) {
    const int channel = lanes.item * size + k;  // of those of all sets
    const double w = weight[channel % channels];
    total += w * sum_g[channel];
    products += w * (sum_gd[channel] - low<T>(mean[lanes.item]) * sum_g[channel]);
  }
  total = warp_reduce<Sum>(total, width);
  products = warp_reduce<Sum>(products, width);
  if (!lanes.writes()) return;
  const double r = rstd[lanes.item], elements = double(height) * size;
  offset[lanes.item] = r * total / elements;
  slope[lanes.item] = r * r * r * products / elements;
}

// gb = sum over the sets of sum_g, and gw = that of rstd times the sum of g * (x - mean); a thread for each channel
template <typename T>
__global__ void parameter_gradients(const double* sum_g, const double* sum_gd, const double* mean, const double* rstd,
                                    Real<T>* gw, Real<T>* gb, int sets, int channels, int size) {
  FOR_EACH(c, channels) {
    double w = 0, b = 0;
    for (int set = 0; set < sets; set++) {
      const int i = set * channels + c, group = i / size;
      w += rstd[group] * (sum_gd[i] - low<T>(mean[group]) * sum_g[i]);
      b += sum_g[i];
    }
    gw[c] = w;
    gb[c] = b;
  }
}

// gx = rstd * weight * g - (x - mean) * slope - offset, the latter two where x moves the statistics; gresidual = g
template <typename T>
__global__ void input_gradient(const T* __restrict__ gy, const T* __restrict__ x, const T* __restrict__ y, bool relu,
                               const double* mean, const double* rstd, const Real<T>* weight, const Real<T>* bias,
                               const double* slope, const double* offset, T* __restrict__ gx, T* __restrict__ gresidual,
                               int height, int channels, int blocks, int size) {
  const Tile tile(height, channels, blocks);
  if (!tile.exists()) return;
  const int group = (tile.set * channels + tile.channel) / size;
  const Affine<T> map(group, tile.channel, mean, rstd, weight, bias);
  const Real<T> a = slope ? slope[group] : 0;
  const Real<T> b = slope ? offset[group] - (mean[group] - map.high) * slope[group] : 0;
  FOR_EACH_ELEMENT(i, tile) {
    const Real<T> d = load(x + i) - map.high, g = gradient(gy, y, relu, map, d, i);
    store(gx + i, slope ? map.scale * g - (d * a + b) : map.scale * g);
    if (gresidual) store(gresidual + i, g);
  }
}
