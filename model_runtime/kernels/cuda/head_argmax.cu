// Language-model head, softmax, best token and commit decision of one denoising step; logits never reach memory.
//   hidden: [rows, num_in] element; weight: [vocabulary, num_in] of WEIGHT_BITS, layouts as in skinny_matmul.cuh, 8-bit with
//   out_scales [vocabulary] float, 4-bit with group_scales [vocabulary, num_in / 32] element; canvas: [rows] int, the token
//   each row predicts as it stands: mask_id, or a decided token, or -1 (the row decides nothing); thresholds: [2] float.
//   forbidden: [ceil(vocabulary / 32)] int, bit i % 32 of word i / 32 set where token i is never predicted, or null.
//   tokens, next_canvas: [rows] int; probabilities, current_probabilities: [rows] float; status: [2] int = masks left,
//   positions changed. Rules of the decision: reference.commit_decision.
// Launch: grid (blocks, row groups of 8 * ROW_TILES), NUM_WARPS warps a block. Each warp takes every
// (blocks * NUM_WARPS)-th tile of 16 * OUT_TILES tokens over the whole input width and folds its logits into a running
// (largest, token, sum of exponentials) per row; blocks publish theirs and the last block of the launch merges them and
// decides. Ties go to the lowest token id, whatever the order of blocks.
#include "skinny_matmul.cuh"

constexpr int NUM_WARPS = 8;
constexpr int MAX_ROWS = 128;
constexpr int NO_TOKEN = 0x7fffffff;
constexpr float LOG2_E = 1.4426950408889634f;

// Running softmax of one row: sum of exp(logit - largest), and where the largest was.
struct Best {
  float largest;
  int token;
  float sum;
};

__device__ __forceinline__ Best no_best() { return {negative_infinity(), NO_TOKEN, 0.0f}; }

__device__ __forceinline__ Best merge(const Best& a, const Best& b) {
  const bool takes_b = b.largest > a.largest || (b.largest == a.largest && b.token < a.token);
  Best result = takes_b ? b : a;
  if (result.largest == negative_infinity()) return result;
  result.sum = a.sum * exp2f((a.largest - result.largest) * LOG2_E) + b.sum * exp2f((b.largest - result.largest) * LOG2_E);
  return result;
}

__device__ __forceinline__ Best merge_with_lane(const Best& own, int lane_bits) {
  return merge(own, {__shfl_xor_sync(FULL_WARP, own.largest, lane_bits), __shfl_xor_sync(FULL_WARP, own.token, lane_bits),
                     __shfl_xor_sync(FULL_WARP, own.sum, lane_bits)});
}

// One row's result, between the merging and the deciding threads.
struct RowResult {
  int token;
  float probability;
};

struct HeadOutput {
  int* tokens;
  float* probabilities;
  float* current_probabilities;
  int* next_canvas;
  int* status;
};

// The last block: merges what all blocks published, then decides every row. `partial` is [blocks][rows].
__device__ __forceinline__ void decide(const HeadOutput& out, const Best* partial, const float* current_logits,
                                       const int* canvas, const float* thresholds, int num_partial, int rows,
                                       int vocabulary, int mask_id, RowResult* results) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  for (int row = warp; row < rows; row += NUM_WARPS) {
    Best best = no_best();
    for (int i = lane; i < num_partial; i += 32) {
      const Best* published = partial + static_cast<int64>(i) * rows + row;
      best = merge(best, {load_published(&published->largest), load_published(&published->token),
                          load_published(&published->sum)});
    }
#pragma unroll
    for (int bits = 16; bits > 0; bits /= 2) best = merge_with_lane(best, bits);
    if (lane == 0) {
      const int current = canvas[row];
      const bool is_decided = current >= 0 && current < vocabulary && current != mask_id;
      const float probability = 1.0f / best.sum;
      results[row] = {best.token < vocabulary ? best.token : 0, probability};  // 0 only when every logit is NaN
      out.tokens[row] = results[row].token;
      out.probabilities[row] = probability;
      out.current_probabilities[row] =
          is_decided ? exp2f((load_published(current_logits + row) - best.largest) * LOG2_E) * probability : 0.0f;
    }
  }
  __syncthreads();
  if (warp != 0) return;

  float surest = -1.0f;  // the most probable masked row always commits
  int surest_row = MAX_ROWS;
  for (int row = lane; row < rows; row += 32)
    if (canvas[row] == mask_id && results[row].probability > surest) surest = results[row].probability, surest_row = row;
