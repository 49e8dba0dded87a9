// The machine instructions the kernels use, each behind one function, so that nothing here needs a CUDA header
// (NVRTC can compile every kernel with no include path but this folder) and so that tests/cuda_emulation can provide
// the same functions on the CPU. Everything assumes sm_80 or newer.
#pragma once

typedef unsigned short uint16;
typedef unsigned int uint32;
typedef long long int64;

#define SHARED_MEMORY(name) extern __shared__ __align__(16) unsigned char name[]

// 16 bytes moved by one instruction.
struct __align__(16) Vector {
  uint32 x, y, z, w;
};

__device__ __forceinline__ Vector load_vector(const void* source) { return *reinterpret_cast<const Vector*>(source); }

// Weights are read once per launch: keep them out of L1 so that the activations stay there.
__device__ __forceinline__ Vector load_vector_streaming(const void* source) {
  Vector v;
  asm("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(source));
  return v;
}

__device__ __forceinline__ void store_vector(void* target, Vector v) { *reinterpret_cast<Vector*>(target) = v; }

// Read a value another block of this launch has published: from L2, never from a stale L1 line.
__device__ __forceinline__ float load_published(const float* source) {
  float value;
  asm volatile("ld.global.cg.f32 %0, [%1];" : "=f"(value) : "l"(source) : "memory");
  return value;
}

__device__ __forceinline__ int load_published(const int* source) {
  int value;
  asm volatile("ld.global.cg.s32 %0, [%1];" : "=r"(value) : "l"(source) : "memory");
  return value;
}

// 16 bytes from global to shared memory without passing through registers; zeros instead when !is_valid.
// Complete after async_copy_commit() and async_copy_wait<groups allowed in flight>(), then a barrier.
__device__ __forceinline__ void async_copy(void* shared_target, const void* global_source, bool is_valid) {
  const uint32 target = static_cast<uint32>(__cvta_generic_to_shared(shared_target));
  const int bytes = is_valid ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(target), "l"(global_source), "r"(bytes) : "memory");
}

__device__ __forceinline__ void async_copy_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

template <int PENDING>
__device__ __forceinline__ void async_copy_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
}

__device__ __forceinline__ float float_from_fp16(uint16 bits) {
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
  return value;
}

__device__ __forceinline__ float float_from_bf16(uint16 bits) { return __uint_as_float(static_cast<uint32>(bits) << 16); }

// Two floats to two 16-bit values, round to nearest even; `low` goes to the low half.
__device__ __forceinline__ uint32 fp16_pair(float low, float high) {
  uint32 pair;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}

__device__ __forceinline__ uint32 bf16_pair(float low, float high) {
  uint32 pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}

// a * b + c on two 16-bit values at once, one rounding.
__device__ __forceinline__ uint32 fp16_pair_fma(uint32 a, uint32 b, uint32 c) {
  uint32 d;
  asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
  return d;
}

__device__ __forceinline__ uint32 bf16_pair_fma(uint32 a, uint32 b, uint32 c) {
  uint32 d;
  asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
  return d;
}

// Tensor cores: c (16x8, float) += a (16x16) * b (16x8), fragments laid out as PTX mma.m16n8k16 says:
//   a[0..3]: rows lane/4 (+8 for odd i), columns 2*(lane%4) + {0,1} (+8 for i >= 2)
//   b[0..1]: rows 2*(lane%4) + {0,1} (+8 for i = 1), column lane/4
//   c[0..3]: rows lane/4 (+8 for i >= 2), columns 2*(lane%4) + i%2
__device__ __forceinline__ void mma_fp16(float (&c)[4], const uint32 (&a)[4], const uint32 (&b)[2]) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

__device__ __forceinline__ void mma_bf16(float (&c)[4], const uint32 (&a)[4], const uint32 (&b)[2]) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// Two 8x8 tiles of 16-bit values from shared memory, transposed on the way: lanes 0-15 each name one row of 8 values.
__device__ __forceinline__ void load_matrix_transposed(uint32 (&fragment)[2], const void* shared_row) {
  const uint32 row = static_cast<uint32>(__cvta_generic_to_shared(shared_row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
               : "=r"(fragment[0]), "=r"(fragment[1])
               : "r"(row)
               : "memory");
}
