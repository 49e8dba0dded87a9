// Edits of the canvas (the token ids of the text being denoised) that need no answer from the host: mask again, insert,
// delete. ids, num_insert, is_deleted, source: [capacity] int; probabilities: [capacity] float; length, new_length: [1] int.
#include "common.cuh"

constexpr int REBUILD_THREADS = 1024;

// Masks again every token of the first *length whose probability is below the threshold.
// Launch: one thread a position.
extern "C" __global__ void __launch_bounds__(256)
canvas_renoise_kernel(const int* __restrict__ ids, const float* __restrict__ probabilities, const int* __restrict__ length,
                      int* __restrict__ out, int capacity, int mask_id, float threshold) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= capacity) return;
  out[i] = i < *length && probabilities[i] < threshold ? mask_id : ids[i];
}

__device__ __forceinline__ int outputs_of(const int* num_insert, const int* is_deleted, int i, int capacity) {
  return min(max(num_insert[i], 0), capacity) + (is_deleted[i] == 0);
}

// Before position i go num_insert[i] masks, then ids[i] unless is_deleted[i]; see reference.canvas_rebuild.
// Launch: one block of REBUILD_THREADS. Each thread owns a run of neighbouring positions; a block-wide scan of how many
// tokens each run becomes tells it where to write.
extern "C" __global__ void __launch_bounds__(REBUILD_THREADS)
canvas_rebuild_kernel(const int* __restrict__ ids, const int* __restrict__ num_insert, const int* __restrict__ is_deleted,
                      const int* __restrict__ length, int* __restrict__ out, int* __restrict__ source,
                      int* __restrict__ new_length, int capacity, int mask_id) {
  __shared__ int warp_totals[32];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int num_ids = min(max(*length, 0), capacity);
  const int run = (num_ids + REBUILD_THREADS - 1) / REBUILD_THREADS;
  const int first = min(static_cast<int>(threadIdx.x) * run, num_ids), end = min(first + run, num_ids);

  int count = 0;
  for (int i = first; i < end; ++i) count += outputs_of(num_insert, is_deleted, i, capacity);
  int inclusive = count;
#pragma unroll
  for (int delta = 1; delta < 32; delta *= 2) {
    const int other = __shfl_up_sync(FULL_WARP, inclusive, delta);
    if (lane >= delta) inclusive += other;
  }
  if (lane == 31) warp_totals[warp] = inclusive;
  __syncthreads();
  int total = 0, before = 0;
  for (int w = 0; w < 32; ++w) {
    if (w == warp) before = total;
    total += warp_totals[w];
  }
  total = min(total, capacity);

  int position = before + inclusive - count;
  for (int i = first; i < end; ++i) {
    const int last_mask = position + outputs_of(num_insert, is_deleted, i, capacity) - (is_deleted[i] == 0);
    for (; position < last_mask; ++position)
      if (position < capacity) out[position] = mask_id, source[position] = -1;
    if (is_deleted[i] == 0) {
      if (position < capacity) out[position] = ids[i], source[position] = i;
      ++position;
    }
  }
  for (int i = total + threadIdx.x; i < capacity; i += REBUILD_THREADS) out[i] = mask_id, source[i] = -1;
  if (threadIdx.x == 0) *new_length = total;
}
