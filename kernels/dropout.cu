// Dropout: see dropout.py, which says what Philox is. The same seed gives the same mask as on the CPU, bit for bit.
//
// A counter's four words are those of four neighbouring elements, and a function of the place alone: no state is kept. A
// thread makes the words of one counter, but takes elements a block apart (see for_block). So words go from who makes them
// to who needs them through shared memory. In four rows of eight more than the threads: the 32 words that a warp writes
// are neighbours, and those it reads, eight of each row, are in different banks too.
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

constexpr int kThreads = 256;  // of a block: dropout.py knows

template <typename T>
__global__ void forward(const T* x, Word64 seed, Word64 call, unsigned threshold, Real<T> scale, T* y, int size) {
  __shared__ unsigned words[4][kThreads + 8];
  const unsigned begin = blockIdx.x * (4 * kThreads);  // of the block's elements
  unsigned mine[4] = {begin / 4 + threadIdx.x, 0, unsigned(call), unsigned(call >> 32)};  // 32 bits count enough
  philox(mine, unsigned(seed), unsigned(seed >> 32));
  for (int j = 0; j < 4; j++) words[j][threadIdx.x] = mine[j];
  __syncthreads();
  elementwise(size, [=](int i) { return load(x + i); }, [=](int i, Real<T> value) {
    const unsigned place = i - begin;
    store(y + i, value * (words[place % 4][place / 4] >= threshold ? scale : 0));
  });
}
