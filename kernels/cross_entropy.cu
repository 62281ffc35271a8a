// Cross-entropy of rows of logits: see cross_entropy.py. A block has a row, as in softmax.cu; probabilities are not written.
//
// Roofline: 4 bytes, 1 exponential and 3 operations per logit forward; 8 bytes, 1 exponential and 3 operations backward
// (float). Bound by memory.

#include "_common.cuh"

// own is the target's share of the probability, even that of every class.
template <typename T>
__global__ void forward(const T* x, const long long* target, const T* weight, int classes, int ignore_index, Real<T> own,
                        Real<T> even, T* loss, T* lse) {
  const int row = blockIdx.x;
  const long long t = target[row];
  if (t == ignore_index) {  // the whole block leaves
    if (threadIdx.x == 0) {
      store(loss + row, 0);
      store(lse + 2 * row, 0);
      store(lse + 2 * row + 1, 0);
    }
    return;
  }
  x += row * classes;
  const Exponentials<T> of(x, classes);
  const Real<T> greatest = of.greatest, log_total = log(of.total);
  Real<T> spread = 0;
  if (even > 0) {
    for (int k = threadIdx.x; k < classes; k += blockDim.x)
      spread += load(weight + k) * (load(x + k) - greatest - log_total);
    spread = block_reduce<Sum>(spread);
  }
  if (threadIdx.x) return;
  Real<T> value = 0;  // 0 * log(0) is 0
  if (own > 0) value -= own * load(weight + t) * (load(x + t) - greatest - log_total);
  if (even > 0) value -= even * spread;
  store(loss + row, value);
  store(lse + 2 * row, greatest);
  store(lse + 2 * row + 1, log_total);
}

template <typename T>
__global__ void backward(const T* x, const long long* target, const T* weight, int classes, int ignore_index, Real<T> own,
                         Real<T> even, const T* lse, const T* scale, T* gx) {
  const int row = blockIdx.x;
  const long long t = target[row];
  x += row * classes;
  gx += row * classes;
  if (t == ignore_index) {
    for (int k = threadIdx.x; k < classes; k += blockDim.x) store(gx + k, 0);
    return;
  }
  Real<T> total = 0;  // of the weights
  if (even > 0) {
    for (int k = threadIdx.x; k < classes; k += blockDim.x) total += load(weight + k);
    total = block_reduce<Sum>(total);
  }
  const Real<T> factor = load(scale + row), greatest = load(lse + 2 * row), log_total = load(lse + 2 * row + 1);
  const Real<T> sum = own * load(weight + t) + even * total;
  for (int k = threadIdx.x; k < classes; k += blockDim.x) {
    const Real<T> p = exp(load(x + k) - greatest - log_total);
    const Real<T> q = even * load(weight + k) + (k == t ? own * load(weight + k) : 0);
    store(gx + k, factor * (p * sum - q));
  }
}
