// The sum of two arrays: see add.py.
//
// Roofline: 12 bytes, 1 operation per element (float). Bound by memory.

#include "_common.cuh"

template <typename T> __global__ void forward(const T* a, const T* b, T* y, int size) {
  elementwise(size, [=](int i) { return load(a + i) + load(b + i); },
              [=](int i, Real<T> total) { store(y + i, total); });
}
