// The mean of all pixels, and its gradient: see global_avg_pool2d.py. A thread has one or four channels at a time (see Pack);
// neighbouring threads have neighbouring ones.
//
// Roofline: 4 HWC bytes read per image (float), an addition per element; backward as many written. Bound by memory.

#include "_common.cuh"

// A block has an image and blockDim.x units of channels; its threads above each other share the pixels.
template <typename T, int N> __global__ void forward(const T* x, T* y, int pixels, int channels) {
  const int units = channels / N, tiles = (units + blockDim.x - 1) / blockDim.x, image = blockIdx.x / tiles;
  const int unit = blockIdx.x % tiles * blockDim.x + threadIdx.x;
  const int own = unit < units ? (pixels - int(threadIdx.y) + int(blockDim.y) - 1) / int(blockDim.y) : 0;
  Real<T> total[N] = {};
  #pragma unroll 4
  for (int turn = 0; turn < own; turn++) {  // counted, so that the compiler can ask for four pixels at once
    const int pixel = turn * blockDim.y + threadIdx.y;
    const auto at = Pack<T, N>::at(x + (image * pixels + pixel) * channels + unit * N);
    for (int k = 0; k < N; k++) total[k] += load(at.of + k);
  }
  Pack<T, N> means;
  for (int k = 0; k < N; k++) store(means.of + k, column_sum(total[k]) / pixels);
  if (unit < units && threadIdx.y == 0) means.store_to(y + image * channels + unit * N);
}

// A block has a row of gx; gy is small and stays in the cache.
template <typename T, int N>
__global__ void backward(const T* gy, T* gx, int height, int width, int channels) {
  const int image = blockIdx.x / height, units = channels / N;
  const Real<T> share = Real<T>(1) / (height * width);
  for (int i = threadIdx.x; i < width * units; i += blockDim.x) {
    const auto g = Pack<T, N>::at(gy + image * channels + i % units * N);
    Pack<T, N> shares;
    for (int k = 0; k < N; k++) store(shares.of + k, load(g.of + k) * share);
    shares.store_to(gx + blockIdx.x * width * channels + i * N);
  }
}
