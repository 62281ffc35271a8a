// Two-dimensional convolution, its input's gradient and its weights' gradient: see __init__.py.
//
// Each is a matrix product whose matrices are not in memory: an "implicit GEMM" (Chetlur et al. 2014, "cuDNN: efficient
// primitives for deep learning").
//
//                 rows                columns     summed axis
//   forward       pixels of y         o           taps (u, v) and channels c
//   input_grad    pixels of gx        c           taps (u, v) and channels o
//   weight_grad   (u, v, c)           o           pixels of gy
//
// The left matrix of `forward` is an image of patches: the element (pixel, (u, v, c)) is the pixel of x that the tap
// (u, v) meets there. It would be KH * KW times as large as x. So it is never written: a block finds its elements in x.
//
// A block of 256 threads makes a tile of the product, 16 S rows by 16 W columns; a thread makes S × W of its elements, in
// registers. In steps of 8 along the summed axis the block copies a strip of each matrix to shared memory, each thread
// S/2 and W/2 elements; then each thread takes a column of S and a row of W from there and adds up their S × W products.
//
// Why so. An H100 has time for 20 operations per byte of its memory, and a product of two numbers straight out of
// memory needs 8 bytes for 2. A tile of 128 × 128 (S = W = 8) reads 2 · 128 elements for 128 · 128 products: 32
// operations per byte. Out of shared memory a thread reads 2 · 8 numbers for 64 products. With S = W = 4 both are half as
// good, but there are four times as many blocks: better where the large ones would not fill the device. With W = 4 alone
// no product is wasted on columns that 64 channels do not have.
//
// There are two copies of the strips. While all work on one, each thread has the elements of the next strip on their
// way from memory, in registers; it writes them to the other copy, where nobody reads. So one barrier per step will do.

#include "_common.cuh"

constexpr int kThreads = 256, kDeep = 8;
// Blocks that a multiprocessor is to hold at a time, so that one computes while the other waits at its barrier. The
// compiler then gives a thread 128 registers at most; of 64 sums in double it needs twice as many.
template <typename T> constexpr int kBlocks = sizeof(T) == 8 ? 1 : 2;

constexpr int kBeyond = -(1 << 30);  // a row of no image

struct Pair { int rows, columns; };

// ---- who does what in a block --------------------------------------------------------------------------------------
//
// Threads stand in 16 rows of 16, and a thread's elements in squares of 4 × 4: those of its neighbour follow at once,
// the thread's own next square 64 further on. So the 16 threads of a row read 64 neighbouring numbers of shared memory,
// 16 bytes each: no bank is asked twice at a time.

__device__ int element_of(int thread, int i) { return i / 4 * 64 + thread * 4 + i % 4; }
__device__ int row_in_tile(int i) { return element_of(threadIdx.x / 16, i); }
__device__ int column_in_tile(int j) { return element_of(threadIdx.x % 16, j); }

// Who fetches what: one place of the summed axis, and every 32nd line (row of the left matrix, column of the right
// one). A warp should read memory that lies together. Where memory runs along the summed axis, 8 threads take the 8
// places of a line, which are 32 bytes, the least that memory gives; where it runs across, the warp takes 32
// neighbouring lines.

struct AlongSum {
  static __device__ int place() { return threadIdx.x % 8; }
  static __device__ int line(int i) { return threadIdx.x / 8 + 32 * i; }
};
struct AcrossSum {
  static __device__ int place() { return threadIdx.x / 32; }
  static __device__ int line(int i) { return threadIdx.x % 32 + 32 * i; }
};

// ---- the matrices --------------------------------------------------------------------------------------------------
//
// Each fetches a thread's elements of the strip where it stands, zeros beyond the end, and moves one strip on. To move,
// it counts as an odometer does, with a carry: a division costs as much as twenty additions.

// A place of the summed axis (u, v, c): tap and channel.
struct Tap {
  Pair count;
  int channels, u = 0, v = 0, c;
  __device__ Tap(Pair count, int channels) : count(count), channels(channels), c(AlongSum::place()) { carry(); }
  __device__ bool exists() const { return u < count.rows; }
  __device__ void advance() {
    c += kDeep;
    carry();
  }
  __device__ void carry() {
    for (; c >= channels && exists(); c -= channels)
      if (++v == count.columns) v = 0, u++;
  }
};

