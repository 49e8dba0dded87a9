// Runs CUDA kernel sources on the CPU: grids, blocks, shared memory, barriers, warp shuffles, votes, atomics, tensor-core
// fragments and asynchronous copies, one fiber (user-level thread) per CUDA thread of the block being run.
//
// The kernels under test are compiled unchanged with `g++ -std=c++17 -DSEEDLS_CUDA_EMULATION`; this header stands in for
// CUDA's built-ins and for model_runtime/kernels/cuda/intrinsics.cuh.
//
// It is stricter than a GPU on purpose. A launch fails, with a message, on: a vector access that is not 16-byte aligned;
// a warp operation that some lanes of the warp do not reach, or reach at a different operation; threads left waiting
// for ever. Shared memory starts as NaN in every block; asynchronous copies land as late as the wait allows, or at once; and
// threads, warps and blocks run in several orders, so that a missing barrier changes the result instead of hiding.
#pragma once

#include <setjmp.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>
#include <vector>

typedef unsigned short uint16;
typedef unsigned int uint32;
typedef long long int64;

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __restrict__ __restrict
#define __launch_bounds__(...)
#define __shared__ static __attribute__((section("cuda_shared")))
#define SHARED_MEMORY(name) unsigned char* name = cuda_emulation::dynamic_shared

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
};

struct alignas(16) Vector {
  uint32 x, y, z, w;
};

extern "C" unsigned char __start_cuda_shared[] __attribute__((weak));
extern "C" unsigned char __stop_cuda_shared[] __attribute__((weak));

