// The weight-only linear layer for up to 128 rows, in every weight format, with bias, row scale and low-rank adapter.
//   out[t][n] = row_scale[t] * (sum_k x[t][k] * weight[n][k] + sum_r adapter_x[t][r] * adapter_up[n][r] + bias[n])
// x: [rows, num_in], out: [rows, num_out], bias: [num_out], adapter_x: [rows, rank], adapter_up: [num_out, rank], all
// element; row_scale: [rows] float. bias, row_scale and the adapter may be null. x, values and adapter 16-byte aligned.
// Launch: grid (ceil(num_out / (16 * OUT_TILES)), splits of the inputs), NUM_WARPS warps a block, every one of which takes
// every NUM_WARPS-th chunk of the same outputs; shared memory `linear_shared_bytes`. Splits publish partial sums in
// `partial` [column blocks][splits][rows][16 * OUT_TILES] and the last to arrive adds them in order.
// Compile parameters: ROW_TILES = ceil(rows / 8) rounded up to 1, 2, 4, 8 or 16; OUT_TILES 1 or 2.
#pragma once
#include "skinny_matmul.cuh"

constexpr int NUM_WARPS = 8;
constexpr int TILE_OUTS = 16 * OUT_TILES;
constexpr int TILE_ROWS = 8 * ROW_TILES;

struct LinearArguments {
  const element* x;
  WeightMatrix weight;
  const float* out_scales;  // [num_out], 8-bit only
  const element* bias;
  const element* adapter_x;
  const element* adapter_up;
  const float* row_scale;
  element* out;
  float* partial;
  int* counters;
  int rows, rank;
};

typedef float Accumulators[OUT_TILES][ROW_TILES][4];

// Sums the accumulators of all warps into warp 0, halving the number of warps that hold any; `slots` is shared memory.
__device__ __forceinline__ void sum_over_warps(Accumulators& acc, float* slots) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll
  for (int width = NUM_WARPS / 2; width > 0; width /= 2) {
    float* slot = slots + (warp % width) * (OUT_TILES * ROW_TILES * 4 * 32) + lane;
    if (warp >= width && warp < 2 * width) {
#pragma unroll
      for (int i = 0; i < OUT_TILES * ROW_TILES * 4; ++i) slot[32 * i] = acc[i / (4 * ROW_TILES)][i / 4 % ROW_TILES][i % 4];
    }
    __syncthreads();
    if (warp < width) {
#pragma unroll
      for (int i = 0; i < OUT_TILES * ROW_TILES * 4; ++i) acc[i / (4 * ROW_TILES)][i / 4 % ROW_TILES][i % 4] += slot[32 * i];
    }
    __syncthreads();
  }
}

__device__ __forceinline__ void scale_outputs(Accumulators& acc, const float* out_scales, int first_out, int num_out) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int tile = 0; tile < OUT_TILES; ++tile) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int out = first_out + 16 * tile + lane / 4 + 8 * half;
      const float scale = out < num_out ? out_scales[out] : 0.0f;
#pragma unroll
      for (int row_tile = 0; row_tile < ROW_TILES; ++row_tile) {
        acc[tile][row_tile][2 * half] *= scale;
        acc[tile][row_tile][2 * half + 1] *= scale;
      }
    }
  }
}

__device__ __forceinline__ void store_output(const LinearArguments& given, float sum, int row, int out) {
  if (given.bias != nullptr) sum += to_float(given.bias[out]);
  if (given.row_scale != nullptr) sum *= given.row_scale[row];
  given.out[static_cast<int64>(row) * given.weight.num_out + out] = to_element(sum);
}

template <int BITS>
__device__ __forceinline__ void linear(const LinearArguments& given) {
  SHARED_MEMORY(shared);
  __shared__ int last_flag;
  float* slots = reinterpret_cast<float*>(shared);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int first_out = blockIdx.x * TILE_OUTS, split = blockIdx.y, num_splits = gridDim.y;
  const int num_chunks = (given.weight.num_in + Format<BITS>::CHUNK - 1) / Format<BITS>::CHUNK;

  Accumulators acc;
#pragma unroll
  for (int i = 0; i < OUT_TILES * ROW_TILES * 4; ++i) acc[i / (4 * ROW_TILES)][i / 4 % ROW_TILES][i % 4] = 0.0f;
  accumulate<BITS>(acc, given.weight, first_out, given.x, given.rows, split * NUM_WARPS + warp,
                                         NUM_WARPS * num_splits, num_chunks);
  sum_over_warps(acc, slots);

  if (warp == 0) {
    if (BITS == 8) scale_outputs(acc, given.out_scales, first_out, given.weight.num_out);
    if (split == 0 && given.adapter_up != nullptr) {
      const WeightMatrix up = {reinterpret_cast<const unsigned char*>(given.adapter_up), nullptr, given.weight.num_out,
                               given.rank};
      const int adapter_chunks = (given.rank + Format<16>::CHUNK - 1) / Format<16>::CHUNK;
      accumulate<16>(acc, up, first_out, given.adapter_x, given.rows, 0, 1, adapter_chunks);
    }
#pragma unroll
    for (int i = 0; i < OUT_TILES * ROW_TILES * 4; ++i) {  // to [row][output], so that all warps write whole sectors
      const int tile = i / (4 * ROW_TILES), row_tile = i / 4 % ROW_TILES, j = i % 4;
      const int row = 8 * row_tile + 2 * (lane % 4) + j % 2, out = 16 * tile + lane / 4 + 8 * (j / 2);
      slots[row * TILE_OUTS + out] = acc[tile][row_tile][j];
    }
  }
  __syncthreads();

  const int64 block_stride = static_cast<int64>(given.rows) * TILE_OUTS;
  float* published = given.partial + static_cast<int64>(blockIdx.x) * num_splits * block_stride;
  for (int i = threadIdx.x; i < given.rows * TILE_OUTS; i += 32 * NUM_WARPS) {
    const int out = first_out + i % TILE_OUTS;
    if (num_splits > 1)
      published[split * block_stride + i] = slots[i];
    else if (out < given.weight.num_out)
      store_output(given, slots[i], i / TILE_OUTS, out);
  }
  if (num_splits == 1 || !is_last_block(given.counters + blockIdx.x, num_splits, &last_flag)) return;
  for (int i = threadIdx.x; i < given.rows * TILE_OUTS; i += 32 * NUM_WARPS) {
    const int out = first_out + i % TILE_OUTS;
    if (out >= given.weight.num_out) continue;
    float sum = 0.0f;
    for (int s = 0; s < num_splits; ++s) sum += load_published(published + s * block_stride + i);
    store_output(given, sum, i / TILE_OUTS, out);
  }
}