// Rows: the pixels (n, i, j) of a batch of grids. Element (pixel, (u, v, c)): image[n, i*stride + origin + u*step, …,
// c], 0 beyond the image.
template <typename T, int S> struct Patches : AlongSum {
  const T* image;
  Pair size, step;
  int pitch;  // elements from pixel to pixel
  int top[S / 2], row[S / 2], column[S / 2];  // of each line: image * height, and the first tap's pixel
  Tap tap;

  __device__ Patches(const T* image, int batch, Pair size, int pitch, int channels, Pair grid, Pair stride, Pair origin,
                     Pair step, Pair taps)
      : image(image), size(size), step(step), pitch(pitch), tap(taps, channels) {
    for (int i = 0; i < S / 2; i++) {
      const int pixel = blockIdx.x * 16 * S + line(i), n = pixel / (grid.rows * grid.columns);
      top[i] = n * size.rows;
      row[i] = n < batch ? pixel / grid.columns % grid.rows * stride.rows + origin.rows : kBeyond;
      column[i] = pixel % grid.columns * stride.columns + origin.columns;
    }
  }
  __device__ void fetch(Real<T> (&values)[S / 2]) {
    for (int i = 0; i < S / 2; i++) {
      const int r = row[i] + tap.u * step.rows, q = column[i] + tap.v * step.columns;
      const bool inside = tap.exists() && r >= 0 && r < size.rows && q >= 0 && q < size.columns;
      values[i] = inside ? load(image + ((top[i] + r) * size.columns + q) * pitch + tap.c) : 0;
    }
    tap.advance();
  }
};

// The same elements the other way: rows (u, v, c), the summed axis is the pixels from `first` to `last`.
template <typename T, int S> struct PatchesAcross : AcrossSum {
  const T* image;
  Pair size, grid, stride;
  int pitch, pixel, last, n, i, j;  // the pixel of the summed axis where it stands: its number, and (n, i, j)
  int row[S / 2], column[S / 2], channel[S / 2];  // of each line: the pixel that its tap meets for (i, j) = (0, 0)

  __device__ PatchesAcross(const T* image, Pair size, int pitch, int channels, Pair grid, Pair stride, Pair padding,
                           Pair dilation, Pair taps, int first, int last)
      : image(image), size(size), grid(grid), stride(stride), pitch(pitch), pixel(first + place()), last(last) {
    n = pixel / (grid.rows * grid.columns), i = pixel / grid.columns % grid.rows, j = pixel % grid.columns;
    for (int k = 0; k < S / 2; k++) {
      const int number = blockIdx.x * 16 * S + line(k), tap = number / channels;
      row[k] = tap < taps.rows * taps.columns ? tap / taps.columns * dilation.rows - padding.rows : kBeyond;
      column[k] = tap % taps.columns * dilation.columns - padding.columns;
      channel[k] = number % channels;
    }
  }
  __device__ void fetch(Real<T> (&values)[S / 2]) {
    for (int k = 0; k < S / 2; k++) {
      const int r = row[k] + i * stride.rows, q = column[k] + j * stride.columns;
      const bool inside = pixel < last && r >= 0 && r < size.rows && q >= 0 && q < size.columns;
      values[k] = inside ? load(image + ((n * size.rows + r) * size.columns + q) * pitch + channel[k]) : 0;
    }
    pixel += kDeep;
    for (j += kDeep; j >= grid.columns; j -= grid.columns)
      if (++i == grid.rows) i = 0, n++;
  }
};

// A matrix in memory, its lines side by side: element (k, line) = matrix[k * pitch + line], for k from `first` to
// `last`.
template <typename T, int W> struct Matrix : AcrossSum {
  const T* matrix;
  int pitch, lines, k, last;

  __device__ Matrix(const T* matrix, int pitch, int lines, int first, int last)
      : matrix(matrix), pitch(pitch), lines(lines), k(first + place()), last(last) {}
  __device__ void fetch(Real<T> (&values)[W / 2]) {
    for (int i = 0; i < W / 2; i++) {
      const int at = blockIdx.y * 16 * W + line(i);
      values[i] = k < last && at < lines ? load(matrix + k * pitch + at) : 0;
    }
    k += kDeep;
  }
};