namespace cuda_emulation {

constexpr int WARP = 32;
constexpr int MAX_THREADS = 1024;
constexpr size_t STACK_BYTES = 64 * 1024;
constexpr size_t MAX_SHARED_BYTES = 227 * 1024;

enum class State { ready, at_barrier, at_warp_operation, done };
enum class Operation { none, shuffle, ballot, mma, load_matrix, sync };

struct PendingCopy {
  void* target;
  unsigned char bytes[16];
  int group;
};

struct Warp {
  alignas(16) unsigned char slot[WARP][64];  // what each lane brings to a warp operation, then what it takes away
  Operation operation = Operation::none;
  int num_waiting = 0, num_alive = 0;
};

struct Fiber {
  ucontext_t start;
  jmp_buf resume;
  bool has_started = false;
  State state = State::done;
  dim3 thread_index;
  int lane = 0;
  Warp* warp = nullptr;
  int copy_groups = 0;
  std::vector<PendingCopy> copies;
};

inline Fiber* current = nullptr;
inline dim3 grid_size, block_size, block_index;
inline unsigned char* dynamic_shared = nullptr;
inline jmp_buf scheduler;
inline Fiber fibers[MAX_THREADS];
inline Warp warps[MAX_THREADS / WARP];
inline unsigned char* stacks = nullptr;
inline int num_threads = 0, num_alive = 0, num_at_barrier = 0;
inline bool copies_land_at_once = false;
inline char error[512];
inline void (*call_kernel)(void* kernel, void** given) = nullptr;
inline void* kernel_to_call = nullptr;
inline void** kernel_arguments = nullptr;

[[noreturn]] inline void fail(const char* reason) {
  std::snprintf(error, sizeof error, "%s (block %u,%u,%u thread %u,%u)", reason, block_index.x, block_index.y,
                block_index.z, current ? current->thread_index.x : 0, current ? current->thread_index.y : 0);
  _longjmp(scheduler, 2);
}

inline void yield() {
  if (_setjmp(current->resume) == 0) _longjmp(scheduler, 1);
}

inline void release_barrier_if_complete() {
  if (num_alive == 0 || num_at_barrier < num_alive) return;
  num_at_barrier = 0;
  for (int i = 0; i < num_threads; ++i)
    if (fibers[i].state == State::at_barrier) fibers[i].state = State::ready;
}

inline void barrier() {
  current->state = State::at_barrier;
  ++num_at_barrier;
  release_barrier_if_complete();
  if (current->state != State::ready) yield();
}

// The lane that arrives last runs `combine` over all slots, then everyone goes on with what its slot holds.
template <class Combine>
inline unsigned char* warp_operation(Operation operation, unsigned mask, const void* given, size_t bytes, Combine combine) {
  Warp& warp = *current->warp;
  if (mask != 0xffffffffu) fail("warp operation with a partial mask");
  if (warp.num_alive != WARP) fail("warp operation in a warp with exited or missing lanes");
  if (warp.num_waiting > 0 && warp.operation != operation) fail("lanes of one warp meet at different operations");
  warp.operation = operation;
  std::memcpy(warp.slot[current->lane], given, bytes);
  if (++warp.num_waiting == WARP) {
    combine(warp);
    warp.num_waiting = 0;
    Fiber* first = current - current->lane;
    for (int lane = 0; lane < WARP; ++lane) first[lane].state = State::ready;
  } else {
    current->state = State::at_warp_operation;
    yield();
  }
  return warp.slot[current->lane];
}

inline void fiber_main() {
  call_kernel(kernel_to_call, kernel_arguments);
  current->state = State::done;
  --num_alive;
  if (current->warp->num_waiting > 0) fail("a lane exits while others wait for it in a warp operation");
  --current->warp->num_alive;
  release_barrier_if_complete();
  _longjmp(scheduler, 1);
}

inline void prepare_fiber(int i) {
  Fiber& fiber = fibers[i];
  getcontext(&fiber.start);
  fiber.start.uc_stack.ss_sp = stacks + static_cast<size_t>(i) * STACK_BYTES;
  fiber.start.uc_stack.ss_size = STACK_BYTES;
  fiber.start.uc_link = nullptr;
  makecontext(&fiber.start, fiber_main, 0);
  fiber.has_started = false;
  fiber.state = State::ready;
  fiber.lane = i % WARP;
  fiber.warp = &warps[i / WARP];
  fiber.copies.clear();
  fiber.copy_groups = 0;
  fiber.thread_index = {i % block_size.x, i / block_size.x % block_size.y, i / block_size.x / block_size.y};
}

inline void poison_shared(size_t dynamic_bytes) {
  std::memset(dynamic_shared, 0xff, dynamic_bytes);  // NaN in float32, float16 and bfloat16
  if (__start_cuda_shared) std::memset(__start_cuda_shared, 0xff, __stop_cuda_shared - __start_cuda_shared);
}

// Returns false when the block failed. `schedule`: 0 forward; 1 backward; else a shuffled order that changes each pass, in
// which random warps stand still for a while, so that warps drift apart between barriers. Odd: copies land at once.
inline bool run_block(unsigned schedule, size_t shared_bytes) {
  num_alive = num_threads;
  num_at_barrier = 0;
  poison_shared(shared_bytes);
  for (int w = 0; w * WARP < num_threads; ++w) {
    warps[w].num_waiting = 0;
    warps[w].num_alive = std::min(WARP, num_threads - w * WARP);
  }
  for (int i = 0; i < num_threads; ++i) prepare_fiber(i);
  static int order[MAX_THREADS];
  for (int i = 0; i < num_threads; ++i) order[i] = schedule == 1 ? num_threads - 1 - i : i;
  static uint32 random_state;
  random_state = schedule * 2654435761u + 1;

  while (num_alive > 0) {
    if (schedule > 1)
      for (int i = num_threads - 1; i > 0; --i) {
        random_state = random_state * 1664525u + 1013904223u;
        std::swap(order[i], order[(random_state >> 8) % (i + 1)]);
      }
    static bool has_progressed;
    static uint32 stalled_warps;
    stalled_warps = schedule > 1 && has_progressed ? random_state ^ random_state >> 13 : 0;
    has_progressed = false;
    static int next;  // static: must survive the jumps
    for (next = 0; next < num_threads; ++next) {
      Fiber& fiber = fibers[order[next]];
      if (fiber.state != State::ready || (stalled_warps >> order[next] / WARP & 1)) continue;
      has_progressed = true;
      current = &fiber;
      const int event = _setjmp(scheduler);
      if (event == 2) return false;
      if (event == 0) {
        if (current->has_started) _longjmp(current->resume, 1);
        current->has_started = true;
        setcontext(&current->start);
      }
    }
    if (!has_progressed && stalled_warps == 0) {
      current = nullptr;
      std::snprintf(error, sizeof error, "deadlock: %d threads of block %u,%u,%u wait for ever", num_alive, block_index.x,
                    block_index.y, block_index.z);
      return false;
    }
  }
  return true;
}

inline int run_grid(dim3 grid, dim3 block, size_t shared_bytes, unsigned schedule) {
  error[0] = 0;
  const size_t threads = static_cast<size_t>(block.x) * block.y * block.z;
  if (threads == 0 || threads > MAX_THREADS) return std::snprintf(error, sizeof error, "%zu threads a block", threads), 1;
  if (shared_bytes > MAX_SHARED_BYTES) return std::snprintf(error, sizeof error, "%zu shared bytes", shared_bytes), 1;
  if (grid.y > 65535 || grid.z > 65535) return std::snprintf(error, sizeof error, "grid %u,%u", grid.y, grid.z), 1;
  if (!stacks) {
    stacks = static_cast<unsigned char*>(mmap(nullptr, MAX_THREADS * STACK_BYTES, PROT_READ | PROT_WRITE,
                                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    dynamic_shared = static_cast<unsigned char*>(std::aligned_alloc(1024, 228 * 1024));
  }
  grid_size = grid;
  block_size = block;
  num_threads = static_cast<int>(threads);
  const size_t num_blocks = static_cast<size_t>(grid.x) * grid.y * grid.z;
  for (size_t n = 0; n < num_blocks; ++n) {
    const size_t b = schedule == 1 ? num_blocks - 1 - n : n;
    block_index = {static_cast<unsigned>(b % grid.x), static_cast<unsigned>(b / grid.x % grid.y),
                   static_cast<unsigned>(b / grid.x / grid.y)};
    if (!run_block(schedule, shared_bytes)) return 1;
  }
  return 0;
}

template <class... Arguments, size_t... I>
inline void call_unpacked(void (*kernel)(Arguments...), void** given, std::index_sequence<I...>) {
  kernel(*static_cast<Arguments*>(given[I])...);
}

template <class... Arguments>
inline void call_typed(void* kernel, void** given) {
  call_unpacked(reinterpret_cast<void (*)(Arguments...)>(kernel), given, std::index_sequence_for<Arguments...>{});
}

template <class... Arguments>
inline int launch(void (*kernel)(Arguments...), const unsigned* grid, const unsigned* block, size_t shared_bytes,
                  unsigned schedule, void** given, int num_given) {
  if (num_given != sizeof...(Arguments))
    return std::snprintf(error, sizeof error, "%d arguments for %zu parameters", num_given, sizeof...(Arguments)), 1;
  call_kernel = call_typed<Arguments...>;
  kernel_to_call = reinterpret_cast<void*>(kernel);
  kernel_arguments = given;
  copies_land_at_once = schedule % 2 == 1;
  return run_grid({grid[0], grid[1], grid[2]}, {block[0], block[1], block[2]}, shared_bytes, schedule);
}

// Bytes of each parameter, so that the caller can check what it passes as a driver would not.
template <class... Arguments>
inline int parameter_sizes(void (*)(Arguments...), int* sizes) {
  int n = 0;
  ((sizes[n++] = static_cast<int>(sizeof(Arguments))), ...);
  return n;
}

}  // namespace cuda_emulation

#define threadIdx (cuda_emulation::current->thread_index)
#define blockIdx (cuda_emulation::block_index)
#define blockDim (cuda_emulation::block_size)
#define gridDim (cuda_emulation::grid_size)

#include "emulated_intrinsics.h"
