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
  for (int i = piece.begin + threadIdx.x; i < piece.end; i += blockDim.x) {
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
