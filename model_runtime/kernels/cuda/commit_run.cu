// The commit of a denoising step and the rows of the next one, without asking the host.
//   tokens [rows] int, probabilities, current_probabilities [rows] float: what head_argmax decided, its canvas having been
//   `judged`; ids, judged: [rows] int, gate: [rows] float, state: int32 [3] (common.cuh), all read and then rewritten for the
//   next step; accept: [1] float; result: [4 + 3 * rows] int = accepted, length, causal rows, rows, then the head's tokens,
//   probabilities and current probabilities (floats as their bits). Rules: reference.commit_run.
// Launch: one block of THREADS. Warp 0 finds the first guess that is refused; then every thread writes rows.
#include "common.cuh"

constexpr int THREADS = 256;

extern "C" __global__ void __launch_bounds__(THREADS)
commit_run_kernel(const int* __restrict__ tokens, const float* __restrict__ probabilities,
                  const float* __restrict__ current_probabilities, int* ids, int* judged, float* gate, int* state,
                  const float* __restrict__ accept, int* __restrict__ result, int rows, int capacity, int mask_id) {
  __shared__ int first_refused;
  const int length = state[STATE_LENGTH], num_causal = state[STATE_NUM_CAUSAL], num_rows = state[STATE_NUM_ROWS];
  const int num_guesses = max(0, min(num_causal, rows) - 1), num_masks = max(0, num_rows - num_causal);
  if (threadIdx.x < 32) {
    int refused = num_guesses;
    for (int i = threadIdx.x; i < num_guesses; i += 32) {
      const bool is_refused =
          *accept > 1.0f ? judged[i] != tokens[i] : current_probabilities[i] < *accept * probabilities[i];
      if (is_refused) refused = min(refused, i);
    }
#pragma unroll
    for (int bits = 16; bits > 0; bits /= 2) refused = min(refused, __shfl_xor_sync(FULL_WARP, refused, bits));
    if (threadIdx.x == 0) first_refused = refused;
  }
  __syncthreads();  // nothing read above is rewritten before this
  const int accepted = first_refused;

  const int next_length = length + 1 + accepted;
  const int room = max(1, min(rows, capacity - next_length));
  const int next_guesses = min(accepted == num_guesses ? num_masks : num_guesses - accepted, room - 1);
  const int next_masks = min(num_masks, room - 1 - next_guesses);
  for (int i = threadIdx.x; i < rows; i += THREADS) {
    result[4 + i] = tokens[i];
    result[4 + rows + i] = __float_as_int(probabilities[i]);
    result[4 + 2 * rows + i] = __float_as_int(current_probabilities[i]);
    const bool is_mask = i > next_guesses && i <= next_guesses + next_masks;
    ids[i] = i <= next_guesses ? tokens[accepted + i] : is_mask ? mask_id : 0;
    judged[i] = i < next_guesses ? tokens[accepted + 1 + i] : -1;
    gate[i] = is_mask ? 1.0f : 0.0f;
  }
  if (threadIdx.x != 0) return;
  result[0] = accepted, result[1] = length, result[2] = num_causal, result[3] = num_rows;
  state[STATE_LENGTH] = next_length;
  state[STATE_NUM_CAUSAL] = 1 + next_guesses;
  state[STATE_NUM_ROWS] = 1 + next_guesses + next_masks;
}
