// Bias, rotary embedding and cache write of one forward's queries, keys and values.
//   qkv: [rows, heads + 2 * kv_heads, HEAD_DIM] element; bias: the same without rows, or null; table: [capacity, HEAD_DIM]
//   float (cosines, then sines, of each position); state: int32 [3], see common.cuh; q: [rows, heads, HEAD_DIM] element;
//   k_cache, v_cache: [kv_heads, capacity, HEAD_DIM] element. All 16-byte aligned.
// Row t goes to position and slot length + t. Rows past num_rows, and slots past the capacity, are not written to the
// cache, and their queries are zeros.
// Launch: one block a row; HEAD_DIM / 16 threads a head, each with 8 values of the first half of the head and the 8 of the
// second half they are rotated with, so everything is read and written once, 16 bytes at a time.
#include "common.cuh"

__device__ __forceinline__ void load_with_bias(float (&values)[8], const element* source, const element* bias) {
  unpack(load_vector(source), values);
  if (bias == nullptr) return;
  float added[8];
  unpack(load_vector(bias), added);
#pragma unroll
  for (int j = 0; j < 8; ++j) values[j] += added[j];
}

__device__ __forceinline__ void load_floats(float (&values)[8], const float* source) {
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const Vector v = load_vector(source + 4 * i);
    values[4 * i] = __uint_as_float(v.x), values[4 * i + 1] = __uint_as_float(v.y);
    values[4 * i + 2] = __uint_as_float(v.z), values[4 * i + 3] = __uint_as_float(v.w);
  }
}

extern "C" __global__ void __launch_bounds__(1024)
qkv_rope_write_kernel(const element* __restrict__ qkv, const element* __restrict__ bias, const float* __restrict__ table,
                      const int* __restrict__ state, element* __restrict__ q, element* __restrict__ k_cache,
                      element* __restrict__ v_cache, int heads, int kv_heads, int capacity) {
  constexpr int HALF = HEAD_DIM / 2, THREADS = HALF / VECTOR_ELEMENTS;
  const int head = threadIdx.x / THREADS, column = threadIdx.x % THREADS * VECTOR_ELEMENTS;
  const int num_heads = heads + 2 * kv_heads, row = blockIdx.x;
  if (head >= num_heads) return;
  const int slot = state[STATE_LENGTH] + row;
  const bool is_row = row < state[STATE_NUM_ROWS] && slot >= 0 && slot < capacity;

  element* target = nullptr;
  if (head < heads)
    target = q + (static_cast<int64>(row) * heads + head) * HEAD_DIM;
  else if (head < heads + kv_heads)
    target = k_cache + (static_cast<int64>(head - heads) * capacity + slot) * HEAD_DIM;
  else
    target = v_cache + (static_cast<int64>(head - heads - kv_heads) * capacity + slot) * HEAD_DIM;
  if (!is_row) {
    if (head >= heads) return;
    store_vector(target + column, Vector{0, 0, 0, 0});
    store_vector(target + HALF + column, Vector{0, 0, 0, 0});
    return;
  }

  float first[8], second[8];
  const element* source = qkv + (static_cast<int64>(row) * num_heads + head) * HEAD_DIM + column;
  const element* head_bias = bias == nullptr ? nullptr : bias + head * HEAD_DIM + column;
  load_with_bias(first, source, head_bias);
  load_with_bias(second, source + HALF, head_bias == nullptr ? nullptr : head_bias + HALF);
  if (head < heads + kv_heads) {
    float cosine[8], sine[8];
    load_floats(cosine, table + static_cast<int64>(slot) * HEAD_DIM + column);
    load_floats(sine, table + static_cast<int64>(slot) * HEAD_DIM + HALF + column);
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      const float rotated = first[j] * cosine[j] - second[j] * sine[j];
      second[j] = second[j] * cosine[j] + first[j] * sine[j];
      first[j] = rotated;
    }
  }
  store_vector(target + column, pack(first));
  store_vector(target + HALF + column, pack(second));
}
