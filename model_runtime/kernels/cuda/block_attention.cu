// Attention of a small block of queries over a long cache that already holds the block's own keys and values.
//   q, out: [rows, heads, HEAD_DIM] element; k_cache, v_cache: [kv_heads, capacity, HEAD_DIM] element, 16-byte aligned.
//   state: int32 [3], see common.cuh. Row t < num_causal sees slots 0..length + t, later rows every slot below
//   length + num_rows; rows past num_rows come out as zeros. Slots from length + num_rows on are never read.
// Launch: grid (splits of keys_per_split keys, kv_heads, tiles of QUERY_TILE queries), NUM_WARPS warps a block. The queries of one
// key/value head (rows x heads / kv_heads of them) are stacked, so that a key is read once for all of them; each warp
// owns 16 and keeps its running softmax in registers. Keys and values come through two shared-memory stages by
// asynchronous copies. Splits that have work publish partial results and the last to arrive combines them, in a fixed
// order, so the result does not depend on timing and no second launch is needed. Where splits begin does not depend on
// the rows: a row's result is the same to the last bit whatever stands beside or behind it.
// Compile parameters: HEAD_DIM 64 or 128; NUM_WARPS 1, 2 or 4.
#include "common.cuh"

constexpr int KEY_TILE = 4096 / HEAD_DIM;       // 2 stages x (keys + values) stay below 48 KB for both head sizes
constexpr int ROW_ELEMENTS = HEAD_DIM + 8;      // 16 bytes of padding: no bank conflicts on fragment loads
constexpr int TILE_ELEMENTS = KEY_TILE * ROW_ELEMENTS;
constexpr int QUERY_TILE = 16 * NUM_WARPS;

struct Softmax {
  float acc[HEAD_DIM / 8][4];  // fragments of sum(p * v): rows lane/4 and lane/4 + 8
  float largest[2];            // of scores * scale * log2(e)
  float sum[2];                // this lane's share of sum(p)
};

__device__ __forceinline__ void load_tile(element* keys, const element* k_head, const element* v_head, int first, int end) {
  element* values = keys + TILE_ELEMENTS;
  constexpr int VECTORS = HEAD_DIM / VECTOR_ELEMENTS;
  for (int i = threadIdx.x; i < KEY_TILE * VECTORS; i += 32 * NUM_WARPS) {
    const int row = i / VECTORS, column = i % VECTORS * VECTOR_ELEMENTS;
    const bool is_valid = first + row < end;
    const int64 offset = static_cast<int64>(is_valid ? first + row : 0) * HEAD_DIM + column;
    async_copy(keys + row * ROW_ELEMENTS + column, k_head + offset, is_valid);
    async_copy(values + row * ROW_ELEMENTS + column, v_head + offset, is_valid);
  }
}

__device__ __forceinline__ void attend_tile(Softmax& softmax, const uint32 (&query)[HEAD_DIM / 16][4], const element* keys,
                                            int first, const int (&last_visible)[2], float scale_log2) {
  const element* values = keys + TILE_ELEMENTS;
  const int lane = threadIdx.x % 32;
  float scores[KEY_TILE / 8][4];
#pragma unroll
  for (int n = 0; n < KEY_TILE / 8; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) scores[n][i] = 0.0f;
    const element* key = keys + (n * 8 + lane / 4) * ROW_ELEMENTS + 2 * (lane % 4);
#pragma unroll
    for (int k = 0; k < HEAD_DIM / 16; ++k) {
      const uint32 fragment[2] = {*reinterpret_cast<const uint32*>(key + 16 * k),
                                  *reinterpret_cast<const uint32*>(key + 16 * k + 8)};
      mma(scores[n], query[k], fragment);
    }
  }

  float correction[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float largest = softmax.largest[half];
#pragma unroll
    for (int n = 0; n < KEY_TILE / 8; ++n) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int slot = first + n * 8 + 2 * (lane % 4) + i;
        float& score = scores[n][2 * half + i];
        score = slot <= last_visible[half] ? score * scale_log2 : negative_infinity();
        largest = fmaxf(largest, score);
      }
    }
    largest = fmaxf(largest, __shfl_xor_sync(FULL_WARP, largest, 1));
    largest = fmaxf(largest, __shfl_xor_sync(FULL_WARP, largest, 2));
    const float origin = largest == negative_infinity() ? 0.0f : largest;  // a row that sees nothing yet
    correction[half] = exp2f(softmax.largest[half] - origin);
    softmax.largest[half] = largest;
    softmax.sum[half] *= correction[half];
