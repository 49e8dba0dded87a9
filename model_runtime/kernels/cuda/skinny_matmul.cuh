// Products of a tall weight matrix with a few activation rows, for every weight format: the inner loop shared by the
// linear kernels and the head.
//
// Weights are the first operand of the tensor-core product (16 outputs a tile), activations the second (8 rows a tile),
// so a single row wastes 7/8 of the arithmetic, which is free here, and no weight is read twice. A product over k does not
// care about the order of k, so each lane takes 16 consecutive BYTES of its weight row and the matching activations: all
// loads are 16 bytes wide straight from the plain row-major layouts, and no repacking is needed.
//   lane / 4: weight row within 8 (operand 1) and activation row (operand 2); lane % 4: which 16 bytes of a chunk.
// Compile parameters: OUT_TILES tiles of 16 outputs and ROW_TILES tiles of 8 rows a warp.
#pragma once
#include "common.cuh"

template <int BITS>
struct Format {
  static constexpr int LANE_INPUTS = 128 / BITS;       // weights in 16 bytes
  static constexpr int CHUNK = 4 * LANE_INPUTS;        // inputs a warp consumes at once
  static constexpr int STEPS = LANE_INPUTS / 4;        // tensor-core steps a chunk
};

struct WeightMatrix {
  const unsigned char* values;   // [num_out][num_in * BITS / 8 bytes]
  const element* group_scales;   // [num_out][num_in / 32], 4-bit only
  int num_out, num_in;           // num_in is a multiple of LANE_INPUTS
};

__device__ __forceinline__ uint32 word_of(const Vector& v, int i) { return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w; }

// Two signed bytes of `word` (2 * which and the next) as two elements, exactly.
__device__ __forceinline__ uint32 pair_from_int8(uint32 word, int which) {
  const uint32 biased = word ^ 0x80808080u;  // value + 128
#if SEEDLS_BF16
  // 2^23 + biased as a float, then the top halves: integers below 256 fit bfloat16's 8 bits.
  const float low = __uint_as_float(__byte_perm(biased, 0x4b000000u, which ? 0x7652 : 0x7650)) - 8388736.0f;
  const float high = __uint_as_float(__byte_perm(biased, 0x4b000000u, which ? 0x7653 : 0x7651)) - 8388736.0f;
  return __byte_perm(__float_as_uint(low), __float_as_uint(high), 0x7632);
#else
  // 0x6400 + biased is 1024 + biased in float16; 1024 + 128 comes off again.
  return fp16_pair_fma(__byte_perm(biased, 0x64646464u, which ? 0x4342 : 0x4140), 0x3c003c00u, 0xe480e480u);
#endif
}

// Two neighbouring 4-bit weights (pair 0..3 of a word, see formats.py) times their scale, as two elements.
__device__ __forceinline__ uint32 pair_from_int4(uint32 word, int which, uint32 scale_pair) {
  const uint32 nibbles = (word >> (4 * which)) & 0x000f000fu;
#if SEEDLS_BF16
  const uint32 level = bf16_pair_fma(nibbles | 0x43004300u, 0x3f803f80u, 0xc308c308u);  // (128 + n) - 136
#else
  const uint32 level = fp16_pair_fma(nibbles | 0x64006400u, 0x3c003c00u, 0xe408e408u);  // (1024 + n) - 1032
#endif
  return pair_fma(level, scale_pair, 0x80008000u);
}

// Elements 4 * step .. 4 * step + 3 of a lane's 16 bytes, as two pairs.
template <int BITS>
__device__ __forceinline__ void weight_pairs(uint32 (&pairs)[2], const Vector& raw, int step, uint32 scale_pair) {
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    if (BITS == 16) pairs[i] = word_of(raw, 2 * step + i);
    if (BITS == 8) pairs[i] = pair_from_int8(word_of(raw, step), i);
    if (BITS == 4) pairs[i] = pair_from_int4(word_of(raw, step / 2), 2 * (step % 2) + i, scale_pair);
  }
}

template <int BITS>
struct WeightChunk {
  Vector raw[OUT_TILES][2];     // rows lane/4 and lane/4 + 8 of each tile
  uint32 scale[OUT_TILES][2];   // 4-bit only: the scale of those 32 weights, twice
};