#pragma unroll
  for (int bits = 16; bits > 0; bits /= 2) {
    const float other = __shfl_xor_sync(FULL_WARP, surest, bits);
    const int other_row = __shfl_xor_sync(FULL_WARP, surest_row, bits);
    if (other > surest || (other == surest && other_row < surest_row)) surest = other, surest_row = other_row;
  }
  float masks_left = 0.0f, changed = 0.0f;
  for (int row = lane; row < rows; row += 32) {
    const int current = canvas[row];
    const bool takes = current == mask_id ? results[row].probability >= thresholds[0] || row == surest_row
                                          : current >= 0 && results[row].probability >= thresholds[1];
    const int next = takes ? results[row].token : current;
    out.next_canvas[row] = next;
    masks_left += next == mask_id ? 1.0f : 0.0f;
    changed += next != current ? 1.0f : 0.0f;
  }
  masks_left = warp_sum(masks_left);
  changed = warp_sum(changed);
  if (lane == 0) {
    out.status[0] = static_cast<int>(masks_left);
    out.status[1] = static_cast<int>(changed);
  }
}

extern "C" __global__ void __launch_bounds__(32 * NUM_WARPS)
head_argmax_kernel(const element* __restrict__ hidden, const unsigned char* __restrict__ values,
                   const float* __restrict__ out_scales, const element* __restrict__ group_scales,
                   const int* __restrict__ canvas, const float* __restrict__ thresholds, int* tokens, float* probabilities,
                   float* current_probabilities, int* next_canvas, int* status, Best* partial, float* current_logits,
                   int* counters, const int* __restrict__ forbidden, int rows, int vocabulary, int num_in, int mask_id) {
  __shared__ Best shared_best[NUM_WARPS][8 * ROW_TILES];
  __shared__ RowResult shared_results[MAX_ROWS];
  __shared__ int last_flag;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const WeightMatrix weight = {values, group_scales, vocabulary, num_in};
  const int num_chunks = (num_in + Format<WEIGHT_BITS>::CHUNK - 1) / Format<WEIGHT_BITS>::CHUNK;
  const int first_row = blockIdx.y * 8 * ROW_TILES;
  const int group_rows = min(rows - first_row, 8 * ROW_TILES);
  const int num_tiles = (vocabulary + 16 * OUT_TILES - 1) / (16 * OUT_TILES);

  Best best[ROW_TILES][2];  // rows 8 * row_tile + 2 * (lane % 4) + {0, 1}
  int current[ROW_TILES][2];
#pragma unroll
  for (int i = 0; i < 2 * ROW_TILES; ++i) {
    best[i / 2][i % 2] = no_best();
    const int row = 8 * (i / 2) + 2 * (lane % 4) + i % 2;
    const int token = row < group_rows ? canvas[first_row + row] : -1;
    current[i / 2][i % 2] = token == mask_id ? -1 : token;
  }

  for (int tile = blockIdx.x * NUM_WARPS + warp; tile < num_tiles; tile += gridDim.x * NUM_WARPS) {
    float acc[OUT_TILES][ROW_TILES][4];
#pragma unroll
    for (int i = 0; i < OUT_TILES * ROW_TILES * 4; ++i) acc[i / (4 * ROW_TILES)][i / 4 % ROW_TILES][i % 4] = 0.0f;
    const int first_token = tile * 16 * OUT_TILES;
    accumulate<WEIGHT_BITS>(acc, weight, first_token, hidden + static_cast<int64>(first_row) * num_in, group_rows, 0, 1,
                            num_chunks);
#pragma unroll
    for (int i = 0; i < 2 * OUT_TILES; ++i) {  // this lane's tokens in ascending order
      const int token = first_token + 8 * i + lane / 4;
      const bool is_allowed = token < vocabulary && (forbidden == nullptr || (forbidden[token / 32] >> (token % 32) & 1) == 0);
      const float scale = WEIGHT_BITS == 8 && token < vocabulary ? out_scales[token] : 1.0f;
#pragma unroll
      for (int j = 0; j < 2 * ROW_TILES; ++j) {
        const float logit = acc[i / 2][j / 2][2 * (i % 2) + j % 2] * scale;
        if (is_allowed) best[j / 2][j % 2] = merge(best[j / 2][j % 2], {logit, token, 1.0f});
        if (token == current[j / 2][j % 2])
          current_logits[first_row + 8 * (j / 2) + 2 * (lane % 4) + j % 2] = is_allowed ? logit : negative_infinity();
      }
    }
  }

#pragma unroll
  for (int i = 0; i < 2 * ROW_TILES; ++i) {
    Best& own = best[i / 2][i % 2];
#pragma unroll
    for (int bits = 4; bits < 32; bits *= 2) own = merge_with_lane(own, bits);
    if (lane < 4) shared_best[warp][8 * (i / 2) + 2 * lane + i % 2] = own;
  }
  __syncthreads();
  for (int row = threadIdx.x; row < group_rows; row += 32 * NUM_WARPS) {
    Best own = shared_best[0][row];
    for (int w = 1; w < NUM_WARPS; ++w) own = merge(own, shared_best[w][row]);
    partial[static_cast<int64>(blockIdx.x) * rows + first_row + row] = own;
  }
  if (is_last_block(counters, gridDim.x * gridDim.y, &last_flag))
    decide({tokens, probabilities, current_probabilities, next_canvas, status}, partial, current_logits, canvas, thresholds,
           gridDim.x, rows, vocabulary, mask_id, shared_results);
}
