// Dropout: see dropout.py, which says what Philox is. The same seed gives the same mask as on the CPU, bit for bit.
//
// A thread has four neighbouring elements: one counter's four words. They are a function of the place alone, so no thread
// waits for another and no state is kept.
//
// Roofline: 8 bytes and 20 multiplications of 32 bits per element (float). Bound by memory.

#include "_common.cuh"

typedef unsigned long long Word64;

// Ten rounds over the counter c with the key k.
__device__ inline void philox(unsigned c[4], unsigned k0, unsigned k1) {
  for (int round = 0; round < 10; round++) {
    const Word64 a = Word64(0xD2511F53u) * c[0], b = Word64(0xCD9E8D57u) * c[2];
    c[0] = unsigned(b >> 32) ^ c[1] ^ k0;
    c[1] = unsigned(b);
    c[2] = unsigned(a >> 32) ^ c[3] ^ k1;
    c[3] = unsigned(a);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
}

template <typename T>
__global__ void forward(const T* x, Word64 seed, Word64 call, unsigned threshold, Real<T> scale, T* y, int size) {
  FOR_EACH(block, (size + 3) / 4) {
    unsigned words[4] = {unsigned(block), 0, unsigned(call), unsigned(call >> 32)};  // a block fits in 32 bits
    philox(words, unsigned(seed), unsigned(seed >> 32));
    for (int j = 0; j < 4; j++) {
      const int i = 4 * block + j;
      if (i < size) store(y + i, load(x + i) * (words[j] >= threshold ? scale : 0));
    }
  }
}
