// Rectified linear unit: see relu.py.
//
// One read and one write per element and no arithmetic to speak of: the time is that of the memory. A comparison with NaN
// is false, so a NaN goes through.
//
// Roofline: 8 bytes, 1 comparison per element (float); with the sum, and backward, 12 bytes. Bound by memory.

#include "_common.cuh"

// y[i] = max(x[i], 0)
template <typename T> __global__ void forward(const T* __restrict__ x, T* __restrict__ y, int size) {
  elementwise(size, [=](int i) {
    const Real<T> value = load(x + i);
    store(y + i, value <= 0 ? 0 : value);
  });
}

// y[i] = max(a[i] + b[i], 0)
template <typename T>
__global__ void add_forward(const T* __restrict__ a, const T* __restrict__ b, T* __restrict__ y, int size) {
  elementwise(size, [=](int i) {
    const Real<T> total = load(a + i) + load(b + i);
    store(y + i, total <= 0 ? 0 : total);
  });
}

// gx[i] = gy[i] where y[i] > 0, else 0
template <typename T>
__global__ void backward(const T* __restrict__ gy, const T* __restrict__ y, T* __restrict__ gx, int size) {
  elementwise(size, [=](int i) {
    const Real<T> value = load(y + i), g = load(gy + i);
    store(gx + i, value <= 0 ? 0 : g);
  });
}