// Weights as input_grad takes them. Lines: channels c. Element ((u, v, o), c) = w[first + (u, v) * every, c, o].
template <typename T, int W> struct Weights : AlongSum {
  const T* w;
  Pair first, every;
  int columns, lines, pitch;  // taps in a row of the kernel; c and o of the whole array
  Tap tap;

  __device__ Weights(const T* w, int columns, int lines, int pitch, int channels, Pair first, Pair every, Pair taps)
      : w(w), first(first), every(every), columns(columns), lines(lines), pitch(pitch), tap(taps, channels) {}
  __device__ void fetch(Real<T> (&values)[W / 2]) {
    const int at = (first.rows + tap.u * every.rows) * columns + first.columns + tap.v * every.columns;
    for (int i = 0; i < W / 2; i++) {
      const int c = blockIdx.y * 16 * W + line(i);
      values[i] = tap.exists() && c < lines ? load(w + (at * lines + c) * pitch + tap.c) : 0;
    }
    tap.advance();
  }
};

// ---- the product ---------------------------------------------------------------------------------------------------

// sums[i][j] += sum over k < count of a(row i, k) * b(k, column j), for the thread's rows and columns of the block's
// tile.
template <int S, int W, typename R, typename A, typename B>
__device__ void multiply(A a, B b, int count, R (&sums)[S][W]) {
  // Lines of 4 more than the tile: the 8 places and 4 lines that a warp writes at a time are in 32 different banks.
  __align__(16) __shared__ R strip_a[2][kDeep][16 * S + 4];
  __align__(16) __shared__ R strip_b[2][kDeep][16 * W + 4];
  R next_a[S / 2], next_b[W / 2];
  a.fetch(next_a);
  b.fetch(next_b);
  for (int step = 0; step * kDeep < count; step++) {
    R(&left)[kDeep][16 * S + 4] = strip_a[step % 2];
    R(&right)[kDeep][16 * W + 4] = strip_b[step % 2];
    #pragma unroll
    for (int i = 0; i < S / 2; i++) left[A::place()][A::line(i)] = next_a[i];
    #pragma unroll
    for (int j = 0; j < W / 2; j++) right[B::place()][B::line(j)] = next_b[j];
    __syncthreads();  // all of the strip is there; and all have done with the other
    if ((step + 1) * kDeep < count) {
      a.fetch(next_a);
      b.fetch(next_b);
    }
    constexpr int kUnrolled = S * W < 64 ? kDeep : 1;  // 64 sums and a second column and row take over 128 registers
    #pragma unroll kUnrolled
    for (int k = 0; k < kDeep; k++) {
      R of_a[S];
      #pragma unroll
      for (int i = 0; i < S; i++) of_a[i] = left[k][row_in_tile(i)];
      #pragma unroll
      for (int j = 0; j < W; j++) {
        const R of_b = right[k][column_in_tile(j)];
        #pragma unroll
        for (int i = 0; i < S; i++) sums[i][j] += of_a[i] * of_b;
      }
    }
  }
}

// sums[i][j] = start[column j], or 0 where start is null.
template <int S, int W, typename T> __device__ void begin(Real<T> (&sums)[S][W], const T* start, int columns) {
  #pragma unroll
  for (int j = 0; j < W; j++) {
    const int column = blockIdx.y * 16 * W + column_in_tile(j);
    const Real<T> value = start && column < columns ? load(start + column) : 0;
    #pragma unroll
    for (int i = 0; i < S; i++) sums[i][j] = value;
  }
}

// ---- the kernels ---------------------------------------------------------------------------------------------------
//
// Of a grid, x counts tiles of rows, y tiles of columns, z groups and what else there is.

