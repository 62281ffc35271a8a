// Local response normalization: see local_response_norm.py.
//
// A block has 256 elements side by side, whatever rows they are in, and each thread one of them. Neighbours' terms are wanted
// again and again, so the block works each out once and keeps it in shared memory. The windows of its elements reach beyond
// them at both ends; that stretch, the elements and what the windows reach, goes through shared memory 256 at a time.
//
// Roofline: 12 bytes, 2 * size + 6 operations and a power per element forward; 16 bytes, 2 * size + 9 operations and two
// powers per element backward (float). Bound by memory; a power takes some 30 instructions.

#include "_common.cuh"

constexpr int BLOCK = 256;  // local_response_norm.py knows

// scale^(-beta). The paper's exponent 3/4 takes two square roots and a division, far less than a power.
template <typename R> __device__ R power(R scale, R beta) {
  if (beta != R(0.75)) return pow(scale, -beta);
  const R root = sqrt(scale);
  return 1 / (root * sqrt(root));
}

// The sum of term(j) over the window of the thread's element i: those from i - before to i + after in its row.
template <typename R, typename Term>
__device__ R window_sum(int i, int count, int channels, int before, int after, Term term) {
  __shared__ R terms[BLOCK];
  const int c = i % channels;
  const int left = i - min(before, c), right = i + min(after, channels - 1 - c);
  const int first = max(0, int(blockIdx.x * BLOCK) - before), end = min(count, int(blockIdx.x * BLOCK) + BLOCK + after);
  R total = 0;
  for (int start = first; start < end; start += BLOCK) {
    const int mine = start + threadIdx.x;
    if (mine < end) terms[threadIdx.x] = term(mine);
    __syncthreads();
    for (int j = max(left, start); j <= min(right, start + BLOCK - 1) && i < count; j++) total += terms[j - start];
    __syncthreads();
  }
  return total;
}

template <typename T>
__global__ void forward(const T* x, T* y, T* scale, int count, int channels, int before, int after, Real<T> alpha,
                        Real<T> beta, Real<T> k) {
  const int i = blockIdx.x * BLOCK + threadIdx.x;
  const Real<T> squares = window_sum<Real<T>>(i, count, channels, before, after, [&](int j) {
    const Real<T> value = load(x + j);
    return value * value;
  });
  if (i >= count) return;
  const Real<T> s = k + alpha * squares;
  store(scale + i, s);
  store(y + i, load(x + i) * power(s, beta));
}

// gx[i] = gy[i] * scale[i]^(-beta) - 2 alpha beta x[i] * sum over the j that see i of gy[j] x[j] scale[j]^(-beta - 1).
// Those are the mirror image of i's own window: before and after have changed places.
template <typename T>
__global__ void backward(const T* gy, const T* x, const T* scale, T* gx, int count, int channels, int before, int after,
                         Real<T> alpha, Real<T> beta) {
  const int i = blockIdx.x * BLOCK + threadIdx.x;
  const Real<T> sum = window_sum<Real<T>>(i, count, channels, before, after, [&](int j) {
    const Real<T> s = load(scale + j);
    return load(gy + j) * load(x + j) * power(s, beta) / s;
  });
  if (i >= count) return;
  store(gx + i, load(gy + i) * power(load(scale + i), beta) - 2 * alpha * beta * load(x + i) * sum);
}
