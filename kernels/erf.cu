// Error function and its complement: see erf.py. CUDA's own functions, a thread per element.
//
// Roofline: 8 bytes and about 20 operations per element (float). Bound by memory.

#include "_common.cuh"

template <typename T> __global__ void forward(const T* x, T* y, int size) {
  FOR_EACH(i, size) store(y + i, erf(load(x + i)));
}

template <typename T> __global__ void complement(const T* x, T* y, int size) {
  FOR_EACH(i, size) store(y + i, erfc(load(x + i)));
}
