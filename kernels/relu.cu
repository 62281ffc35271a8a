// Rectified linear unit: see relu.py.
//
// One read and one write per element and no arithmetic to speak of: the time is that of the memory. A comparison with NaN
// is false, so a NaN goes through.
//
// Roofline: 8 bytes, 1 comparison per element (float); with the sum, and backward, 12 bytes. Bound by memory.

#include "_common.cuh"

// y[i] = max(x[i], 0)
template <typename T> __global__ void forward(const T* x, T* y, int size) {
  FOR_EACH(i, size) {
    const Real<T> value = load(x + i);
    store(y + i, value <= 0 ? 0 : value);
  }
}

// y[i] = max(a[i] + b[i], 0)
template <typename T> __global__ void add_forward(const T* a, const T* b, T* y, int size) {
  FOR_EACH(i, size) {
    const Real<T> total = load(a + i) + load(b + i);
    store(y + i, total <= 0 ? 0 : total);
  }
}

// gx[i] = gy[i] where y[i] > 0, else 0
template <typename T> __global__ void backward(const T* gy, const T* y, T* gx, int size) {
  FOR_EACH(i, size) store(gx + i, load(y + i) <= 0 ? 0 : load(gy + i));
}
