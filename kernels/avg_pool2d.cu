// Average pooling: see avg_pool2d.py.
//
// Forward, a thread has one element of y; neighbouring threads have neighbouring channels, which lie side by side in
// memory. Windows that overlap read pixels again, which the cache still holds. Backward gathers: a pixel adds up its shares
// of the windows that it lies in, in order; a block has a row of gx (see Pack).
//
// Roofline: 4 HWC bytes read and 4 OH*OW*C written per image (float), KH*KW additions and a division per element of y.
// Backward the same bytes the other way round. Bound by memory.

#include "_common.cuh"

// One axis: where window i starts and ends inside the image, and its length, with or without the border.
struct Window {
  int start, end, length;
  __device__ Window(int i, int size, int kernel, int stride, int padding, bool with_border) {
    const int first = i * stride - padding, last = min(first + kernel, size + padding);
    start = max(first, 0);
    end = min(last, size);
    length = with_border ? last - first : end - start;
  }
};

template <typename T>
__global__ void forward(const T* x, T* y, int count, int height, int width, int channels, int out_height, int out_width,
                        int kernel_h, int kernel_w, int stride_h, int stride_w, int padding_h, int padding_w,
                        bool with_border, int divisor) {
  FOR_EACH(i, count) {
    const int c = i % channels, pixel = i / channels;
    const int column = pixel % out_width, row = pixel / out_width % out_height, image = pixel / out_width / out_height;
    const Window rows(row, height, kernel_h, stride_h, padding_h, with_border);
    const Window columns(column, width, kernel_w, stride_w, padding_w, with_border);
    Real<T> total = 0;
    for (int r = rows.start; r < rows.end; r++)
      for (int q = columns.start; q < columns.end; q++)
        total += load(x + ((image * height + r) * width + q) * channels + c);
    store(y + i, total / (divisor ? divisor : rows.length * columns.length));
  }
}

// The windows that pixel p of an axis lies in are those from first_window(p) to last_window(p) that exist.
__device__ int first_window(int p, int kernel, int stride, int padding) {
  const int beyond = p + padding - (kernel - 1);  // where a window must start, at least
  return beyond <= 0 ? 0 : (beyond + stride - 1) / stride;
}
__device__ int last_window(int p, int stride, int padding, int windows) { return min((p + padding) / stride, windows - 1); }

template <typename T, int N>
__global__ void backward(const T* gy, T* gx, int height, int width, int channels, int out_height, int out_width,
                         int kernel_h, int kernel_w, int stride_h, int stride_w, int padding_h, int padding_w,
                         bool with_border, int divisor) {
  const int row = blockIdx.x % height, image = blockIdx.x / height, units = channels / N;
  const int top = first_window(row, kernel_h, stride_h, padding_h);
  const int bottom = last_window(row, stride_h, padding_h, out_height);
  for (int i = threadIdx.x; i < width * units; i += blockDim.x) {
    const int column = i / units, c = i % units * N;
    const int left = first_window(column, kernel_w, stride_w, padding_w);
    const int right = last_window(column, stride_w, padding_w, out_width);
    Real<T> total[N] = {};
    for (int u = top; u <= bottom; u++) {
      const Window rows(u, height, kernel_h, stride_h, padding_h, with_border);
      for (int v = left; v <= right; v++) {
        const Window columns(v, width, kernel_w, stride_w, padding_w, with_border);
        const Real<T> share = Real<T>(1) / (divisor ? divisor : rows.length * columns.length);
        const auto g = Pack<T, N>::at(gy + ((image * out_height + u) * out_width + v) * channels + c);
        for (int k = 0; k < N; k++) total[k] += load(g.of + k) * share;
      }
    }
    Pack<T, N> sums;
    for (int k = 0; k < N; k++) store(sums.of + k, total[k]);
    sums.store_to(gx + (blockIdx.x * width + column) * channels + c);
  }
}