// y[n, i, j, o] = bias[o] + sum over u, v, c of x[n, i*stride - padding + u*dilation, …, c] * w[u, v, c, o]
//
// Roofline: 4 (x + w + y) bytes for float, 2 KH KW C/groups operations per element of y.
template <typename T, int S, int W>
__global__ void __launch_bounds__(kThreads, kBlocks<T>)
forward(const T* x, const T* w, const T* bias, T* y, bool relu, int batch, int height, int width, int c, int out_height,
        int out_width, int o, int kh, int kw, int stride_h, int stride_w, int padding_h, int padding_w, int dilation_h,
        int dilation_w, int groups) {
  const int group = blockIdx.z, in = c / groups, out = o / groups, pixels = batch * out_height * out_width;
  const Patches<T, S> patches(x + group * in, batch, {height, width}, c, in, {out_height, out_width},
                              {stride_h, stride_w}, {-padding_h, -padding_w}, {dilation_h, dilation_w}, {kh, kw});
  const Matrix<T, W> weights(w + group * out, o, out, 0, kh * kw * in);
  Real<T> sums[S][W];
  begin(sums, bias + group * out, out);
  multiply(patches, weights, kh * kw * in, sums);
  if (relu)  // apart from the stores: together they take 20 registers more
    #pragma unroll
    for (int i = 0; i < S; i++)
      #pragma unroll
      for (int j = 0; j < W; j++) sums[i][j] = sums[i][j] <= 0 ? 0 : sums[i][j];
  #pragma unroll
  for (int i = 0; i < S; i++) {
    const int row = blockIdx.x * 16 * S + row_in_tile(i);
    #pragma unroll
    for (int j = 0; j < W; j++) {
      const int column = blockIdx.y * 16 * W + column_in_tile(j);
      if (row < pixels && column < out)
        store(y + row * o + group * out + column, sums[i][j]);
    }
  }
}

// The pixels of one residue class of gx along an axis, and the taps that they meet. Pixel i receives from output q by
// tap u where i + padding = q * stride + u * dilation. So taps and pixels with the same remainder by stride meet, and
// no others: of a stride of 2 in both directions, each pixel meets a quarter of the taps. With pixels first, first +
// stride, … and taps tap, tap + every, … it is q = origin + (number of the pixel) + step * (number of the tap): a
// convolution again, of stride 1 and with step for its dilation.
struct Class {
  int first, pixels, tap, taps, origin;
  __device__ Class(int remainder, int size, int taps_in_all, int stride, int padding, int dilation, int every) {
    first = ((remainder - padding) % stride + stride) % stride;
    pixels = first < size ? (size - 1 - first) / stride + 1 : 0;
    for (tap = 0; tap < every && tap * dilation % stride != remainder;) tap++;
    taps = tap < every && tap < taps_in_all ? (taps_in_all - 1 - tap) / every + 1 : 0;
    origin = (first + padding - tap * dilation) / stride;
  }
};

// gx[n, p, r, c] = start[c] + sum of gy[n, i, j, o] * w[u, v, c, o] over the outputs that saw the pixel; start may be
// null. every: stride / gcd(stride, dilation), the distance between taps of a class.
//
// Roofline: 4 (gy + w + gx) bytes for float, 2 KH KW C/groups operations per element of gy.
template <typename T, int S, int W>
__global__ void __launch_bounds__(kThreads, kBlocks<T>)
input_grad(const T* start, const T* gy, const T* w, T* gx, int batch, int height, int width, int c, int out_height,
           int out_width, int o, int kh, int kw, int stride_h, int stride_w, int padding_h, int padding_w,
           int dilation_h, int dilation_w, int every_h, int every_w, int groups) {
  const int group = blockIdx.z % groups, number = blockIdx.z / groups, in = c / groups, out = o / groups;
  const Class rows(number / stride_w, height, kh, stride_h, padding_h, dilation_h, every_h);
  const Class columns(number % stride_w, width, kw, stride_w, padding_w, dilation_w, every_w);
  const int pixels = batch * rows.pixels * columns.pixels;
  if (int(blockIdx.x) * 16 * S >= pixels) return;  // the grid is for the largest class
  const Pair grid = {rows.pixels, columns.pixels}, taps = {rows.taps, columns.taps};
  const Pair step = {-dilation_h * every_h / stride_h, -dilation_w * every_w / stride_w};
  Real<T> sums[S][W];
  begin(sums, start ? start + group * in : nullptr, in);
  if (rows.taps > 0 && columns.taps > 0)
    multiply(Patches<T, S>(gy + group * out, batch, {out_height, out_width}, o, out, grid, {1, 1},
                           {rows.origin, columns.origin}, step, taps),
             Weights<T, W>(w + group * out, kw, in, o, out, {rows.tap, columns.tap}, {every_h, every_w}, taps),
             taps.rows * taps.columns * out, sums);
  #pragma unroll
  for (int i = 0; i < S; i++)
    #pragma unroll
    for (int j = 0; j < W; j++) {
      const int row = blockIdx.x * 16 * S + row_in_tile(i), column = blockIdx.y * 16 * W + column_in_tile(j);
      if (row >= pixels || column >= in) continue;
      const int n = row / (grid.rows * grid.columns), p = rows.first + row / grid.columns % grid.rows * stride_h;
      const int r = columns.first + row % grid.columns * stride_w;
      store(gx + ((n * height + p) * width + r) * c + group * in + column, sums[i][j]);
    }
}

