// A step of stochastic gradient descent: see sgd.py. All parameters in one launch, everything in one pass over the memory.
//
// Roofline: 20 bytes, 6 operations per element (float, with momentum). Bound by memory.

#include "_common.cuh"

// inner and outer are lr and 1, or 1 and lr: where the rate stands.
template <typename T>
__global__ void step(const T* const* gradients, Real<T> inner, Real<T> outer, Real<T> momentum, Real<T> keep,
                     Real<T> weight_decay, bool nesterov, T* const* parameters, T* const* velocities,
                     const int* first, const int* sizes, int arrays, int length) {
  const Piece piece(first, sizes, arrays, length);
  const T* g = gradients[piece.array];
  T *w = parameters[piece.array], *v = velocities[piece.array];
  struct Element { Real<T> gradient, parameter, velocity; };
  const auto read = [=](int i) { return Element{load(g + i), load(w + i), momentum != 0 ? load(v + i) : 0}; };
  for_block(piece.begin, piece.end, read, [=](int i, Element of) {
    Real<T> d = of.gradient;
    if (weight_decay != 0) d += weight_decay * of.parameter;
    d *= inner;
    if (momentum != 0) {
      const Real<T> velocity = momentum * of.velocity + keep * d;
      store(v + i, velocity);
      d = nesterov ? d + momentum * velocity : velocity;
    }
    store(w + i, of.parameter - outer * d);
  });
}
