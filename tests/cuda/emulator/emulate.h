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
// With -fsanitize=thread each CUDA thread is a thread for ThreadSanitizer, which reports two that touch the same memory
// with no barrier or shuffle between them, whatever the result is.
//
// Not here: textures, cooperative groups, inline PTX, tensor cores, cp.async, atomics. Threads of a warp do not run in step,
// which CUDA does not promise either (since Volta). g++ accepts what NVRTC does not: always compile with both.
#pragma once
#if !defined(__x86_64__) || !defined(__linux__)
#error "the emulator needs Linux on x86-64: its switch between fibers is written in assembler"
#endif
#include <dlfcn.h>
#include <link.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <tuple>
#include <type_traits>
#include <utility>
#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
extern "C" void AnnotateBenignRaceSized(const char* file, int line, const volatile void* memory, size_t bytes, const char* why);
#define TSAN(...) __VA_ARGS__
#else
#define TSAN(...)
#endif

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

// ---- fibers ----------------------------------------------------------------------------------------------------------

// Push the registers that a call must keep, remember the stack pointer in *from, take the other stack and pop its own.
extern "C" __attribute__((visibility("hidden"))) void emulate_switch(void** from, void* to);
asm(R"(
.text
.hidden emulate_switch
.globl emulate_switch
.type emulate_switch, @function
emulate_switch:
  push %rbp
  push %rbx
  push %r12
  push %r13
  push %r14
  push %r15
  mov %rsp, (%rdi)
  mov %rsi, %rsp
  pop %r15
  pop %r14
  pop %r13
  pop %r12
  pop %rbx
  pop %rbp
  ret
)");

#define EMULATOR __attribute__((no_sanitize("thread")))  // the emulator's own variables are no race

