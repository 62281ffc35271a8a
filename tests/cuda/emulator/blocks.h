// A block after the other, their warps in any order: run_grid().
#pragma once
#include "fibers.h"

// ---- blocks and grids ------------------------------------------------------------------------------------------------

namespace emulator {

EMULATOR __attribute__((no_sanitize("undefined"))) inline void poison() {
  for (volatile char *byte = static_shared, *end = byte + static_bytes; byte < end; byte++) *byte = char(0xff);
  for (volatile char *byte = dynamic_shared, *end = byte + dynamic_bytes; byte < end; byte++) *byte = char(0xff);
}

EMULATOR inline void start_fibers() {
  memset(warps, 0, sizeof warps);
  barrier_tag = fresh_tag();
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
    TSAN(const unsigned number = config.unordered_blocks ? blocks_run - 1 : u;
         fiber.tsan = tsan_threads[number >> config.first_bit & (kTsanThreads - 1)];)
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
  barrier_tag = fresh_tag();
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
       for (void*& thread : tsan_threads) if (!thread) thread = __tsan_create_fiber(0);
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

  blocks_run = tags_given = 0;
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

}  // namespace emulator
