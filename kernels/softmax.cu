// Softmax of rows: see softmax.py.
//
// A block has a row: its threads step over the elements together, for the greatest and the sum of exponentials
// (Exponentials, in _common.cuh), then to write.
//
// Roofline: 8 bytes, 1 exponential and 3 operations per element forward; 12 bytes, 4 operations backward (float). Bound by
// memory.

#include "_common.cuh"

// y[n] = exp(x[n] - max x) / sum over k of exp(x[k] - max x)
template <typename T> __global__ void forward(const T* x, T* y, int columns) {
  x += blockIdx.x * columns;
  y += blockIdx.x * columns;
  const Exponentials<T> of(x, columns);
  for (int k = threadIdx.x; k < columns; k += blockDim.x) store(y + k, exp(load(x + k) - of.greatest) / of.total);
}

// gx[n] = y[n] * (gy[n] - sum over k of gy[k] * y[k])
template <typename T> __global__ void backward(const T* gy, const T* y, T* gx, int columns) {
  gy += blockIdx.x * columns;
  y += blockIdx.x * columns;
  gx += blockIdx.x * columns;
  Real<T> total = 0;
  for (int k = threadIdx.x; k < columns; k += blockDim.x) total += load(gy + k) * load(y + k);
  total = block_reduce<Sum>(total);
  for (int k = threadIdx.x; k < columns; k += blockDim.x) store(gx + k, load(y + k) * (load(gy + k) - total));
}