template <int BITS>
__device__ __forceinline__ void load_weights(WeightChunk<BITS>& chunk, const WeightMatrix& weight, int first_out,
                                             int index, bool is_chunk) {
  const int lane = threadIdx.x % 32;
  const int k = index * Format<BITS>::CHUNK + (lane % 4) * Format<BITS>::LANE_INPUTS;
#pragma unroll
  for (int tile = 0; tile < OUT_TILES; ++tile) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int out = first_out + 16 * tile + lane / 4 + 8 * half;
      const bool is_valid = is_chunk && out < weight.num_out && k < weight.num_in;
      const int64 start = static_cast<int64>(out) * weight.num_in + k;
      chunk.raw[tile][half] = is_valid ? load_vector_streaming(weight.values + start * BITS / 8) : Vector{0, 0, 0, 0};
      if (BITS == 4) {
        const uint32 scale = is_valid ? weight.group_scales[start / 32] : 0;
        chunk.scale[tile][half] = scale | scale << 16;
      }
    }
  }
}

template <int BITS>
__device__ __forceinline__ void multiply_chunk(float (&acc)[OUT_TILES][ROW_TILES][4],
                                               const WeightChunk<BITS>& chunk, const element* x, int rows,
                                               int num_in, int index) {
  const int lane = threadIdx.x % 32;
  const int k = index * Format<BITS>::CHUNK + (lane % 4) * Format<BITS>::LANE_INPUTS;
#pragma unroll
  for (int part = 0; part < Format<BITS>::STEPS / 2; ++part) {  // 8 inputs a lane: one vector of activations, two steps
    uint32 a[OUT_TILES][2][4];
#pragma unroll
    for (int tile = 0; tile < OUT_TILES; ++tile) {
#pragma unroll
      for (int step = 0; step < 2; ++step) {
        uint32 upper[2], lower[2];
        weight_pairs<BITS>(upper, chunk.raw[tile][0], 2 * part + step, chunk.scale[tile][0]);
        weight_pairs<BITS>(lower, chunk.raw[tile][1], 2 * part + step, chunk.scale[tile][1]);
        a[tile][step][0] = upper[0], a[tile][step][1] = lower[0], a[tile][step][2] = upper[1], a[tile][step][3] = lower[1];
      }
    }
#pragma unroll
    for (int row_tile = 0; row_tile < ROW_TILES; ++row_tile) {
      const int row = 8 * row_tile + lane / 4;
      const bool is_valid = row < rows && k < num_in;
      const Vector v = is_valid ? load_vector(x + static_cast<int64>(row) * num_in + k + 8 * part) : Vector{0, 0, 0, 0};
      const uint32 b[2][2] = {{v.x, v.y}, {v.z, v.w}};
#pragma unroll
      for (int tile = 0; tile < OUT_TILES; ++tile) {
        mma(acc[tile][row_tile], a[tile][0], b[0]);
        mma(acc[tile][row_tile], a[tile][1], b[1]);
      }
    }
  }
}

// acc += weight[first_out ..] * x^T over chunks first, first + stride, ... With several chunks of weights in flight.
// acc[tile][row_tile][i]: output first_out + 16 * tile + lane/4 + 8 * (i/2), row 8 * row_tile + 2 * (lane%4) + i%2.
template <int BITS>
__device__ __forceinline__ void accumulate(float (&acc)[OUT_TILES][ROW_TILES][4], const WeightMatrix& weight, int first_out,
                                           const element* x, int rows, int first, int stride, int num_chunks) {
  constexpr int DEPTH = OUT_TILES == 1 && ROW_TILES < 16 ? 4 : 2;  // in flight: DEPTH * OUT_TILES * 1 KB a warp
  WeightChunk<BITS> ring[DEPTH];
#pragma unroll
  for (int d = 0; d < DEPTH; ++d)
    load_weights<BITS>(ring[d], weight, first_out, first + d * stride, first + d * stride < num_chunks);
  for (int base = first; base < num_chunks; base += DEPTH * stride) {
#pragma unroll
    for (int d = 0; d < DEPTH; ++d) {
      const int index = base + d * stride;
      if (index < num_chunks) {
        multiply_chunk<BITS>(acc, ring[d], x, rows, weight.num_in, index);
        const int next = index + DEPTH * stride;
        load_weights<BITS>(ring[d], weight, first_out, next, next < num_chunks);
      }
    }
  }
}
