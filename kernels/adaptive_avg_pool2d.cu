// Average pooling to a given size: see adaptive_avg_pool2d.py.
//
// Forward, a thread has one element of y; neighbouring threads have neighbouring channels, which lie side by side in
// memory. Backward gathers: a pixel adds up its shares of the windows that it lies in, in order; a block has a row of gx
// (see Pack).
//
// The rule is its own mirror image. Window i of `windows` takes the pixels from floor(i * size / windows) to
// ceil((i + 1) * size / windows); pixel p lies in the windows from floor(p * windows / size) to
// ceil((p + 1) * windows / size). One function serves both ways.
//
// Roofline: 4 HWC bytes read and 4 OH*OW*C written per image (float), an addition per pixel of each window. Backward the
// same bytes the other way round. Bound by memory.

#include "_common.cuh"

// Part i of an axis of `size` that is cut into `parts`; size * parts fits in an int.
struct Part {
  int start, end;
  __device__ Part(int i, int parts, int size) : start(i * size / parts), end((i * size + size + parts - 1) / parts) {}
  __device__ int length() const { return end - start; }
};

template <typename T>
__global__ void forward(const T* x, T* y, int count, int height, int width, int channels, int out_height, int out_width) {
  FOR_EACH(i, count) {
    const int c = i % channels, pixel = i / channels;
    const int column = pixel % out_width, row = pixel / out_width % out_height, image = pixel / out_width / out_height;
    const Part rows(row, out_height, height), columns(column, out_width, width);
    Real<T> total = 0;
    for (int r = rows.start; r < rows.end; r++)
      for (int q = columns.start; q < columns.end; q++)
        total += load(x + ((image * height + r) * width + q) * channels + c);
    store(y + i, total / (rows.length() * columns.length()));
  }
}

template <typename T, int N>
__global__ void backward(const T* gy, T* gx, int height, int width, int channels, int out_height, int out_width) {
  const int row = blockIdx.x % height, image = blockIdx.x / height, units = channels / N;
  const Part above(row, height, out_height);  // the windows that the row lies in
  for (int i = threadIdx.x; i < width * units; i += blockDim.x) {
    const int column = i / units, c = i % units * N;
    const Part beside(column, width, out_width);
    Real<T> total[N] = {};
    for (int u = above.start; u < above.end; u++) {
      const int rows = Part(u, out_height, height).length();
      for (int v = beside.start; v < beside.end; v++) {
        const Real<T> share = Real<T>(1) / (rows * Part(v, out_width, width).length());
        const auto g = Pack<T, N>::at(gy + ((image * out_height + u) * out_width + v) * channels + c);
        for (int k = 0; k < N; k++) total[k] += load(g.of + k) * share;
      }
    }
    Pack<T, N> sums;
    for (int k = 0; k < N; k++) store(sums.of + k, total[k]);
    sums.store_to(gx + (blockIdx.x * width + column) * channels + c);
  }
}
