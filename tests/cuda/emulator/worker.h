// A program that runs one launch for ThreadSanitizer, which wants to be there from a process's first instruction on. It
// runs it several times: threads of a block against each other, then blocks, by five bits of their numbers (tsan_threads).
//
// stdin:  Request, then per region of memory its size and bytes, then per argument: region or -1, and offset or value, then
//         per address that stands in memory: region and offset of its place, and of what it points to.
// stdout: the bytes of the regions as the launch has left them. Exit status 2 with a line on stderr where it failed.
#pragma once
#include "emulate.h"

using Launch = int (*)(const unsigned*, const unsigned*, size_t, const emulator::Config*, emulator::Failure*, void**);

struct Request {
  unsigned grid[3], block[3];
  uint64_t shared;
  emulator::Config config;
  int function, regions, arguments, addresses;
};

EMULATOR inline void read_whole(void* to, size_t bytes) {
  if (fread(to, 1, bytes, stdin) != bytes) exit(3);
}

EMULATOR inline int work(const Launch* launches) {
  constexpr int kMost = 256;
  static char *memory[kMost], *begin[kMost];  // begin: what the regions hold before a run
  static uint64_t sizes[kMost], values[kMost];
  static void* pointers[kMost];
  Request request;
  read_whole(&request, sizeof request);
  if (request.regions > kMost || request.arguments > kMost) exit(3);
  for (int i = 0; i < request.regions; i++) {
    read_whole(&sizes[i], sizeof sizes[i]);
    memory[i] = static_cast<char*>(aligned_alloc(256, (sizes[i] / 256 + 1) * 256));
    begin[i] = static_cast<char*>(malloc(sizes[i] + 1));
    read_whole(begin[i], sizes[i]);
  }
  for (int i = 0; i < request.arguments; i++) {
    int64_t region;
    read_whole(&region, sizeof region);
    read_whole(&values[i], sizeof values[i]);
    if (region >= 0) values[i] += reinterpret_cast<uint64_t>(memory[region]);
    pointers[i] = &values[i];
  }
  for (int i = 0; i < request.addresses; i++) {
    uint64_t place[2], target[2];
    read_whole(place, sizeof place);
    read_whole(target, sizeof target);
    const uint64_t address = reinterpret_cast<uint64_t>(memory[target[0]]) + target[1];
    memcpy(begin[place[0]] + place[1], &address, sizeof address);
  }
  const uint64_t threads = uint64_t(request.block[0]) * request.block[1] * request.block[2];
  const uint64_t blocks = uint64_t(request.grid[0]) * request.grid[1] * request.grid[2];
  for (int unordered = 0; unordered < 2; unordered++) {
    request.config.unordered_blocks = unordered;
    int& bit = request.config.first_bit;
    for (bit = 0; bit == 0 || (unordered ? blocks - 1 : threads - 1) >> bit; bit += emulator::kTsanBits) {
      for (int i = 0; i < request.regions; i++) memcpy(memory[i], begin[i], sizes[i]);
      emulator::Failure failure{};
      if (launches[request.function](request.grid, request.block, request.shared, &request.config, &failure, pointers)) {
        fprintf(stderr, "%s, at %s:%d\n", failure.what, failure.file, failure.line);
        return 2;
      }
    }
  }
  for (int i = 0; i < request.regions; i++) fwrite(memory[i], 1, sizes[i], stdout);
  return 0;
}
