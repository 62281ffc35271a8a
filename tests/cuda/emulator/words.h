// What CUDA C has and C++ has not, word by word: qualifiers, types, half, functions of arithmetic.
#pragma once
#include <math.h>
#include <stdint.h>
#include <string.h>
#include <type_traits>

// ---- the words of CUDA ----------------------------------------------------------------------------------------------

#define __global__
#define __device__
#define __host__
#define __constant__ static const
#define __shared__ static __thread  // thread-local variables lie in one stretch of memory: poison() finds all of them
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __align__(bytes) alignas(bytes)
#define __CUDACC__ 1

#define EMULATE_VECTOR_TYPE(T, Name, alignment2, alignment4)                              \
  struct alignas(alignment2) Name##2 { T x, y; };                                         \
  struct Name##3 { T x, y, z; };                                                          \
  struct alignas(alignment4) Name##4 { T x, y, z, w; };                                   \
  inline Name##2 make_##Name##2(T x, T y) { return {x, y}; }                              \
  inline Name##3 make_##Name##3(T x, T y, T z) { return {x, y, z}; }                      \
  inline Name##4 make_##Name##4(T x, T y, T z, T w) { return {x, y, z, w}; }
EMULATE_VECTOR_TYPE(float, float, 8, 16)
EMULATE_VECTOR_TYPE(double, double, 16, 16)
EMULATE_VECTOR_TYPE(int, int, 8, 16)
EMULATE_VECTOR_TYPE(unsigned, uint, 8, 16)

struct dim3 { unsigned x, y, z; };
static uint3 threadIdx, blockIdx;
static dim3 blockDim, gridDim;
static constexpr int warpSize = 32;

// ---- half: storage only, as our kernels use it -----------------------------------------------------------------------

struct alignas(2) __half { uint16_t bits; };
using half = __half;
struct alignas(4) __half2 { __half x, y; };

typedef float emulate_float4 __attribute__((vector_size(16)));
typedef short emulate_short8 __attribute__((vector_size(16)));
inline __half __float2half_rn(float value) {
  return {uint16_t(__builtin_ia32_vcvtps2ph(emulate_float4{value}, 0)[0])};  // 0: to nearest, ties to even
}
inline __half __float2half(float value) { return __float2half_rn(value); }
inline float __half2float(__half value) { return __builtin_ia32_vcvtph2ps(emulate_short8{short(value.bits)})[0]; }

// ---- arithmetic that CUDA has by name --------------------------------------------------------------------------------

template <typename T> inline T __ldg(const T* address) { return *address; }
inline float rsqrtf(float x) { return 1 / sqrtf(x); }
inline double rsqrt(double x) { return 1 / sqrt(x); }
inline float rsqrt(float x) { return 1 / sqrtf(x); }
template <typename A, typename B> inline std::common_type_t<A, B> min(A a, B b) { return a < b ? a : b; }
template <typename A, typename B> inline std::common_type_t<A, B> max(A a, B b) { return a > b ? a : b; }
inline float __fmul_rn(float a, float b) { return a * b; }  // g++ fuses nothing: build.py says so
inline double __dmul_rn(double a, double b) { return a * b; }
inline unsigned __umulhi(unsigned a, unsigned b) { return unsigned((uint64_t(a) * b) >> 32); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __clz(int x) { return x ? __builtin_clz(unsigned(x)) : 32; }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __float_as_int(float x) { int bits; memcpy(&bits, &x, 4); return bits; }
inline float __int_as_float(int bits) { float x; memcpy(&x, &bits, 4); return x; }
