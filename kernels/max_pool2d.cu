// Max pooling: see max_pool2d.py.
//
// A thread has one element of what is written. Channels lie side by side in memory, so the threads of a warp read the same
// pixel of a window together, in one stretch, and take the same branches. Windows that overlap read pixels again, which the
// cache still holds: memory sees each once.
//
// Backward gathers. A pixel asks the windows that reach it whether it was their greatest, and adds up those gradients in
// order. To scatter would take atomics, whose order nobody knows.
//
// Roofline: 4 HWC bytes read and 8 OH*OW*C written per image (float), KH*KW comparisons per element of y. Backward the
// same bytes the other way round. Bound by memory.

#include "_common.cuh"

template <typename T>
__global__ void forward(const T* x, T* y, int* where, int count, int height, int width, int channels, int out_height,
                        int out_width, int kernel_h, int kernel_w, int stride_h, int stride_w, int padding_h,
                        int padding_w, int dilation_h, int dilation_w) {
  FOR_EACH(i, count) {
    const int c = i % channels, pixel = i / channels;
    const int column = pixel % out_width, row = pixel / out_width % out_height, image = pixel / out_width / out_height;
    const int top = row * stride_h - padding_h, left = column * stride_w - padding_w;
    const T* of_image = x + image * height * width * channels + c;
    Real<T> best = 0;
    int at = -1;  // none yet
    for (int u = 0; u < kernel_h; u++) {
      const int r = top + u * dilation_h;
      if (r < 0 || r >= height) continue;
      for (int v = 0; v < kernel_w; v++) {
        const int q = left + v * dilation_w;
        if (q < 0 || q >= width) continue;
        const Real<T> value = load(of_image + (r * width + q) * channels);
        if (at < 0 || value > best || value != value) {  // the first of equals, the last of NaNs
          best = value;
          at = r * width + q;
        }
      }
    }
    store(y + i, best);
    if (where != nullptr) where[i] = at;
  }
}

// The windows that reach pixel p of an axis are those from first_window(p) to last_window(p) that exist.
__device__ int first_window(int p, int kernel, int stride, int padding, int dilation) {
  const int beyond = p + padding - (kernel - 1) * dilation;  // where a window must start, at least
  return beyond <= 0 ? 0 : (beyond + stride - 1) / stride;
}
__device__ int last_window(int p, int stride, int padding, int windows) { return min((p + padding) / stride, windows - 1); }

template <typename T>
__global__ void backward(const T* gy, const int* where, T* gx, int count, int height, int width, int channels,
                         int out_height, int out_width, int kernel_h, int kernel_w, int stride_h, int stride_w,
                         int padding_h, int padding_w, int dilation_h, int dilation_w) {
  FOR_EACH(i, count) {
    const int c = i % channels, pixel = i / channels;
    const int column = pixel % width, row = pixel / width % height, image = pixel / width / height;
    const int top = first_window(row, kernel_h, stride_h, padding_h, dilation_h);
    const int bottom = last_window(row, stride_h, padding_h, out_height);
    const int left = first_window(column, kernel_w, stride_w, padding_w, dilation_w);
    const int right = last_window(column, stride_w, padding_w, out_width);
    Real<T> total = 0;
    for (int u = top; u <= bottom; u++)
      for (int v = left; v <= right; v++) {
        const int at = ((image * out_height + u) * out_width + v) * channels + c;
        if (where[at] == row * width + column) total += load(gy + at);
      }
    store(gx + i, total);
  }
}
