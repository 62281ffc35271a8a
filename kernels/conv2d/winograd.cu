// 3×3 convolutions by Winograd's algorithm, F(4×4, 3×3): winograd.py says what it is, _cook_toom.py why it is right.
//
// Three stages, each a pass over memory. A tile is 4×4 outputs, and the 6×6 pixels they see.
//
//   pixels            V[k, t, c] = (B^T x B)[k]        k = 0 … 35, t a tile
//   cuBLAS            M[k] = V[k] U[k]                 36 matrix products
//   outputs           y tile = A^T M A + bias
//
// and for the weights' gradient, the adjoint of each: D = A gy A^T, dU[k] = V[k]^T D[k], gw = G^T dU G.
//
// 36 products in place of 144, but V and M are 2.25 times as large as x and y, and each is written and read. So it is
// for many channels: the products grow with their square, V and M with their number (gpu.py says from how many on).
//
// A thread transforms one channel of one tile, in registers; its neighbour has the next channel. So a warp reads 32
// neighbouring channels of a pixel and writes 32 of V. Nothing is shared between threads. All stages are bound by
// memory. What lies between the stages is Real<T>: in half, V would lose what the sums then miss.
//
// The transforms are those of _cook_toom.py at the points 0, ±p, ±q and infinity, p = 2/3, q = 3/2, written out: the
// rows of +p and -p have the same even part and opposite odd parts. As p q = 1, the row of 0 needs no factor.

#include "_common.cuh"

template <typename R> constexpr R p = R(2) / 3;
template <typename R> constexpr R q = R(3) / 2;
template <typename R> constexpr R pp = p<R> * p<R>;
template <typename R> constexpr R qq = q<R> * q<R>;
// 1 over the product of the distances from ±p to the other points, and from ±q.
template <typename R> constexpr R per_p = 1 / (2 * pp<R> * (pp<R> - qq<R>));
template <typename R> constexpr R per_q = 1 / (2 * qq<R> * (qq<R> - pp<R>));

// ---- in one dimension: from n numbers, `step` apart, to m, at the same distance ------------------------------------

struct Pixels {  // B^T, 6 × 6
  static constexpr int from = 6, to = 6;
  template <typename R> static __device__ void apply(const R* d, int step, R* v) {
    const R d0 = d[0], d1 = d[step], d2 = d[2 * step], d3 = d[3 * step], d4 = d[4 * step], d5 = d[5 * step];
    const R even_p = d4 - qq<R> * d2, odd_p = p<R> * (d3 - qq<R> * d1);
    const R even_q = d4 - pp<R> * d2, odd_q = q<R> * (d3 - pp<R> * d1);
    v[0] = d0 - (pp<R> + qq<R>) * d2 + d4;
    v[step] = even_p + odd_p;
    v[2 * step] = even_p - odd_p;
    v[3 * step] = even_q + odd_q;
    v[4 * step] = even_q - odd_q;
    v[5 * step] = d1 - (pp<R> + qq<R>) * d3 + d5;
  }
};

struct Outputs {  // A^T, 4 × 6: the polynomial's values at ±p, ±q, times the powers of the points
  static constexpr int from = 6, to = 4;
  template <typename R> static __device__ void apply(const R* m, int step, R* y) {
    const R even_p = m[step] + m[2 * step], odd_p = m[step] - m[2 * step];
    const R even_q = m[3 * step] + m[4 * step], odd_q = m[3 * step] - m[4 * step];
    const R m0 = m[0], m5 = m[5 * step];
    y[0] = m0 + even_p + even_q;
    y[step] = p<R> * odd_p + q<R> * odd_q;
    y[2 * step] = pp<R> * even_p + qq<R> * even_q;
    y[3 * step] = pp<R> * p<R> * odd_p + qq<R> * q<R> * odd_q + m5;
  }
};

struct Spread {  // A, 6 × 4
  static constexpr int from = 4, to = 6;
  template <typename R> static __device__ void apply(const R* y, int step, R* d) {
    const R y0 = y[0], y1 = y[step], y2 = y[2 * step], y3 = y[3 * step];
    const R even_p = y0 + pp<R> * y2, odd_p = p<R> * (y1 + pp<R> * y3);
    const R even_q = y0 + qq<R> * y2, odd_q = q<R> * (y1 + qq<R> * y3);
    d[0] = y0;
    d[step] = even_p + odd_p;
    d[2 * step] = even_p - odd_p;
    d[3 * step] = even_q + odd_q;
    d[4 * step] = even_q - odd_q;
    d[5 * step] = y3;
  }
};

struct Windows {  // G, 6 × 3
  static constexpr int from = 3, to = 6;
  template <typename R> static __device__ void apply(const R* g, int step, R* u) {
    const R g0 = g[0], g1 = g[step], g2 = g[2 * step];
    u[0] = g0;
    u[step] = per_p<R> * (g0 + pp<R> * g2 + p<R> * g1);
    u[2 * step] = per_p<R> * (g0 + pp<R> * g2 - p<R> * g1);
    u[3 * step] = per_q<R> * (g0 + qq<R> * g2 + q<R> * g1);
    u[4 * step] = per_q<R> * (g0 + qq<R> * g2 - q<R> * g1);
    u[5 * step] = g2;
  }
};

struct Gather {  // G^T, 3 × 6
  static constexpr int from = 6, to = 3;
  template <typename R> static __device__ void apply(const R* u, int step, R* g) {
    const R even_p = per_p<R> * (u[step] + u[2 * step]), odd_p = per_p<R> * (u[step] - u[2 * step]);
    const R even_q = per_q<R> * (u[3 * step] + u[4 * step]), odd_q = per_q<R> * (u[3 * step] - u[4 * step]);
    const R u0 = u[0], u5 = u[5 * step];
    g[0] = u0 + even_p + even_q;
    g[step] = p<R> * odd_p + q<R> * odd_q;
    g[2 * step] = pp<R> * even_p + qq<R> * even_q + u5;
  }
};

