// CUDA C on the CPU: g++ compiles a kernel against this header, and run_grid() runs it, to find mistakes and not to be fast.
//
// A block runs after the other. The threads of a block are fibers: each has a stack of its own and runs alone until it
// comes to a barrier or a shuffle, then the next one has its turn. Which is next is a choice (Config::order), and a
// kernel that is right gives the same result for all of them. A GPU runs warps in any order too, but shows only one.
//
// On the way it checks what a GPU does not:
//   - shared memory holds NaN bytes when a block starts, so that what is read before it is written shows;
//   - all threads of a block that wait, wait at the same __syncthreads(); none has returned before;
//   - the lanes of a shuffle's mask, and only they, meet at that shuffle, and each reads a lane of the mask;
//   - what traps (a page beyond an array, an index beyond a shared array, a misaligned float4) is reported with its place.
// With -fsanitize=thread ThreadSanitizer knows of the threads, and reports two that touch the same memory with no barrier or
// shuffle between them, whatever the result is.
//
// Not here: textures, cooperative groups, inline PTX, tensor cores, cp.async, atomics. Threads of a warp do not run in step,
// which CUDA does not promise either (since Volta). g++ accepts what NVRTC does not: always compile with both.
//
// words.h has CUDA's words, fibers.h the threads and where they wait, blocks.h the grid; here kernels become functions of C.
#pragma once
#include "blocks.h"

namespace emulator {

template <typename... A> struct Call {
  void (*function)(A...);
  void** arguments;  // the address of each
};
template <typename... A, size_t... I> EMULATOR inline void call(const Call<A...>& c, std::index_sequence<I...>) {
  c.function(*static_cast<std::remove_const_t<A>*>(c.arguments[I])...);
}
template <typename... A>
EMULATOR int launch(void (*function)(A...), const unsigned* grid, const unsigned* block, size_t shared, const Config* how,
                    Failure* out, void** arguments) {
  Call<A...> c{function, arguments};
  return run_grid(grid, block, shared, how, out, [](void* p) EMULATOR {
    call(*static_cast<Call<A...>*>(p), std::index_sequence_for<A...>{});
  }, &c);
}

// A type in NumPy's letters: "f" float, "*f" pointer, "&f" pointer to const, "&*f" table of pointers.
template <typename T> constexpr char letter() {
  if (std::is_same_v<T, bool>) return '?';
  if (std::is_same_v<T, __half> || std::is_same_v<T, __half2>) return 'e';
  if (std::is_same_v<T, float> || std::is_same_v<T, float2> || std::is_same_v<T, float4>) return 'f';
  if (std::is_same_v<T, double> || std::is_same_v<T, double2>) return 'd';
  if (std::is_same_v<T, int2> || std::is_same_v<T, int4>) return 'i';
  if (std::is_integral_v<T>) return (std::is_signed_v<T> ? " bh i   q" : " BH I   Q")[sizeof(T)];
  return 'V';
}
template <typename T> void append_type(char*& text) {
  if constexpr (std::is_pointer_v<T>) {
    using Target = std::remove_pointer_t<T>;
    *text++ = std::is_const_v<Target> ? '&' : '*';
    append_type<std::remove_cv_t<Target>>(text);
  } else {
    *text++ = letter<T>();
    *text++ = ' ';
  }
}
template <typename... A> void signature(void (*)(A...), char* text) {
  (append_type<std::remove_cv_t<A>>(text), ...);
  *text = 0;
}

}  // namespace emulator

#define EMULATE_EXPORT(number, ...)                                                                                       \
  extern "C" int launch_##number(const unsigned* grid, const unsigned* block, size_t shared, const emulator::Config* how, \
                                 emulator::Failure* out, void** arguments) {                                              \
    return emulator::launch(__VA_ARGS__, grid, block, shared, how, out, arguments);                                       \
  }                                                                                                                       \
  extern "C" void signature_##number(char* text) { emulator::signature(__VA_ARGS__, text); }