namespace emulator {

constexpr int kMaxThreads = 1024, kWarp = 32, kMaxBarriers = 256;
constexpr size_t kStack = 128 << 10, kPage = 4096, kMaxShared = 48 << 10;

struct Place { const char* file; int line; };

enum class State { ready, at_barrier, at_shuffle, done };

struct Fiber {
  void* stack_pointer;
  uint3 thread;
  State state;
  Place place;        // where it waits
  unsigned mask;      // of the shuffle at which it waits
  void* tsan;         // the thread as which ThreadSanitizer sees it
};

struct Warp {
  unsigned arrived;                                // lanes that wait at a shuffle
  int source[kWarp];                               // the lane that each reads
  uint64_t given[kWarp], taken[kWarp];
  unsigned votes[kWarp];                           // for each lane: which lanes of its mask gave something else than 0
};

// How to run; module.py has the same structures.
struct Config {
  int order;              // of threads and of blocks: 0 forward, 1 reverse, else the seed of a shuffle
  int skipped_barrier;    // the number of a __syncthreads() that does nothing, or -1
  int unordered_blocks;   // for ThreadSanitizer: nothing orders the blocks, and shared memory is not watched
};
struct Failure {
  char what[160], file[64];
  int line;               // 0: see address
  size_t address;         // of the instruction that trapped, from the start of the library
  unsigned block[3], thread[3];
};

static Config config;
static Failure failure;
static Fiber fibers[kMaxThreads], *current;
static Warp warps[kMaxThreads / kWarp];
static int threads;                                // of a block
static void* scheduler_stack;
static char *stacks, *static_shared, *dynamic_shared_pages, *dynamic_shared;
static size_t static_bytes, dynamic_bytes;
static volatile __thread char first_shared;        // so that there is one, and its memory with the first use
static void (*kernel)(void* arguments);
static void* kernel_arguments;
static sigjmp_buf abandoned;
static uint64_t random_state;
static unsigned generation, blocks_run;            // how many barriers and blocks of this launch there were
static int true_predicates, true_predicates_before;
static bool reached[kMaxBarriers];                 // barriers by number

// What orders threads, for ThreadSanitizer: all that happened before a release of an address happened before what comes
// after an acquire of it. Barriers and shuffles have an address each time, so that they order no other block.
//
// Of the threads of a block against each other, each is a thread for ThreadSanitizer. Of blocks against each other
// (unordered_blocks), each block is one, as one thread sees what it does itself in order.
constexpr unsigned kTags = 1 << 14;
static char start_tag, end_tag, barrier_tags[kTags], shuffle_tags[kTags];
static void *scheduler_tsan, *tsan_threads[kMaxThreads];

EMULATOR inline void order_release(void* tag) { TSAN(__tsan_release(tag);) (void)tag; }
EMULATOR inline void order_acquire(void* tag) { TSAN(__tsan_acquire(tag);) (void)tag; }

EMULATOR inline unsigned random_below(unsigned limit) {  // xorshift64 (Marsaglia 2003)
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  random_state ^= random_state << 17;
  return unsigned((random_state >> 11) % limit);
}

[[noreturn]] EMULATOR inline void fail(const char* what, Place place, size_t address = 0) {
  snprintf(failure.what, sizeof failure.what, "%s", what);
  snprintf(failure.file, sizeof failure.file, "%s", place.file);
  failure.line = place.line;
  failure.address = address;
  const uint3 where[] = {blockIdx, threadIdx};
  memcpy(failure.block, &where[0], sizeof where[0]);
  memcpy(failure.thread, &where[1], sizeof where[1]);
  siglongjmp(abandoned, 1);
}

EMULATOR inline void to_scheduler() {
  TSAN(__tsan_switch_to_fiber(scheduler_tsan, __tsan_switch_to_fiber_no_sync);)
  emulate_switch(&current->stack_pointer, scheduler_stack);
}

EMULATOR inline void to_fiber(Fiber& fiber) {
  current = &fiber;
  threadIdx = fiber.thread;
  TSAN(__tsan_switch_to_fiber(fiber.tsan, __tsan_switch_to_fiber_no_sync);)
  emulate_switch(&scheduler_stack, fiber.stack_pointer);
}

EMULATOR inline void fiber_main() {
  order_acquire(&start_tag);
  kernel(kernel_arguments);
  current->state = State::done;
  order_release(&end_tag);
  to_scheduler();
  abort();
}

// ---- barriers and shuffles -------------------------------------------------------------------------------------------

EMULATOR inline int barrier(int number, Place place, int predicate = 0) {  // how many threads' predicates are true
  if (number < kMaxBarriers) reached[number] = true;
  if (number == config.skipped_barrier) return predicate != 0;
  char* tag = &barrier_tags[generation % kTags];
  order_release(tag);
  true_predicates += predicate != 0;
  current->state = State::at_barrier;
  current->place = place;
  to_scheduler();
  order_acquire(tag);
  return true_predicates_before;
}

EMULATOR inline void complete_shuffle(Warp& warp, Fiber* lanes, unsigned mask, Place place) {
  unsigned votes = 0;
  for (int lane = 0; lane < kWarp; lane++) {
    if (!(mask >> lane & 1)) continue;
    if (lanes[lane].mask != mask || lanes[lane].place.line != place.line)
      fail("lanes of a warp meet at different shuffles or with different masks", place);
    if (warp.given[lane]) votes |= 1u << lane;
  }
  for (int lane = 0; lane < kWarp; lane++) {
    if (!(mask >> lane & 1)) continue;
    const int source = warp.source[lane];
    if (!(mask >> source & 1)) fail("a shuffle reads a lane that its mask leaves out", place);
    warp.taken[lane] = warp.given[source];
    warp.votes[lane] = votes;
    lanes[lane].state = State::ready;
  }
  warp.arrived &= ~mask;
}

// Give a value to the lanes of `mask` and take the one that lane `source` gives. The last lane to come completes it.
EMULATOR inline uint64_t exchange(unsigned mask, uint64_t value, int source, Place place) {
  const int index = int(current - fibers), lane = index % kWarp, first = index - lane;
  const unsigned living = threads - first >= kWarp ? ~0u : (1u << (threads - first)) - 1;
  Warp& warp = warps[index / kWarp];
  if (!(mask >> lane & 1)) fail("a lane calls a shuffle whose mask leaves it out", place);
  if (mask & ~living) fail("a shuffle's mask names lanes beyond the block", place);
  warp.given[lane] = value;
  warp.source[lane] = source;
  warp.arrived |= 1u << lane;
  current->mask = mask;
  current->place = place;
  current->state = State::at_shuffle;
  char* tag = &shuffle_tags[(generation * unsigned(kMaxThreads / kWarp) + unsigned(index / kWarp)) % kTags];
  order_release(tag);
  if ((warp.arrived & mask) == mask) complete_shuffle(warp, fibers + first, mask, place);
  else to_scheduler();
  order_acquire(tag);
  return warp.taken[lane];
}

EMULATOR inline int own_lane() { return int(current - fibers) % kWarp; }

template <typename T> EMULATOR inline T shuffle(unsigned mask, T value, int source, Place place) {
  static_assert(sizeof(T) <= 8 && std::is_trivially_copyable_v<T>);
  uint64_t bits = 0;
  memcpy(&bits, &value, sizeof value);
  bits = exchange(mask, bits, source, place);
  memcpy(&value, &bits, sizeof value);
  return value;
}

// The lane that a shuffle reads: its own where the wanted one lies beyond its segment of `width` lanes.
EMULATOR inline int lane_at(int wanted, int width) {
  const int lane = own_lane(), first = lane / width * width;
  return wanted < first || wanted >= first + width ? lane : wanted;
}
template <typename T> EMULATOR inline T shuffle_from(Place p, unsigned mask, T v, int source, int width = kWarp) {
  return shuffle(mask, v, own_lane() / width * width + (source & (width - 1)), p);
}
template <typename T> EMULATOR inline T shuffle_up(Place p, unsigned mask, T v, unsigned delta, int width = kWarp) {
  return shuffle(mask, v, lane_at(own_lane() - int(delta), width), p);
}
template <typename T> EMULATOR inline T shuffle_down(Place p, unsigned mask, T v, unsigned delta, int width = kWarp) {
  return shuffle(mask, v, lane_at(own_lane() + int(delta), width), p);
}
template <typename T> EMULATOR inline T shuffle_xor(Place p, unsigned mask, T v, int bits, int width = kWarp) {
  const int lane = own_lane(), wanted = lane ^ bits;
  return shuffle(mask, v, wanted >= lane / width * width + width ? lane : wanted, p);
}
EMULATOR inline void sync_warp(Place p, unsigned mask = ~0u) { exchange(mask, 0, own_lane(), p); }
EMULATOR inline unsigned ballot(Place p, unsigned mask, int predicate) {
  exchange(mask, predicate != 0, own_lane(), p);
  return warps[(current - fibers) / kWarp].votes[own_lane()];
}

}  // namespace emulator

