// What every kernel shares: the 16-bit element type chosen at compile time (-DSEEDLS_BF16=1 or 0), reductions, and the
// "last block to arrive finishes the job" idiom. No framework header; kernels see raw pointers and integers.
#pragma once

#ifdef SEEDLS_CUDA_EMULATION
#include "cuda_emulation.h"
#else
#include "intrinsics.cuh"
#endif

#ifndef SEEDLS_BF16
#error "compile with -DSEEDLS_BF16=1 (bfloat16) or -DSEEDLS_BF16=0 (float16)"
#endif

// One activation or weight: bfloat16 or float16 bits. Arithmetic is always done in float.
typedef uint16 element;

constexpr unsigned FULL_WARP = 0xffffffffu;
constexpr int VECTOR_ELEMENTS = 8;  // 16 bytes

// What a forward reads from device memory, so that a captured graph can be replayed at any length:
// int32 state[3] = {tokens already in the cache, causal rows of this forward, rows of this forward}.
enum StateField { STATE_LENGTH = 0, STATE_NUM_CAUSAL = 1, STATE_NUM_ROWS = 2 };

__device__ __forceinline__ float to_float(element bits) {
#if SEEDLS_BF16
  return float_from_bf16(bits);
#else
  return float_from_fp16(bits);
#endif
}

__device__ __forceinline__ uint32 to_pair(float low, float high) {
#if SEEDLS_BF16
  return bf16_pair(low, high);
#else
  return fp16_pair(low, high);
#endif
}

__device__ __forceinline__ element to_element(float value) { return static_cast<element>(to_pair(value, 0.0f)); }

__device__ __forceinline__ uint32 pair_fma(uint32 a, uint32 b, uint32 c) {
#if SEEDLS_BF16
  return bf16_pair_fma(a, b, c);
#else
  return fp16_pair_fma(a, b, c);
#endif
}

__device__ __forceinline__ void mma(float (&c)[4], const uint32 (&a)[4], const uint32 (&b)[2]) {
#if SEEDLS_BF16
  mma_bf16(c, a, b);
#else
  mma_fp16(c, a, b);
#endif
}

__device__ __forceinline__ float low_float(uint32 pair) { return to_float(static_cast<element>(pair & 0xffffu)); }
__device__ __forceinline__ float high_float(uint32 pair) { return to_float(static_cast<element>(pair >> 16)); }

__device__ __forceinline__ void unpack(const Vector& v, float (&out)[8]) {
  out[0] = low_float(v.x), out[1] = high_float(v.x), out[2] = low_float(v.y), out[3] = high_float(v.y);
  out[4] = low_float(v.z), out[5] = high_float(v.z), out[6] = low_float(v.w), out[7] = high_float(v.w);
}

__device__ __forceinline__ Vector pack(const float (&in)[8]) {
  Vector v;
  v.x = to_pair(in[0], in[1]), v.y = to_pair(in[2], in[3]), v.z = to_pair(in[4], in[5]), v.w = to_pair(in[6], in[7]);
  return v;
}

__device__ __forceinline__ float negative_infinity() { return __int_as_float(0xff800000); }

__device__ __forceinline__ float warp_sum(float value) {
#pragma unroll
  for (int offset = 16; offset > 0; offset >>= 1) value += __shfl_xor_sync(FULL_WARP, value, offset);
  return value;
}

// Sum over the block, returned to every thread. `partial` is shared memory for 32 floats, free to reuse afterwards.
__device__ __forceinline__ float block_sum(float value, float* partial) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, num_warps = blockDim.x / 32;
  value = warp_sum(value);
  if (lane == 0) partial[warp] = value;
  __syncthreads();
  value = warp_sum(lane < num_warps ? partial[lane] : 0.0f);
  __syncthreads();
  return value;
}

// True in every thread of the block that arrives last of `expected`. Call after writing this block's results; the
// counter is left at zero, so a captured graph can be replayed without clearing it. `flag` is one shared int.
__device__ __forceinline__ bool is_last_block(int* counter, int expected, int* flag) {
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    const bool is_last = atomicAdd(counter, 1) == expected - 1;
    if (is_last) *counter = 0;
    *flag = is_last;
  }
  __syncthreads();
  const bool result = *flag != 0;
  __threadfence();
  return result;
}
