// A step of Adam: see adam.py. A thread per element, everything in one pass over the memory.
//
// Roofline: 28 bytes, 14 operations per parameter (float). Bound by memory.

#include "_common.cuh"

// rate = lr / (1 - beta1^t), root = 1 / sqrt(1 - beta2^t); shrink is 1 - lr * weight_decay where that is decoupled.
template <typename T>
__global__ void step(const T* g, Real<T> keep_m, Real<T> add_m, Real<T> keep_v, Real<T> add_v, Real<T> rate, Real<T> root,
                     Real<T> eps, Real<T> shrink, Real<T> decay, bool amsgrad, T* w, T* m, T* v, T* top, int size) {
  FOR_EACH(i, size) {
    const Real<T> parameter = load(w + i);
    Real<T> d = load(g + i);
    if (decay != 0) d += decay * parameter;
    const Real<T> mean = keep_m * load(m + i) + add_m * d;
    Real<T> square = keep_v * load(v + i) + add_v * d * d;
    store(m + i, mean);
    store(v + i, square);
    if (amsgrad) {
      square = Max::of(square, load(top + i));
      store(top + i, square);
    }
    store(w + i, shrink * parameter - rate * mean / (sqrt(square) * root + eps));
  }
}
