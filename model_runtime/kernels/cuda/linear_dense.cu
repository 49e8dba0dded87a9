// Linear layer over 16-bit weights: [num_out, num_in] element, num_in % 8 == 0.
// Everything else is in linear.cuh.
#include "linear.cuh"

extern "C" __global__ void __launch_bounds__(32 * NUM_WARPS)
linear_dense_kernel(const element* __restrict__ x, const element* __restrict__ values,
                   const element* __restrict__ bias, const element* __restrict__ adapter_x,
                   const element* __restrict__ adapter_up, const float* __restrict__ row_scale,
                   element* __restrict__ out, float* partial, int* counters, int rows, int num_out, int num_in,
                   int rank) {
  linear<16>({x, {reinterpret_cast<const unsigned char*>(values), nullptr, num_out, num_in}, nullptr,
              bias, adapter_x, adapter_up, row_scale, out, partial, counters, rows, rank});
}
