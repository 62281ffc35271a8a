// Rectified linear unit: see relu.py.
//
// One read and one write per element and no arithmetic to speak of: the time is that of the memory. A comparison with NaN
// is false, so a NaN goes through.
//
// Roofline: 8 bytes, 1 comparison per element (float); with the sum, and backward, 12 bytes. Bound by memory.

#include "_common.cuh"

// y[i] = max(x[i], 0)
template <typename T> __global__ void forward(const T* x, T* y, int size) {
  elementwise(size, [=](int i) { return load(x + i); },
              [=](int i, Real<T> value) { store(y + i, value <= 0 ? 0 : value); });
}

// y[i] = max(a[i] + b[i], 0)
template <typename T> __global__ void add_forward(const T* a, const T* b, T* y, int size) {
  elementwise(size, [=](int i) { return load(a + i) + load(b + i); },
              [=](int i, Real<T> total) { store(y + i, total <= 0 ? 0 : total); });
}

// gx[i] = gy[i] where y[i] > 0, else 0
template <typename T> __global__ void backward(const T* gy, const T* y, T* gx, int size) {
  elementwise(size, [=](int i) { return Two<Real<T>>{load(gy + i), load(y + i)}; },
              [=](int i, Two<Real<T>> of) { store(gx + i, of.b <= 0 ? 0 : of.a); });
}
