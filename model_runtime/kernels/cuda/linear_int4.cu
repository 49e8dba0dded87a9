// Linear layer over 4-bit weights: packed [num_out, num_in / 8] int32 (nibble order in formats.py), num_in % 32 == 0,
// with one element scale for 32 inputs, applied as weights leave memory (one rounding to element, as in the reference).
// Everything else is in linear.cuh.
#include "linear.cuh"

extern "C" __global__ void __launch_bounds__(32 * NUM_WARPS)
linear_int4_kernel(const element* __restrict__ x, const int* __restrict__ packed,
                   const element* __restrict__ group_scales,
                   const element* __restrict__ bias, const element* __restrict__ adapter_x,
                   const element* __restrict__ adapter_up, const float* __restrict__ row_scale,
                   element* __restrict__ out, float* partial, int* counters, int rows, int num_out, int num_in,
                   int rank) {
  linear<4>({x, {reinterpret_cast<const unsigned char*>(packed), group_scales, num_out, num_in}, nullptr,
              bias, adapter_x, adapter_up, row_scale, out, partial, counters, rows, rank});
}