// parts[part, u, v, c, o] = sum over the pixels of a part of x[n, i*stride - padding + u*dilation, …, c] * gy[n, i, j,
// o]
//
// The gradient is small and its sums are long: the tiles of gw alone would not fill a device. So the pixels are cut
// into parts, by sizes alone, and add_parts() adds up in their order what each part gives: the same bits every time.
//
// Roofline: 4 (x + gy + parts * gw) bytes for float, 2 pixels operations per element of gw.
template <typename T, int S, int W>
__global__ void __launch_bounds__(kThreads, kBlocks<T>)
weight_grad(const T* x, const T* gy, Real<T>* parts, int pixels_per_part, int batch, int height, int width, int c,
            int out_height, int out_width, int o, int kh, int kw, int stride_h, int stride_w, int padding_h,
            int padding_w, int dilation_h, int dilation_w, int groups) {
  const int group = blockIdx.z % groups, part = blockIdx.z / groups, in = c / groups, out = o / groups;
  const int first = part * pixels_per_part, last = min(first + pixels_per_part, batch * out_height * out_width);
  const PatchesAcross<T, S> patches(x + group * in, {height, width}, c, in, {out_height, out_width},
                                    {stride_h, stride_w}, {padding_h, padding_w}, {dilation_h, dilation_w}, {kh, kw},
                                    first, last);
  const Matrix<T, W> gradients(gy + group * out, o, out, first, last);
  Real<T> sums[S][W] = {};
  multiply(patches, gradients, last - first, sums);
  #pragma unroll
  for (int i = 0; i < S; i++)
    #pragma unroll
    for (int j = 0; j < W; j++) {
      const int row = blockIdx.x * 16 * S + row_in_tile(i), column = blockIdx.y * 16 * W + column_in_tile(j);
      if (row < kh * kw * in && column < out)
        parts[(part * kh * kw * in + row) * o + group * out + column] = sums[i][j];
    }
}

// gw[i] = sum over parts of parts[part, i], from the first on.
//
// Roofline: 4 (parts + 1) bytes for float, parts operations per element of gw: the time is that of the memory.
template <typename T> __global__ void add_parts(const Real<T>* parts, int count, T* gw, int size) {
  FOR_EACH(i, size) {
    Real<T> sum = 0;
    for (int part = 0; part < count; part++) sum += parts[part * size + i];
    store(gw + i, sum);
  }
}

// y[i, o] = y[i, o] + bias[o], not below 0 if relu: what is left to do where matrix products are a 1×1 kernel's.
//
// Roofline: 8 bytes for float, 2 operations per element of y: the time is that of the memory.
template <typename T> __global__ void add_bias(T* y, const T* bias, bool relu, int size, int o) {
  elementwise(size, [=](int i) { return load(y + i) + load(bias + i % o); },
              [=](int i, Real<T> value) { store(y + i, relu && value <= 0 ? 0 : value); });
}