#pragma unroll
    for (int n = 0; n < KEY_TILE / 8; ++n) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        float& score = scores[n][2 * half + i];
        score = exp2f(score - origin);
        softmax.sum[half] += score;
      }
    }
  }

#pragma unroll
  for (int n = 0; n < HEAD_DIM / 8; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) softmax.acc[n][i] *= correction[i / 2];
  }
#pragma unroll
  for (int k = 0; k < KEY_TILE / 16; ++k) {
    // The layout of two neighbouring score fragments is that of one operand fragment: no exchange is needed.
    const uint32 weights[4] = {
        to_pair(scores[2 * k][0], scores[2 * k][1]), to_pair(scores[2 * k][2], scores[2 * k][3]),
        to_pair(scores[2 * k + 1][0], scores[2 * k + 1][1]), to_pair(scores[2 * k + 1][2], scores[2 * k + 1][3])};
    const element* value_row = values + (16 * k + lane % 16) * ROW_ELEMENTS;
#pragma unroll
    for (int n = 0; n < HEAD_DIM / 8; ++n) {
      uint32 fragment[2];
      load_matrix_transposed(fragment, value_row + 8 * n);
      mma(softmax.acc[n], weights, fragment);
    }
  }
}

// Combines the published partial results of all splits for this block's queries and writes the output.
__device__ __forceinline__ void combine(const float* partial_acc, const float* partial_stats, element* out, int num_splits,
                                        int first_query, int num_queries, int group, int heads, int kv_head) {
  for (int i = threadIdx.x; i < QUERY_TILE * HEAD_DIM / 2; i += 32 * NUM_WARPS) {
    const int local = i / (HEAD_DIM / 2), column = 2 * (i % (HEAD_DIM / 2));
    const int query = first_query + local;
    if (query >= num_queries) continue;
    float largest = negative_infinity();
    for (int s = 0; s < num_splits; ++s)
      largest = fmaxf(largest, load_published(partial_stats + (s * QUERY_TILE + local) * 2));
    float sum = 0.0f, low = 0.0f, high = 0.0f;
    for (int s = 0; s < num_splits; ++s) {
      const float own = load_published(partial_stats + (s * QUERY_TILE + local) * 2);
      if (own == negative_infinity()) continue;
      const float factor = exp2f(own - largest);
      const float* acc = partial_acc + static_cast<int64>(s * QUERY_TILE + local) * HEAD_DIM + column;
      sum += factor * load_published(partial_stats + (s * QUERY_TILE + local) * 2 + 1);
      low += factor * load_published(acc);
      high += factor * load_published(acc + 1);
    }
    const float inverse = sum > 0.0f ? 1.0f / sum : 0.0f;
    const int64 head = static_cast<int64>(query / group) * heads + kv_head * group + query % group;
    *reinterpret_cast<uint32*>(out + head * HEAD_DIM + column) = to_pair(low * inverse, high * inverse);
  }
}

extern "C" __global__ void __launch_bounds__(32 * NUM_WARPS)
block_attention_kernel(const element* __restrict__ q, const element* __restrict__ k_cache,
                       const element* __restrict__ v_cache, const int* __restrict__ state, element* __restrict__ out,
                       float* partial_acc, float* partial_stats, int* counters, int rows, int heads, int kv_heads,
                       int capacity, int keys_per_split, float scale_log2) {
  SHARED_MEMORY(shared);
  __shared__ int last_flag;
  element* stages = reinterpret_cast<element*>(shared);  // [2][keys, values][KEY_TILE][ROW_ELEMENTS]

  const int length = state[STATE_LENGTH], num_causal = state[STATE_NUM_CAUSAL];
  const int num_rows = max(0, min(min(state[STATE_NUM_ROWS], rows), capacity - length));
  const int total = num_rows > 0 ? length + num_rows : 0;
  const int num_splits = max(1, (total + keys_per_split - 1) / keys_per_split);
  const int split = blockIdx.x;
  if (split >= num_splits) return;

  const int group = heads / kv_heads, kv_head = blockIdx.y;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int first_query = blockIdx.z * QUERY_TILE;
  const int num_queries = rows * group;

  // This lane's two queries, the fragments of which start at columns 2 * (lane % 4).
  int last_visible[2];
  int64 head_of[2];
  bool is_query[2];
  uint32 query[HEAD_DIM / 16][4];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int index = first_query + 16 * warp + lane / 4 + 8 * half;
    const int row = index / group;
    is_query[half] = index < num_queries;
    last_visible[half] = row >= num_rows ? -1 : row < num_causal ? length + row : total - 1;
    head_of[half] = static_cast<int64>(row) * heads + kv_head * group + index % group;
    const element* source = q + head_of[half] * HEAD_DIM + 2 * (lane % 4);
#pragma unroll
    for (int k = 0; k < HEAD_DIM / 16; ++k) {
      query[k][half] = last_visible[half] >= 0 ? *reinterpret_cast<const uint32*>(source + 16 * k) : 0;
      query[k][half + 2] = last_visible[half] >= 0 ? *reinterpret_cast<const uint32*>(source + 16 * k + 8) : 0;
    }
  }
  const bool has_work = first_query + 16 * warp < num_rows * group;  // the same for the whole warp

  Softmax softmax;
