// Which words of shared memory each thread touches, and where in the code: what banks.py counts turns from.
//
// With -fsanitize=kernel-address g++ calls a function before each access to memory; here they are. (An access at a place
// that is known when g++ compiles has no such call. All lanes have the same one, so it takes one turn.)
#pragma once
#include "fibers.h"

namespace emulator {

struct Access {
  uint64_t instruction, address;  // the instruction's from the start of the library
  int block, thread, bytes;
};
static Access* accesses;
static size_t accesses_noted, accesses_room;
static Dl_info own_library;

EMULATOR inline void note_access(const void* address, int bytes, void* instruction) {
  const auto at = static_cast<const char*>(address);
  const bool shared = (at >= static_shared && at < static_shared + static_bytes) ||
                      (at >= dynamic_shared && at < dynamic_shared + dynamic_bytes);
  if (!shared) return;
  if (accesses_noted == accesses_room) {
    accesses_room = accesses_room ? 2 * accesses_room : 1 << 12;
    accesses = static_cast<Access*>(realloc(accesses, accesses_room * sizeof(Access)));
  }
  if (!own_library.dli_fbase) dladdr(reinterpret_cast<void*>(fiber_main), &own_library);
  accesses[accesses_noted++] = {size_t(instruction) - size_t(own_library.dli_fbase) - 1, size_t(address), int(blocks_run),
                                int(current - fibers), bytes};
}

}  // namespace emulator

#define EMULATE_HOOK __attribute__((visibility("hidden"))) EMULATOR void
#define EMULATE_HOOKS(bytes)                                                     \
  EMULATE_HOOK __asan_load##bytes##_noabort(void* address) {                     \
    emulator::note_access(address, bytes, __builtin_return_address(0));          \
  }                                                                              \
  EMULATE_HOOK __asan_store##bytes##_noabort(void* address) {                    \
    emulator::note_access(address, bytes, __builtin_return_address(0));          \
  }
extern "C" {
EMULATE_HOOKS(1)
EMULATE_HOOKS(2)
EMULATE_HOOKS(4)
EMULATE_HOOKS(8)
EMULATE_HOOKS(16)
EMULATE_HOOK __asan_loadN_noabort(void* address, size_t bytes) {
  emulator::note_access(address, int(bytes), __builtin_return_address(0));
}
EMULATE_HOOK __asan_storeN_noabort(void* address, size_t bytes) {
  emulator::note_access(address, int(bytes), __builtin_return_address(0));
}
EMULATE_HOOK __asan_handle_no_return() {}

// What was noted since the last call.
emulator::Access* take_accesses(size_t* count) {
  *count = emulator::accesses_noted;
  emulator::accesses_noted = 0;
  return emulator::accesses;
}
}
