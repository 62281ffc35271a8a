// Gradients divided by the scale of the loss, and their infinities and NaN counted: see unscale.py. All in one launch.
//
// A block has a piece of an array and writes down a count of its own. One flag for all would be written by many blocks at
// once, or by atomics.
//
// Roofline: 8 bytes, 2 operations per element (float). Bound by memory.

#include "_common.cuh"

// x and y may be the same arrays: each element is read and written by one thread.
template <typename T>
__global__ void forward(const T* const* xs, Real<T> factor, T* const* ys, int* faults, const int* first,
                        const int* sizes, int arrays, int length) {
  const Piece piece(first, sizes, arrays, length);
  const T* x = xs[piece.array];
  T* y = ys[piece.array];
  int count = 0;
  for_block(piece.begin, piece.end, [=](int i) { return load(x + i); }, [=, &count](int i, Real<T> value) {
    store(y + i, factor * value);
    if (!isfinite(load(y + i))) count++;
  });
  count = block_reduce<Sum>(count);
  if (threadIdx.x == 0) faults[blockIdx.x] = count;
}
