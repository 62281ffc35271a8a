// What several kernels share. _cuda.py puts it in the place of #include "_common.cuh".
#include <cuda_fp16.h>

// ---- types ------------------------------------------------------------------------------------------------------
//
// T is how an element lies in memory: float, double or half. Arithmetic is done in Real<T>: half has 11 bits, too few to
// add in, so it is read into a float and rounded once, when it is written.

template <typename T> struct RealOf { using type = T; };
template <> struct RealOf<half> { using type = float; };
template <typename T> using Real = typename RealOf<T>::type;

template <typename T> __device__ Real<T> load(const T* address) { return *address; }
template <> __device__ float load(const half* address) { return __half2float(*address); }

template <typename T> __device__ void store(T* address, Real<T> value) { *address = value; }
template <> __device__ void store(half* address, float value) { *address = __float2half_rn(value); }

// a * b rounded on its own. A compiler may make one instruction of a * b - c, which rounds once; then a * b less the same
// product that was rounded before is not 0.
__device__ inline float rounded_product(float a, float b) { return __fmul_rn(a, b); }
__device__ inline double rounded_product(double a, double b) { return __dmul_rn(a, b); }

// ---- loops over elements -------------------------------------------------------------------------------------------
//
// The grid steps over the elements together: thread t of all takes elements t, t + threads, ... Neighbouring threads take
// neighbouring elements, so that a warp reads one stretch of memory, and any number of threads does the work.

#define FOR_EACH(i, count) \
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < (count); i += gridDim.x * blockDim.x)

// write(i, read(i)) for each element from begin to end, by the threads of a block, where both functions are little more
// than a load and a store. A load takes hundreds of cycles, so a thread takes four elements, a block apart from each other,
// and asks for all before it waits for the first. Apart, so that neighbouring threads still have neighbouring elements;
// and one condition for the four, so that nothing stands between the loads. An array may be input and output: an
// element's own load comes first.
constexpr int PER_THREAD = 4;  // _cuda.py knows

template <typename Read, typename Write> __device__ void for_block(int begin, int end, Read read, Write write) {
  const int step = blockDim.x;
  for (int first = begin + int(threadIdx.x); first < end; first += PER_THREAD * step) {
    if (first + (PER_THREAD - 1) * step < end) {
      decltype(read(0)) taken[PER_THREAD];
      #pragma unroll
      for (int k = 0; k < PER_THREAD; k++) taken[k] = read(first + k * step);
      #pragma unroll
      for (int k = 0; k < PER_THREAD; k++) write(first + k * step, taken[k]);
    } else {
      #pragma unroll 1
      for (int i = first; i < end; i += step) write(i, read(i));
    }
  }
}

// The same for `count` elements, four to a thread of the grid. A ReLU written so reached 98 % of an H200's copy rate, with an
// element per turn of FOR_EACH 71; vectors of four were no faster.
template <typename Read, typename Write> __device__ void elementwise(int count, Read read, Write write) {
  const int length = PER_THREAD * blockDim.x, begin = blockIdx.x * length;
  for_block(begin, min(begin + length, count), read, write);
}

template <typename R> struct Two { R a, b; };  // what is read of two arrays

// ---- rows of images -------------------------------------------------------------------------------------------------
//
// Source.launch_rows gives a block a row of an image, channels-last. The row is then the block's number and no division,
// and what depends on it alone is computed once; threads step over the row's elements, N neighbouring channels at a time.
// With 4 what remains to compute of places is shared by four elements, and a load or store of float is one of 16 bytes.
// (A division of ints takes twenty instructions. With one element per thread and five divisions for each, the gradients
// of the poolings reached 8 and 9 % of an H200's copy rate.)
template <typename T, int N> struct alignas(N * sizeof(T) < 16 ? N * sizeof(T) : 16) Pack {
  T of[N];
  static __device__ Pack at(const T* address) { return *reinterpret_cast<const Pack*>(address); }
  __device__ void store_to(T* address) const { *reinterpret_cast<Pack*>(address) = *this; }
};

