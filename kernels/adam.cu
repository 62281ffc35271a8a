// A step of Adam: see adam.py. All parameters in one launch, everything in one pass over the memory.
//
// Roofline: 28 bytes, 14 operations per element (float). Bound by memory.

#include "_common.cuh"

// rate = lr / (1 - beta1^t), root = 1 / sqrt(1 - beta2^t); shrink is 1 - lr * weight_decay where that is decoupled.
template <typename T>
__global__ void step(const T* const* gradients, Real<T> keep_m, Real<T> add_m, Real<T> keep_v, Real<T> add_v, Real<T> rate,
                     Real<T> root, Real<T> eps, Real<T> shrink, Real<T> decay, bool amsgrad, T* const* parameters,
                     T* const* means, T* const* squares, T* const* tops, const int* first, const int* sizes, int arrays,
                     int length) {
  const Piece piece(first, sizes, arrays, length);
  const T* g = gradients[piece.array];
  T *w = parameters[piece.array], *m = means[piece.array], *v = squares[piece.array], *top = tops[piece.array];
  struct Element { Real<T> gradient, parameter, mean, square, top; };
  const auto read = [=](int i) {
    return Element{load(g + i), load(w + i), load(m + i), load(v + i), amsgrad ? load(top + i) : 0};
  };
  for_block(piece.begin, piece.end, read, [=](int i, Element of) {
    Real<T> d = of.gradient;
    if (decay != 0) d += decay * of.parameter;
    const Real<T> mean = keep_m * of.mean + add_m * d;
    Real<T> square = keep_v * of.square + add_v * d * d;
    store(m + i, mean);
    store(v + i, square);
    if (amsgrad) {
      square = Max::of(square, of.top);
      store(top + i, square);
    }
    store(w + i, shrink * of.parameter - rate * mean / (sqrt(square) * root + eps));
  });
}