// In two dimensions, in place: all rows, then all columns. The square is 6 × 6, its corner is what is used.
template <typename Transform, typename R> __device__ void transform(R (&square)[36]) {
  #pragma unroll
  for (int row = 0; row < Transform::from; row++) Transform::apply(square + 6 * row, 1, square + 6 * row);
  #pragma unroll
  for (int column = 0; column < Transform::to; column++) Transform::apply(square + column, 6, square + column);
}

// ---- tiles ---------------------------------------------------------------------------------------------------------

// Tile t of a batch of images: the image, and its first row and column of outputs.
struct Tile {
  int image, row, column;
  __device__ Tile(int t, int height, int width) {
    const int down = (height + 3) / 4, across = (width + 3) / 4;
    image = t / (down * across), row = t / across % down * 4, column = t % across * 4;
  }
};

// to[k, t, c] for the tiles first … first + tiles - 1 of an output (N, out_height, out_width, …): the pixels that a
// tile sees, 0 beyond the image, transformed.
template <typename Transform, typename T>
__device__ void transform_tiles(const T* x, Real<T>* to, int first, int tiles, int height, int width, int c,
                                int out_height, int out_width, int padding_h, int padding_w) {
  FOR_EACH(i, tiles * c) {
    const int channel = i % c;
    const Tile tile(first + i / c, out_height, out_width);
    Real<T> square[36];
    #pragma unroll
    for (int k = 0; k < 36; k++) {
      const int row = tile.row - padding_h + k / 6, column = tile.column - padding_w + k % 6;
      const bool inside = k / 6 < Transform::from && k % 6 < Transform::from && row >= 0 && row < height &&
                          column >= 0 && column < width;
      square[k] = inside ? load(x + ((tile.image * height + row) * width + column) * c + channel) : 0;
    }
    transform<Transform>(square);
    #pragma unroll
    for (int k = 0; k < 36; k++) to[k * tiles * c + i] = square[k];
  }
}

// V, of the input's pixels.
//
// Roofline: 4 (x + 2.25 x) bytes for float, 12 operations per element of V.
template <typename T>
__global__ void pixels(const T* x, Real<T>* v, int first, int tiles, int height, int width, int c, int out_height,
                       int out_width, int padding_h, int padding_w) {
  transform_tiles<Pixels>(x, v, first, tiles, height, width, c, out_height, out_width, padding_h, padding_w);
}

// D, of the output's gradient.
//
// Roofline: 4 (gy + 2.25 gy) bytes for float, 8 operations per element of D.
template <typename T>
__global__ void spread(const T* gy, Real<T>* d, int first, int tiles, int height, int width, int o) {
  transform_tiles<Spread>(gy, d, first, tiles, height, width, o, height, width, 0, 0);
}

// y, of M; bias may be null.
//
// Roofline: 4 (2.25 y + y) bytes for float, 24 operations per element of y.
template <typename T>
__global__ void outputs(const Real<T>* m, const T* bias, T* y, bool relu, int first, int tiles, int height, int width,
                        int o) {
  FOR_EACH(i, tiles * o) {
    const int channel = i % o;
    const Tile tile(first + i / o, height, width);
    Real<T> square[36];
    #pragma unroll
    for (int k = 0; k < 36; k++) square[k] = m[k * tiles * o + i];
    transform<Outputs>(square);
    const Real<T> start = bias ? load(bias + channel) : 0;
    #pragma unroll
    for (int k = 0; k < 16; k++) {
      const int row = tile.row + k / 4, column = tile.column + k % 4;
      const Real<T> value = square[k / 4 * 6 + k % 4] + start;
      if (row < height && column < width)
        store(y + ((tile.image * height + row) * width + column) * o + channel, relu && value <= 0 ? 0 : value);
    }
  }
}

// ---- weights -------------------------------------------------------------------------------------------------------

// U[k, c, o] of the window (c, o): w (3, 3, C, O). turned: as input_grad wants them, U[k, o, c], the last tap first.
// Neighbouring threads write neighbours; turned, what they read lies a row of O apart, and 8 of a stretch of 32 bytes come
// from the cache. cuBLAS could take U as it is, but CuPy would copy each stack of transposed matrices for it.
//
// Roofline: 4 (9 + 36) bytes for float and 190 operations per pair.
template <typename T> __global__ void windows(const T* w, Real<T>* u, bool turned, int c, int o) {
  const int pairs = c * o;
  FOR_EACH(i, pairs) {
    const int from = turned ? i % c * o + i / c : i;
    Real<T> square[36];
    #pragma unroll
    for (int k = 0; k < 9; k++) square[k / 3 * 6 + k % 3] = load(w + (turned ? 8 - k : k) * pairs + from);
    transform<Windows>(square);
    #pragma unroll
    for (int k = 0; k < 36; k++) u[k * pairs + i] = square[k];
  }
}

// gw (3, 3, C, O) of dU.
//
// Roofline: 4 (36 + 9) bytes for float and 150 operations per pair.
template <typename T> __global__ void gather(const Real<T>* u, T* gw, int pairs) {
  FOR_EACH(i, pairs) {
    Real<T> square[36];
    #pragma unroll
    for (int k = 0; k < 36; k++) square[k] = u[k * pairs + i];
    transform<Gather>(square);
    #pragma unroll
    for (int k = 0; k < 9; k++) store(gw + k * pairs + i, square[k / 3 * 6 + k % 3]);
  }
}