// ---- many arrays in one launch --------------------------------------------------------------------------------------
//
// Source.launch_many hands over tables of addresses and cuts the arrays into pieces of `length` elements, a block each:
// first[k] is the number of array k's first piece. Each block finds its array by bisection.
struct Piece {
  int array, begin, end;  // elements begin to end of the array of this number
  __device__ Piece(const int* first, const int* sizes, int arrays, int length) : array(0) {
    for (int beyond = arrays; beyond - array > 1;) {
      const int middle = (array + beyond) / 2;
      if (first[middle] <= int(blockIdx.x)) array = middle;
      else beyond = middle;
    }
    begin = (int(blockIdx.x) - first[array]) * length;
    end = min(begin + length, sizes[array]);
  }
};

// ---- sums over the threads of a block -----------------------------------------------------------------------------

struct Sum {
  template <typename R> static __device__ R identity() { return 0; }
  template <typename R> static __device__ R of(R a, R b) { return a + b; }
};
struct Max {  // a NaN wins, as in NumPy
  template <typename R> static __device__ R identity() { return R(-1) / R(0); }  // NVRTC knows no INFINITY
  template <typename R> static __device__ R of(R a, R b) { return a > b || a != a ? a : b; }
};

// Reduce over the 32 threads of a warp, or over each `width` of them side by side, a power of two; all of them get the
// result. In step s, lanes that differ in bit s alone exchange what they have: five steps, no shared memory, and the same
// tree of additions in every lane. All lanes of the warp must come here.
template <typename Op, typename R> __device__ R warp_reduce(R value, int width = 32) {
  for (int bit = width / 2; bit > 0; bit /= 2) value = Op::of(value, __shfl_xor_sync(0xffffffffu, value, bit));
  return value;
}

// Reduce over the threads of a block; all of them get the result. The block is one row of a multiple of 32 threads, and
// all of them must come here. The order is fixed by the block's size, so results are the same from run to run.
template <typename Op, typename R> __device__ R block_reduce(R value) {
  __shared__ R partial[32];  // one per warp; a block has at most 32
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  value = warp_reduce<Op>(value);
  __syncthreads();  // the last call's results have been read
  if (lane == 0) partial[warp] = value;
  __syncthreads();
  value = lane < blockDim.x / 32 ? partial[lane] : Op::template identity<R>();
  return warp_reduce<Op>(value);
}

// ---- rows of scores -------------------------------------------------------------------------------------------------

// The greatest element of a row, and the sum of exp(x[k] - greatest), which does not overflow; the block has the row, its
// threads step over the elements together. The row comes from memory the first time and from the cache after that.
template <typename T> struct Exponentials {
  Real<T> greatest = Max::identity<Real<T>>(), total = 0;
  __device__ Exponentials(const T* x, int columns) {
    for (int k = threadIdx.x; k < columns; k += blockDim.x) greatest = Max::of(greatest, load(x + k));
    greatest = block_reduce<Max>(greatest);
    for (int k = threadIdx.x; k < columns; k += blockDim.x) total += exp(load(x + k) - greatest);
    total = block_reduce<Sum>(total);
  }
};

// ---- sums over the columns of a block -----------------------------------------------------------------------------

// The block is blockDim.x columns times blockDim.y rows of threads, at most 256 in all. Add up each column; all of its
// threads get the sum. In each step the upper rows take what the lower ones have, so half of them are left; neighbouring
// threads are in neighbouring banks of shared memory, whatever the width.
template <typename R> __device__ R column_sum(R value) {
  __shared__ R sums[256];
  const int width = blockDim.x, at = threadIdx.y * width + threadIdx.x;
  __syncthreads();  // the last call's results have been read
  sums[at] = value;
  for (int rows = blockDim.y; rows > 1;) {
    const int upper = (rows + 1) / 2;
    __syncthreads();
    if (int(threadIdx.y) + upper < rows) sums[at] += sums[at + upper * width];
    rows = upper;
  }
  __syncthreads();
  return sums[threadIdx.x];
}
