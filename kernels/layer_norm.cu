// Layer normalization: see layer_norm.py.
//
// A block has a row: its threads step over the row's elements together, and add up what they have over the block. The row is
// read twice or three times, from memory the first time, then from the cache, which a row of some thousand elements does not
// leave. The more elements, the more threads, so that each has a few.
//
// The gradients of weight and bias are sums over rows: there a block takes a tile of 32 columns by up to 128 rows. So gy and
// x are read from memory twice. To add to sums of all columns while the rows pass would read them once, but few rows
// at a time could be worked on then.
//
// Weight and bias are Real<T>: float beside rows of half.
//
// Roofline: 8 bytes, 8 operations per element forward; 20 bytes, 14 operations per element backward (float). Bound by memory.

#include "_common.cuh"

// For each of the thread's elements, of which there are `own`. Unrolled, so that it asks for four and then waits: a load takes
// hundreds of cycles. What is written is __restrict__ for the same reason: else it might be what is read next, and the next
// load would have to wait for it.
#define FOR_EACH_OF_ROW(k, own) \
  _Pragma("unroll 4") for (int step = 0, k = threadIdx.x; step < (own); step++, k += blockDim.x)

__device__ int own_elements(int columns) { return (columns - int(threadIdx.x) + int(blockDim.x) - 1) / int(blockDim.x); }

template <typename T>
__global__ void forward(const T* __restrict__ x, const Real<T>* __restrict__ weight, const Real<T>* __restrict__ bias,
                        T* __restrict__ y, double* mean, double* rstd, int columns, Real<T> eps) {
  const int own = own_elements(columns);
  x += blockIdx.x * columns;
  y += blockIdx.x * columns;
  // A mean that is right to a few digits, then the deviations from it, so that no digits cancel where the mean is large.
  const Real<T> share = Real<T>(1) / columns;  // the sum of shares does not overflow
  Real<T> about = 0, total = 0, squares = 0;
  FOR_EACH_OF_ROW(k, own) about += load(x + k) * share;
  about = block_reduce<Sum>(about);
  FOR_EACH_OF_ROW(k, own) {
    const Real<T> d = load(x + k) - about;
    total += d;
    squares += d * d;
  }
  total = block_reduce<Sum>(total);
  squares = block_reduce<Sum>(squares);
  const double low = double(total) / columns, rest = double(squares) / columns - low * low;
  const double r = 1 / sqrt((rest < 0 ? 0 : rest) + eps);  // a NaN stays
  const Real<T> scale = r, shift = low * r;
  FOR_EACH_OF_ROW(k, own) store(y + k, ((load(x + k) - about) * scale - shift) * weight[k] + bias[k]);
  if (threadIdx.x) return;
  mean[blockIdx.x] = isfinite(total) ? about + low : about;  // an infinite mean stays one: inf - inf is NaN
  rstd[blockIdx.x] = r;
}

// (x - mean) * rstd with the mean in two parts, as a float near 10,000 has steps of 0.001: x - high is exact for x near it.
template <typename T> struct Normal {
  Real<T> high, low, scale;
  __device__ Normal(double mean, double rstd)
      : high(mean), low(isfinite(mean) ? (mean - high) * rstd : 0), scale(rstd) {}
  __device__ Real<T> operator()(Real<T> x) const { return (x - high) * scale - low; }
};

// With h = gy * weight: gx = rstd * (h - mean of h - xhat * mean of h * xhat)
template <typename T>
__global__ void backward(const T* __restrict__ gy, const T* __restrict__ x, const Real<T>* __restrict__ weight,
                         const double* mean, const double* rstd, T* __restrict__ gx, int columns) {
  const int own = own_elements(columns);
  const Normal<T> normal(mean[blockIdx.x], rstd[blockIdx.x]);
  gy += blockIdx.x * columns;
  x += blockIdx.x * columns;
  gx += blockIdx.x * columns;
  Real<T> total = 0, products = 0;
  FOR_EACH_OF_ROW(k, own) {
    const Real<T> h = rounded_product(load(gy + k), weight[k]);
    total += h;
    products += h * normal(load(x + k));
  }
  const Real<T> a = block_reduce<Sum>(total) / columns, b = block_reduce<Sum>(products) / columns;
  FOR_EACH_OF_ROW(k, own) {
    const Real<T> h = rounded_product(load(gy + k), weight[k]);
    store(gx + k, normal.scale * (h - a - normal(load(x + k)) * b));
  }
}

// The tile's sums of gy * xhat and of gy in each column. Threads in x are columns, threads in y rows; the second launch that
// adds up the blocks' is the one of _channels.cu.
template <typename T>
__global__ void parameter_sums(const T* gy, const T* x, const double* mean, const double* rstd, double* sums_gw,
                               double* sums_gb, int rows, int columns, int blocks, int rows_of_block) {
  const int column = blockIdx.x / blocks * blockDim.x + threadIdx.x, block = blockIdx.x % blocks;
  const int end = column < columns ? min(rows, (block + 1) * rows_of_block) : 0;
  Real<T> w = 0, b = 0;
  for (int r = block * rows_of_block + threadIdx.y; r < end; r += blockDim.y) {
    const Real<T> g = load(gy + r * columns + column);
    w += g * Normal<T>(mean[r], rstd[r])(load(x + r * columns + column));
    b += g;
  }
  w = column_sum(w);
  b = column_sum(b);
  if (column >= columns || threadIdx.y) return;
  sums_gw[column * blocks + block] = w;
  sums_gb[column * blocks + block] = b;
}
