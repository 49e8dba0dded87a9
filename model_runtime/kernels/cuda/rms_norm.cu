// RMSNorm with an optional residual added first.
//   x, residual, normed, summed: [rows, hidden] element; weight: [hidden] element; hidden % 8 == 0, 16-byte aligned.
//   summed = x + residual (rounded to element; only where residual is given); normed = summed / rms(summed) * weight.
// Launch: one block a row, hidden / 8 threads rounded up to whole warps (hidden <= 8192). Each thread keeps its 8 values
// in registers, so x, residual and weight are read once, normed and summed written once, and nothing else moves.
#include "common.cuh"

extern "C" __global__ void __launch_bounds__(1024)
rms_norm_kernel(const element* __restrict__ x, const element* __restrict__ residual,
                const element* __restrict__ weight, element* __restrict__ normed, element* __restrict__ summed,
                int hidden, float eps) {
  __shared__ float partial[32];
  const int column = threadIdx.x * VECTOR_ELEMENTS;
  const bool has_values = column < hidden;
  const int64 offset = static_cast<int64>(blockIdx.x) * hidden + column;

  float values[8] = {0.0f};
  float sum_of_squares = 0.0f;
  if (has_values) {
    unpack(load_vector(x + offset), values);
    if (residual != nullptr) {
      float added[8];
      unpack(load_vector(residual + offset), added);
#pragma unroll
      for (int j = 0; j < 8; ++j) values[j] += added[j];
      const Vector rounded = pack(values);
      store_vector(summed + offset, rounded);
      unpack(rounded, values);  // normalise what the next residual addition will read back
    }
#pragma unroll
    for (int j = 0; j < 8; ++j) sum_of_squares += values[j] * values[j];
  }
  const float scale = rsqrtf(block_sum(sum_of_squares, partial) / hidden + eps);
  if (!has_values) return;

  float factors[8];
  unpack(load_vector(weight + column), factors);
#pragma unroll
  for (int j = 0; j < 8; ++j) factors[j] *= values[j] * scale;
  store_vector(normed + offset, pack(factors));
}
