// Error function and its complement: see erf.py. CUDA's own functions.
//
// Roofline: 8 bytes and about 20 operations per element (float). Bound by memory.

#include "_common.cuh"

template <typename T> __global__ void forward(const T* x, T* y, int size) {
  elementwise(size, [=](int i) { return load(x + i); },
              [=](int i, Real<T> value) { store(y + i, erf(value)); });
}

template <typename T> __global__ void complement(const T* x, T* y, int size) {
  elementwise(size, [=](int i) { return load(x + i); },
              [=](int i, Real<T> value) { store(y + i, erfc(value)); });
}
