// SwiGLU: out = silu(gate) * up.
//   gate_up: [rows, 2 * width] element, gate first; out: [rows, width] element; width % 8 == 0, 16-byte aligned.
// Launch: grid (ceil(width / 8 / threads), rows). One 16-byte load of each half and one 16-byte store a thread.
#include "common.cuh"

extern "C" __global__ void __launch_bounds__(256)
swiglu_kernel(const element* __restrict__ gate_up, element* __restrict__ out, int width) {
  const int i = (blockIdx.x * blockDim.x + threadIdx.x) * VECTOR_ELEMENTS;
  if (i >= width) return;
  const element* row = gate_up + static_cast<int64>(blockIdx.y) * 2 * width;
  float gate[8], up[8];
  unpack(load_vector(row + i), gate);
  unpack(load_vector(row + width + i), up);
#pragma unroll
  for (int j = 0; j < 8; ++j) up[j] *= gate[j] / (1.0f + exp2f(gate[j] * -1.4426950408889634f));
  store_vector(out + static_cast<int64>(blockIdx.y) * width + i, pack(up));
}