// A barrier has a number, in the order of the source, so that a test can switch it off.
#define EMULATE_PLACE (emulator::Place{__FILE__, __LINE__})
#define EMULATE_BARRIER(...) emulator::barrier(__COUNTER__ - emulate_first_barrier - 1, EMULATE_PLACE __VA_OPT__(, ) __VA_ARGS__)
#define __syncthreads() (void)EMULATE_BARRIER()
#define __syncthreads_count(predicate) EMULATE_BARRIER((predicate) != 0)
#define __syncthreads_or(predicate) (EMULATE_BARRIER((predicate) != 0) != 0)
#define __syncthreads_and(predicate) (EMULATE_BARRIER(!(predicate)) == 0)
#define __syncwarp(...) emulator::sync_warp(EMULATE_PLACE __VA_OPT__(, ) __VA_ARGS__)
#define __shfl_sync(...) emulator::shuffle_from(EMULATE_PLACE, __VA_ARGS__)
#define __shfl_up_sync(...) emulator::shuffle_up(EMULATE_PLACE, __VA_ARGS__)
#define __shfl_down_sync(...) emulator::shuffle_down(EMULATE_PLACE, __VA_ARGS__)
#define __shfl_xor_sync(...) emulator::shuffle_xor(EMULATE_PLACE, __VA_ARGS__)
#define __ballot_sync(...) emulator::ballot(EMULATE_PLACE, __VA_ARGS__)
#define __any_sync(mask, predicate) (__ballot_sync(mask, predicate) != 0)
#define __all_sync(mask, predicate) (__ballot_sync(mask, !(predicate)) == 0)

// ---- blocks and grids ------------------------------------------------------------------------------------------------

