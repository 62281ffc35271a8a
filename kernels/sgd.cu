// A step of stochastic gradient descent: see sgd.py. A thread per element, everything in one pass over the memory.
//
// Roofline: 20 bytes, 6 operations per parameter (float, with momentum). Bound by memory.

#include "_common.cuh"

// inner and outer are lr and 1, or 1 and lr: where the rate stands.
template <typename T>
__global__ void step(const T* g, Real<T> inner, Real<T> outer, Real<T> momentum, Real<T> keep, Real<T> weight_decay,
                     bool nesterov, T* w, T* v, int size) {
  FOR_EACH(i, size) {
    const Real<T> parameter = load(w + i);
    Real<T> d = load(g + i);
    if (weight_decay != 0) d += weight_decay * parameter;
    d *= inner;
    if (momentum != 0) {
      const Real<T> velocity = momentum * load(v + i) + keep * d;
      store(v + i, velocity);
      d = nesterov ? d + momentum * velocity : velocity;
    }
    store(w + i, parameter - outer * d);
  }
}
