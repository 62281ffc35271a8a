// Threads of a block as fibers, and where they wait for each other: barriers and shuffles.
#pragma once
#if !defined(__x86_64__) || !defined(__linux__)
#error "the emulator needs Linux on x86-64: its switch between fibers is written in assembler"
#endif
#include <dlfcn.h>
#include <link.h>
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
#include "words.h"

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

#define EMULATOR __attribute__((no_sanitize("thread", "kernel-address")))  // the emulator's own variables are not watched

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
  char* tag;          // of the same shuffle
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
  int first_bit;          // for ThreadSanitizer: of the bits that tell threads or blocks apart, see tsan_threads
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
static unsigned tags_given, blocks_run;            // how many of this launch there were
static int true_predicates, true_predicates_before;
static bool reached[kMaxBarriers];                 // barriers by number

// What orders threads, for ThreadSanitizer: all that happened before a release of an address happened before what comes
// after an acquire of it. Each barrier and each meeting of lanes at a shuffle has an address of its own.
//
// ThreadSanitizer has 32 threads for all of a launch, which therefore runs several times (see worker.h). Those whose
// numbers have the same five bits, from Config::first_bit on, are one for it, and it sees no race between them. Two threads
// differ in the lower five bits or in the upper five, two blocks in some five:
//   - Threads by the lower five: the lanes of a warp against each other. A lane is one with that lane of the other warps,
//     which hides nothing, as from one barrier to the next a warp runs with none of the others in between.
//   - Threads by the upper five: warps against each other. Nothing but barriers orders warps, and these order all threads.
//   - Blocks (unordered_blocks): all threads of a block are one, as one thread sees what it does itself in order.
//
// Why not one for each thread? From GCC 13 and LLVM 14 on, the run time has 255 slots for threads (kThreadSlotCount in
// compiler-rt/lib/tsan/rtl), and a thread beyond takes another's. Measured with GCC 14's: in blocks of up to 255 threads all
// races that we tried were reported; in blocks of 256 to 1024 none after a barrier (what a thread does that got its slot by
// an acquire is not found again for the report, which is dropped); with that mended, none of two threads 255 apart. GCC 12's
// reported all, in half a second a launch; with 32 threads that is 0.1 to 0.15.
constexpr int kTsanThreads = 32, kTsanBits = 5;
constexpr unsigned kTags = 1 << 14;
static char start_tag, end_tag, tags[kTags], *barrier_tag;
static void *scheduler_tsan, *tsan_threads[kTsanThreads];

EMULATOR inline void order_release(void* tag) { TSAN(if (tag) __tsan_release(tag);) (void)tag; }
EMULATOR inline void order_acquire(void* tag) { TSAN(if (tag) __tsan_acquire(tag);) (void)tag; }
// In unordered_blocks none is needed: barriers and shuffles are within a block, which is one thread.
EMULATOR inline char* fresh_tag() { return config.unordered_blocks ? nullptr : &tags[tags_given++ % kTags]; }

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
  char* tag = barrier_tag;
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
  const unsigned others = warp.arrived & mask;
  current->tag = others ? fibers[first + __builtin_ctz(others)].tag : fresh_tag();
  warp.arrived |= 1u << lane;
  current->mask = mask;
  current->place = place;
  current->state = State::at_shuffle;
  order_release(current->tag);
  if ((warp.arrived & mask) == mask) complete_shuffle(warp, fibers + first, mask, place);
  else to_scheduler();
  order_acquire(current->tag);
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
