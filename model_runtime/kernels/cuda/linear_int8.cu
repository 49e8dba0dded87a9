// Linear layer over 8-bit weights: values [num_out, num_in] int8, num_in % 16 == 0, with one float scale an output.
// Bytes become elements exactly (|value| <= 127), so the scale is applied once, to the finished sum.
// Everything else is in linear.cuh.
#include "linear.cuh"

extern "C" __global__ void __launch_bounds__(32 * NUM_WARPS)
linear_int8_kernel(const element* __restrict__ x, const signed char* __restrict__ values,
                   const float* __restrict__ out_scales,
                   const element* __restrict__ bias, const element* __restrict__ adapter_x,
                   const element* __restrict__ adapter_up, const float* __restrict__ row_scale,
                   element* __restrict__ out, float* partial, int* counters, int rows, int num_out, int num_in,
                   int rank) {
  linear<8>({x, {reinterpret_cast<const unsigned char*>(values), nullptr, num_out, num_in}, out_scales,
              bias, adapter_x, adapter_up, row_scale, out, partial, counters, rows, rank});
}
