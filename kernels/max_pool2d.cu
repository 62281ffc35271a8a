// Max pooling: see max_pool2d.py.
//
// A block has a row of what is written, a thread one or four channels of a pixel at a time (see Pack). Channels lie side by
// side in memory, so the threads of a warp read the same pixel of a window together, in one stretch, and take the same
// branches. Windows that overlap read pixels again, which the cache still holds: memory sees each once.
//
// Backward gathers. A pixel asks the windows that reach it whether it was their greatest, and adds up those gradients in
// order. To scatter would take atomics, whose order nobody knows.
//
// Roofline: 4 HWC bytes read and 8 OH*OW*C written per image (float), KH*KW comparisons per element of y. Backward the
// same bytes the other way round. Bound by memory.

#include "_common.cuh"

template <typename T, int N>
__global__ void forward(const T* x, T* y, int* where, int height, int width, int channels, int out_height,
                        int out_width, int kernel_h, int kernel_w, int stride_h, int stride_w, int padding_h,
                        int padding_w, int dilation_h, int dilation_w) {
  const int row = blockIdx.x % out_height, image = blockIdx.x / out_height, units = channels / N;
  const int top = row * stride_h - padding_h;
  for (int i = threadIdx.x; i < out_width * units; i += blockDim.x) {
    const int column = i / units, c = i % units * N, left = column * stride_w - padding_w;
    const T* of_image = x + image * height * width * channels + c;
    Pack<T, N> best;
    Pack<int, N> at;
    for (int k = 0; k < N; k++) store(best.of + k, 0), at.of[k] = -1;  // none yet
    for (int u = 0; u < kernel_h; u++) {
      const int r = top + u * dilation_h;
      if (r < 0 || r >= height) continue;
      for (int v = 0; v < kernel_w; v++) {
        const int q = left + v * dilation_w;
        if (q < 0 || q >= width) continue;
        const auto pixel = Pack<T, N>::at(of_image + (r * width + q) * channels);
        for (int k = 0; k < N; k++) {
          const Real<T> value = load(pixel.of + k);
          if (at.of[k] < 0 || value > load(best.of + k) || value != value) {  // the first of equals, the last of NaNs
            best.of[k] = pixel.of[k];
            at.of[k] = r * width + q;
          }
        }
      }
    }
    const int to = (blockIdx.x * out_width + column) * channels + c;
    best.store_to(y + to);
    if (where != nullptr) at.store_to(where + to);
  }
}

// The windows that reach pixel p of an axis are those from first_window(p) to last_window(p) that exist.
__device__ int first_window(int p, int kernel, int stride, int padding, int dilation) {
  const int beyond = p + padding - (kernel - 1) * dilation;  // where a window must start, at least
  return beyond <= 0 ? 0 : (beyond + stride - 1) / stride;
}
__device__ int last_window(int p, int stride, int padding, int windows) { return min((p + padding) / stride, windows - 1); }

template <typename T, int N>
__global__ void backward(const T* gy, const int* where, T* gx, int height, int width, int channels, int out_height,
                         int out_width, int kernel_h, int kernel_w, int stride_h, int stride_w, int padding_h,
                         int padding_w, int dilation_h, int dilation_w) {
  const int row = blockIdx.x % height, image = blockIdx.x / height, units = channels / N;
  const int top = first_window(row, kernel_h, stride_h, padding_h, dilation_h);
  const int bottom = last_window(row, stride_h, padding_h, out_height);
  for (int i = threadIdx.x; i < width * units; i += blockDim.x) {
    const int column = i / units, c = i % units * N;
    const int left = first_window(column, kernel_w, stride_w, padding_w, dilation_w);
    const int right = last_window(column, stride_w, padding_w, out_width);
    Real<T> total[N] = {};
    for (int u = top; u <= bottom; u++)
      for (int v = left; v <= right; v++) {
        const int from = ((image * out_height + u) * out_width + v) * channels + c;
        const auto at = Pack<int, N>::at(where + from);
        const auto g = Pack<T, N>::at(gy + from);
        for (int k = 0; k < N; k++) total[k] += at.of[k] == row * width + column ? load(g.of + k) : 0;
      }
    Pack<T, N> sums;
    for (int k = 0; k < N; k++) store(sums.of + k, total[k]);
    sums.store_to(gx + (blockIdx.x * width + column) * channels + c);
  }
}