namespace emulator {

EMULATOR __attribute__((no_sanitize("undefined"))) inline void poison() {
  for (volatile char *byte = static_shared, *end = byte + static_bytes; byte < end; byte++) *byte = char(0xff);
  for (volatile char *byte = dynamic_shared, *end = byte + dynamic_bytes; byte < end; byte++) *byte = char(0xff);
}

EMULATOR inline void start_fibers() {
  memset(warps, 0, sizeof warps);
  generation++;
  blocks_run++;
  true_predicates = 0;
  for (int i = 0; i < threads; i++) {
    Fiber& fiber = fibers[i];
    const unsigned u = unsigned(i);
    fiber.thread = {u % blockDim.x, u / blockDim.x % blockDim.y, u / blockDim.x / blockDim.y};
    fiber.state = State::ready;
    // What emulate_switch() pops from a new stack: six registers, then the address to which it returns.
    void** top = reinterpret_cast<void**>(stacks + (i + 1) * kStack) - 2;
    *top = reinterpret_cast<void*>(fiber_main);
    fiber.stack_pointer = top - 6;
    TSAN(fiber.tsan = tsan_threads[config.unordered_blocks ? (blocks_run - 1) % kMaxThreads : u];)
  }
}

// All that still run wait at one barrier: let them go on.
EMULATOR inline void open_barrier(int finished) {
  const Fiber* first = nullptr;
  for (int i = 0; i < threads; i++) {
    Fiber& fiber = fibers[i];
    if (fiber.state != State::at_barrier) continue;
    threadIdx = fiber.thread;
    if (finished) fail("__syncthreads() after other threads of the block have returned", fiber.place);
    if (first && fiber.place.line != first->place.line)
      fail("threads of a block wait at different __syncthreads()", fiber.place);
    first = &fiber;
  }
  for (int i = 0; i < threads; i++) fibers[i].state = State::ready;
  true_predicates_before = true_predicates;
  true_predicates = 0;
  generation++;
}

// The numbers below `count` as Config::order wants them.
EMULATOR inline void put_in_order(int* turns, int count) {
  for (int i = 0; i < count; i++) turns[i] = config.order == 1 ? count - 1 - i : i;
  if (config.order > 1)
    for (int i = count; i > 1; i--) std::swap(turns[i - 1], turns[random_below(unsigned(i))]);
}

// Run the lanes of a warp until each waits at a barrier or has returned, or waits for a lane that does.
EMULATOR inline bool run_warp(int first) {
  int turns[kWarp];
  const int lanes = threads - first < kWarp ? threads - first : kWarp;
  for (bool any = false, moved;; any = true) {
    put_in_order(turns, lanes);
    moved = false;
    for (int i = 0; i < lanes; i++)
      if (fibers[first + turns[i]].state == State::ready) {
        moved = true;
        to_fiber(fibers[first + turns[i]]);
      }
    if (!moved) return any;
  }
}

EMULATOR inline void run_block() {
  int turns[kMaxThreads / kWarp];
  const int count = (threads + kWarp - 1) / kWarp;
  poison();
  start_fibers();
  for (;;) {
    // One warp as far as it comes, then the next: what hurries ahead shows what a slow warp would still have read.
    put_in_order(turns, count);
    bool moved = false;
    for (int i = 0; i < count; i++) moved |= run_warp(turns[i] * kWarp);
    int waiting = 0, finished = 0;
    for (int i = 0; i < threads; i++) {
      waiting += fibers[i].state == State::at_barrier;
      finished += fibers[i].state == State::done;
    }
    if (finished == threads) break;
    if (waiting && waiting + finished == threads) {
      open_barrier(finished);
    } else if (!moved) {
      for (int i = 0; i < threads; i++)
        if (fibers[i].state != State::done) {
          threadIdx = fibers[i].thread;
          fail("deadlock: some threads wait at a barrier or shuffle to which others do not come", fibers[i].place);
        }
    }
  }
  if (!config.unordered_blocks) {
    order_acquire(&end_tag);
    order_release(&start_tag);
  }
}

EMULATOR inline void on_signal(int signal, siginfo_t* info, void* context) {
  const auto instruction = size_t(static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP]);
  Dl_info library{};
  dladdr(reinterpret_cast<void*>(fiber_main), &library);
  (void)info;
  fail(signal == SIGSEGV  ? "access outside of an array"
       : signal == SIGFPE ? "integer division by zero"
                          : "undefined behaviour: an index out of bounds, a misaligned address, a shift or a sum that overflows",
       Place{"", 0}, instruction - size_t(library.dli_fbase));
}

// The thread-local variables of this library are the __shared__ ones of its kernels.
EMULATOR inline int find_static_shared(dl_phdr_info* library, size_t, void*) {
  first_shared = 0;
  const size_t here = reinterpret_cast<size_t>(&run_block);
  bool mine = false;
  for (int i = 0; i < library->dlpi_phnum; i++) {
    const auto& segment = library->dlpi_phdr[i];
    const size_t start = library->dlpi_addr + segment.p_vaddr;
    mine |= segment.p_type == PT_LOAD && start <= here && here < start + segment.p_memsz;
  }
  if (!mine) return 0;
  for (int i = 0; i < library->dlpi_phnum; i++)
    if (library->dlpi_phdr[i].p_type == PT_TLS) {
      static_shared = static_cast<char*>(library->dlpi_tls_data);
      static_bytes = library->dlpi_phdr[i].p_memsz;
    }
  return 1;
}