#pragma unroll
  for (int n = 0; n < HEAD_DIM / 8; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) softmax.acc[n][i] = 0.0f;
  }
  softmax.largest[0] = softmax.largest[1] = negative_infinity();
  softmax.sum[0] = softmax.sum[1] = 0.0f;

  const element* k_head = k_cache + static_cast<int64>(kv_head) * capacity * HEAD_DIM;
  const element* v_head = v_cache + static_cast<int64>(kv_head) * capacity * HEAD_DIM;
  const int first_key = split * keys_per_split;
  const int end_key = min(total, first_key + keys_per_split);
  const int num_tiles = (end_key - first_key + KEY_TILE - 1) / KEY_TILE;

  if (num_tiles > 0) load_tile(stages, k_head, v_head, first_key, end_key);
  async_copy_commit();
  for (int tile = 0; tile < num_tiles; ++tile) {
    if (tile + 1 < num_tiles)
      load_tile(stages + (tile + 1) % 2 * 2 * TILE_ELEMENTS, k_head, v_head, first_key + (tile + 1) * KEY_TILE, end_key);
    async_copy_commit();
    async_copy_wait<1>();
    __syncthreads();
    if (has_work)
      attend_tile(softmax, query, stages + tile % 2 * 2 * TILE_ELEMENTS, first_key + tile * KEY_TILE, last_visible,
                  scale_log2);
    __syncthreads();
  }
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    softmax.sum[half] += __shfl_xor_sync(FULL_WARP, softmax.sum[half], 1);
    softmax.sum[half] += __shfl_xor_sync(FULL_WARP, softmax.sum[half], 2);
  }

  if (num_splits == 1) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      if (!is_query[half]) continue;
      const float inverse = softmax.sum[half] > 0.0f ? 1.0f / softmax.sum[half] : 0.0f;
      element* target = out + head_of[half] * HEAD_DIM + 2 * (lane % 4);
#pragma unroll
      for (int n = 0; n < HEAD_DIM / 8; ++n)
        *reinterpret_cast<uint32*>(target + 8 * n) =
            to_pair(softmax.acc[n][2 * half] * inverse, softmax.acc[n][2 * half + 1] * inverse);
    }
    return;
  }

  const int tile_index = kv_head * gridDim.z + blockIdx.z;
  partial_acc += static_cast<int64>(tile_index) * gridDim.x * QUERY_TILE * HEAD_DIM;
  partial_stats += static_cast<int64>(tile_index) * gridDim.x * QUERY_TILE * 2;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int local = split * QUERY_TILE + 16 * warp + lane / 4 + 8 * half;
    float* target = partial_acc + static_cast<int64>(local) * HEAD_DIM + 2 * (lane % 4);
#pragma unroll
    for (int n = 0; n < HEAD_DIM / 8; ++n) {
      target[8 * n] = softmax.acc[n][2 * half];
      target[8 * n + 1] = softmax.acc[n][2 * half + 1];
    }
    if (lane % 4 == 0) {
      partial_stats[local * 2] = softmax.largest[half];
      partial_stats[local * 2 + 1] = softmax.sum[half];
    }
  }
  if (is_last_block(counters + tile_index, num_splits, &last_flag))
    combine(partial_acc, partial_stats, out, num_splits, first_query, num_queries, group, heads, kv_head);
}
