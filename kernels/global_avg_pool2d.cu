// The gradient of the mean of all pixels: see global_avg_pool2d.py. (The mean itself is a sum of columns: _channels.cu.)
//
// A thread has one element of gx. Neighbouring threads have neighbouring channels, so that a warp reads and writes one
// stretch of memory; gy is small and stays in the cache.
//
// Roofline: 4 HWC bytes written per image (float), a division per element. Bound by memory.

#include "_common.cuh"

template <typename T> __global__ void backward(const T* gy, T* gx, int count, int pixels, int channels) {
  FOR_EACH(i, count) {
    const int image = i / (pixels * channels), c = i % channels;
    store(gx + i, load(gy + image * channels + c) / pixels);
  }
}