// Dynamic shared memory ends at a page that nobody may touch.
EMULATOR inline void place_dynamic_shared(size_t bytes) {
  constexpr size_t usable = kMaxShared;
  if (!dynamic_shared_pages) {
    dynamic_shared_pages = static_cast<char*>(
        mmap(nullptr, usable + kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    mprotect(dynamic_shared_pages + usable, kPage, PROT_NONE);
  }
  dynamic_bytes = (bytes + 15) / 16 * 16;
  dynamic_shared = dynamic_shared_pages + usable - dynamic_bytes;
}

EMULATOR inline int run_grid(const unsigned* grid, const unsigned* block, size_t shared, const Config* how, Failure* out,
                             void (*function)(void*), void* arguments) {
  static char signal_stack[64 << 10];
  constexpr int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
  config = *how;
  random_state = uint64_t(config.order) * 0x9E3779B97F4A7C15u + 1;
  gridDim = {grid[0], grid[1], grid[2]};
  blockDim = {block[0], block[1], block[2]};
  threads = int(block[0] * block[1] * block[2]);
  kernel = function;
  kernel_arguments = arguments;
  dl_iterate_phdr(find_static_shared, nullptr);
  place_dynamic_shared(shared);
  if (!stacks)
    stacks = static_cast<char*>(mmap(nullptr, kMaxThreads * kStack, PROT_READ | PROT_WRITE,
                                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  TSAN(scheduler_tsan = __tsan_get_current_fiber();
       const uint64_t blocks_now = uint64_t(grid[0]) * grid[1] * grid[2];
       const int wanted = !config.unordered_blocks ? threads : blocks_now < kMaxThreads ? int(blocks_now) : kMaxThreads;
       for (int i = 0; i < wanted; i++) if (!tsan_threads[i]) tsan_threads[i] = __tsan_create_fiber(0);
       if (config.unordered_blocks) {  // the next block takes the same stacks and shared memory
         AnnotateBenignRaceSized("", 0, stacks, kMaxThreads * kStack, "stacks");
         AnnotateBenignRaceSized("", 0, static_shared, static_bytes, "shared memory");
         AnnotateBenignRaceSized("", 0, dynamic_shared, dynamic_bytes, "shared memory");
       })

  stack_t own{}, before{};
  own.ss_sp = signal_stack;
  own.ss_size = sizeof signal_stack;
  struct sigaction action{}, actions_before[4];
  action.sa_sigaction = on_signal;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  sigaltstack(&own, &before);
  for (int i = 0; i < 4; i++) sigaction(signals[i], &action, &actions_before[i]);

  blocks_run = generation = 0;
  order_release(&start_tag);
  const int failed = sigsetjmp(abandoned, 1);
  if (!failed) {
    const uint64_t blocks = uint64_t(grid[0]) * grid[1] * grid[2];
    const uint64_t offset = config.order > 1 ? random_below(unsigned(blocks)) : 0;
    for (uint64_t i = 0; i < blocks; i++) {
      // Shuffled: every other block from the front, the others from the back, begun anywhere.
      const uint64_t mixed = (i % 2 ? blocks - 1 - i / 2 : i / 2) + offset;
      const uint64_t k = config.order == 0 ? i : config.order == 1 ? blocks - 1 - i : mixed % blocks;
      blockIdx = {unsigned(k % grid[0]), unsigned(k / grid[0] % grid[1]), unsigned(k / grid[0] / grid[1])};
      run_block();
    }
    order_acquire(&end_tag);
  } else {
    *out = failure;
  }
  for (int i = 0; i < 4; i++) sigaction(signals[i], &actions_before[i], nullptr);
  sigaltstack(&before, nullptr);
  return failed;
}

// ---- kernels as functions of C ---------------------------------------------------------------------------------------

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

// A type in NumPy's letters: "f" float, "*f" pointer, "&f" pointer to const.
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
  using Target = std::remove_pointer_t<T>;
  if (std::is_pointer_v<T>) *text++ = std::is_const_v<Target> ? '&' : '*';
  *text++ = letter<std::remove_cv_t<Target>>();
  *text++ = ' ';
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
