// Logarithm of the softmax of rows: see log_softmax.py. The work is cut as in softmax.cu: a block has a row.
//
// Roofline: 8 bytes, 1 exponential and 3 operations per element forward; 12 bytes, 1 exponential and 3 operations backward
// (float). Bound by memory.

#include "_common.cuh"

// y[n] = x[n] - max x - log(sum over k of exp(x[k] - max x))
template <typename T> __global__ void forward(const T* x, T* y, int columns) {
  x += blockIdx.x * columns;
  y += blockIdx.x * columns;
  const Exponentials<T> of(x, columns);
  const Real<T> log_total = log(of.total);
  for (int k = threadIdx.x; k < columns; k += blockDim.x) store(y + k, load(x + k) - of.greatest - log_total);
}

// gx[n] = gy[n] - exp(y[n]) * sum over k of gy[k]
template <typename T> __global__ void backward(const T* gy, const T* y, T* gx, int columns) {
  gy += blockIdx.x * columns;
  y += blockIdx.x * columns;
  gx += blockIdx.x * columns;
  Real<T> total = 0;
  for (int k = threadIdx.x; k < columns; k += blockDim.x) total += load(gy + k);
  total = block_reduce<Sum>(total);
  for (int k = threadIdx.x; k < columns; k += blockDim.x) store(gx + k, load(gy + k) - exp(load(y + k)) * total);
}
