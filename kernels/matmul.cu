// Matrix products of stacks: see matmul.py. For where cuBLAS cannot be: while a CUDA graph is captured.
//
// A block makes a tile of 32 × 32 of one product. In steps of 16 along the summed axis it copies a strip of each matrix
// to shared memory and adds up their products. So an element that is read from memory serves 32 products, where a
// thread per element would read two for each. A thread has four of the tile's elements, two rows and two columns with
// 16 between them: out of shared memory it reads four numbers for four products, where for one it would read two.
//
// Nets small enough to gain by a graph give small matrices, so tiles are small: then there are more blocks.

#include "_common.cuh"

constexpr int kSide = 32, kDeep = 16, kThreads = 256;

// How a matrix of lines (rows of a, columns of b) and summed places lies in memory: `along` the summed axis, element
// (line, place) at line * places + place, or across it, at place * lines + line.
template <typename T> struct Lines {
  const T* matrix;
  int lines, places;
  bool along;

  // Neighbouring threads take what lies side by side in memory. Strips have two elements more to a place than there are
  // lines: along the summed axis a warp writes 16 places of 2 lines, and these are then in 32 different banks.
  __device__ void copy(int line, int place, Real<T> (&strip)[kDeep][kSide + 2]) const {
    for (int i = threadIdx.x; i < kDeep * kSide; i += kThreads) {
      const int p = along ? i % kDeep : i / kSide, l = along ? i / kDeep : i % kSide;
      const bool inside = line + l < lines && place + p < places;
      strip[p][l] = !inside ? 0 : load(matrix + (along ? (line + l) * places + place + p : (place + p) * lines + line + l));
    }
  }
};

// y[s, i, j] = sum over r < summed of a[s, i, r] * b[s, r, j]
//
// a_turned, b_turned: each matrix lies in memory transposed. Of a and of b there is one for each of the stacks, or one
// for all where its `stacks` is 1. The grid counts tiles: columns first, then rows, then stacks.
//
// Roofline: 4 stacks (rows summed + summed columns + rows columns) bytes for float, 2 stacks rows summed columns
// operations; a tile reads 8 bytes of cache or memory for 64 operations.
template <typename T>
__global__ void __launch_bounds__(kThreads, 4)  // four blocks to a multiprocessor: a thread may have 64 registers
product(const T* a, bool a_turned, int a_stacks, const T* b, bool b_turned, int b_stacks, T* y, int rows, int summed,
        int columns) {
  __shared__ Real<T> left[kDeep][kSide + 2], right[kDeep][kSide + 2];
  const int across = (columns - 1) / kSide + 1, down = (rows - 1) / kSide + 1, stack = blockIdx.x / (across * down);
  const int row = blockIdx.x / across % down * kSide, column = blockIdx.x % across * kSide;
  const Lines<T> of_a = {a + (a_stacks > 1 ? stack * rows * summed : 0), rows, summed, !a_turned};
  const Lines<T> of_b = {b + (b_stacks > 1 ? stack * summed * columns : 0), columns, summed, b_turned};
  const int i = threadIdx.x / 16, j = threadIdx.x % 16;
  Real<T> sums[2][2] = {};
  for (int place = 0; place < summed; place += kDeep) {
    of_a.copy(row, place, left);
    of_b.copy(column, place, right);
    __syncthreads();  // the strips are there
    for (int p = 0; p < kDeep; p++)
      for (int u = 0; u < 2; u++)
        for (int v = 0; v < 2; v++) sums[u][v] += left[p][i + 16 * u] * right[p][j + 16 * v];
    __syncthreads();  // and have been read
  }
  for (int u = 0; u < 2; u++)
    for (int v = 0; v < 2; v++) {
      const int r = row + i + 16 * u, c = column + j + 16 * v;
      if (r < rows && c < columns) store(y + (stack * rows + r) * columns + c, sums[u][v]);
    }
}
