// CUDA's device functions and the contents of intrinsics.cuh, on the CPU. Included by cuda_emulation.h only.
#pragma once

using std::max;
using std::min;

inline float __int_as_float(int bits) {
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}
inline float __uint_as_float(uint32 bits) { return __int_as_float(static_cast<int>(bits)); }
inline uint32 __float_as_uint(float value) {
  uint32 bits;
  std::memcpy(&bits, &value, 4);
  return bits;
}
inline int __float_as_int(float value) { return static_cast<int>(__float_as_uint(value)); }
inline float rsqrtf(float value) { return 1.0f / std::sqrt(value); }
inline float __fdividef(float a, float b) { return a / b; }

inline uint32 __byte_perm(uint32 a, uint32 b, uint32 selector) {
  const unsigned long long bytes = (static_cast<unsigned long long>(b) << 32) | a;
  uint32 result = 0;
  for (int i = 0; i < 4; ++i) result |= static_cast<uint32>(bytes >> (8 * ((selector >> (4 * i)) & 7)) & 0xff) << (8 * i);
  return result;
}

inline void __syncthreads() { cuda_emulation::barrier(); }
inline void __threadfence() {}

inline void __syncwarp(unsigned mask = 0xffffffffu) {
  const int nothing = 0;
  cuda_emulation::warp_operation(cuda_emulation::Operation::sync, mask, &nothing, 4, [](cuda_emulation::Warp&) {});
}

namespace cuda_emulation {

struct ShuffleSlot {
  unsigned char value[8];
  int source;
  unsigned char result[8];
};

template <class T>
inline T shuffle(unsigned mask, T value, int source) {
  static_assert(sizeof(T) <= 8, "shuffles move at most 8 bytes");
  ShuffleSlot given{};
  std::memcpy(given.value, &value, sizeof(T));
  given.source = source & (WARP - 1);
  const unsigned char* taken = warp_operation(Operation::shuffle, mask, &given, sizeof given, [](Warp& warp) {
    for (int lane = 0; lane < WARP; ++lane) {
      auto* slot = reinterpret_cast<ShuffleSlot*>(warp.slot[lane]);
      std::memcpy(slot->result, reinterpret_cast<ShuffleSlot*>(warp.slot[slot->source])->value, 8);
    }
  });
  T result;
  std::memcpy(&result, reinterpret_cast<const ShuffleSlot*>(taken)->result, sizeof(T));
  return result;
}

template <class T>
inline void require_aligned(const T* pointer, size_t alignment) {
  if (reinterpret_cast<uintptr_t>(pointer) % alignment) fail("misaligned 16-byte access");
}

}  // namespace cuda_emulation

template <class T>
inline T __shfl_sync(unsigned mask, T value, int source) {
  return cuda_emulation::shuffle(mask, value, source);
}
template <class T>
inline T __shfl_xor_sync(unsigned mask, T value, int bits) {
  return cuda_emulation::shuffle(mask, value, cuda_emulation::current->lane ^ bits);
}
template <class T>
inline T __shfl_up_sync(unsigned mask, T value, int delta) {
  const int lane = cuda_emulation::current->lane;
  return cuda_emulation::shuffle(mask, value, lane >= delta ? lane - delta : lane);
}
template <class T>
inline T __shfl_down_sync(unsigned mask, T value, int delta) {
  const int lane = cuda_emulation::current->lane;
  return cuda_emulation::shuffle(mask, value, lane + delta < cuda_emulation::WARP ? lane + delta : lane);
}

inline unsigned __ballot_sync(unsigned mask, int predicate) {
  const unsigned given = predicate != 0;
  unsigned result;
  std::memcpy(&result,
              cuda_emulation::warp_operation(cuda_emulation::Operation::ballot, mask, &given, 4,
                                             [](cuda_emulation::Warp& warp) {
                                               unsigned bits = 0, one;
                                               for (int lane = 0; lane < 32; ++lane) {
                                                 std::memcpy(&one, warp.slot[lane], 4);
                                                 bits |= one << lane;
                                               }
                                               for (int lane = 0; lane < 32; ++lane) std::memcpy(warp.slot[lane], &bits, 4);
                                             }),
              4);
  return result;
}
inline int __popc(unsigned bits) { return __builtin_popcount(bits); }
inline int __ffs(unsigned bits) { return __builtin_ffs(static_cast<int>(bits)); }

template <class T>
inline T atomicAdd(T* target, T value) {
  const T before = *target;
  *target = before + value;
  return before;
}

inline Vector load_vector(const void* source) {
  cuda_emulation::require_aligned(static_cast<const unsigned char*>(source), 16);
  Vector v;
  std::memcpy(&v, source, 16);
  return v;
}
inline Vector load_vector_streaming(const void* source) { return load_vector(source); }
inline void store_vector(void* target, Vector v) {
  cuda_emulation::require_aligned(static_cast<unsigned char*>(target), 16);
  std::memcpy(target, &v, 16);
}
inline float load_published(const float* source) { return *source; }
inline int load_published(const int* source) { return *source; }

inline void async_copy(void* target, const void* source, bool is_valid) {
  cuda_emulation::require_aligned(static_cast<unsigned char*>(target), 16);
  cuda_emulation::PendingCopy copy{target, {}, cuda_emulation::current->copy_groups};
  if (is_valid) {
    cuda_emulation::require_aligned(static_cast<const unsigned char*>(source), 16);
    std::memcpy(copy.bytes, source, 16);
  }
  if (cuda_emulation::copies_land_at_once)
    std::memcpy(target, copy.bytes, 16);
  else
    cuda_emulation::current->copies.push_back(copy);
}
inline void async_copy_commit() { ++cuda_emulation::current->copy_groups; }
template <int PENDING>
inline void async_copy_wait() {
  auto& copies = cuda_emulation::current->copies;
  const int finished = cuda_emulation::current->copy_groups - PENDING;
  auto keep = copies.begin();
  for (auto& copy : copies) {
    if (copy.group < finished)
      std::memcpy(copy.target, copy.bytes, 16);
    else
      *keep++ = copy;
  }
  copies.erase(keep, copies.end());
}

namespace cuda_emulation {

inline float bf16_value(uint16 bits) { return __uint_as_float(static_cast<uint32>(bits) << 16); }

inline uint16 bf16_bits(float value) {
  const uint32 bits = __float_as_uint(value);
  if (std::isnan(value)) return 0x7fff;
  return static_cast<uint16>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

inline float fp16_value(uint16 bits) {
  static const std::vector<float> table = [] {
    std::vector<float> values(65536);
    for (int i = 0; i < 65536; ++i) {
      const int exponent = i >> 10 & 31, mantissa = i & 1023;
      float value = exponent == 31  ? (mantissa ? NAN : INFINITY)
                    : exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -24)
                                    : std::ldexp(static_cast<float>(mantissa + 1024), exponent - 25);
      values[i] = i & 0x8000 ? -value : value;
    }
    return values;
  }();
  return table[bits];
}

inline uint16 fp16_bits(float value) {
  const uint16 sign = static_cast<uint16>(__float_as_uint(value) >> 16 & 0x8000u);
  const float magnitude = std::fabs(value);
  if (std::isnan(value)) return 0x7fff;
  if (magnitude >= 65520.0f) return sign | 0x7c00;
  if (magnitude < 6.103515625e-05f)  // subnormal: units of 2^-24, nearbyint rounds to even
    return sign | static_cast<uint16>(std::nearbyint(std::ldexp(magnitude, 24)));
  const uint32 bits = __float_as_uint(magnitude);
  const uint32 rounded = bits + 0xfffu + ((bits >> 13) & 1u);
  return sign | static_cast<uint16>((rounded - (112u << 23)) >> 13);
}

template <float (*VALUE)(uint16)>
inline void multiply_fragments(Warp& warp) {
  float a[16][16], b[16][8], c[16][8];
  for (int lane = 0; lane < WARP; ++lane) {
    uint32 given[6];
    float sums[4];
    std::memcpy(given, warp.slot[lane], 24);
    std::memcpy(sums, warp.slot[lane] + 24, 16);
    const int row = lane / 4, column = 2 * (lane % 4);
    for (int half = 0; half < 2; ++half) {
      for (int i = 0; i < 4; ++i)
        a[row + 8 * (i % 2)][column + 8 * (i / 2) + half] = VALUE(static_cast<uint16>(given[i] >> (16 * half)));
      for (int i = 0; i < 2; ++i) b[column + 8 * i + half][row] = VALUE(static_cast<uint16>(given[4 + i] >> (16 * half)));
    }
    for (int i = 0; i < 4; ++i) c[row + 8 * (i / 2)][column + i % 2] = sums[i];
  }
  for (int m = 0; m < 16; ++m)
    for (int k = 0; k < 16; ++k)
      for (int n = 0; n < 8; ++n) c[m][n] += a[m][k] * b[k][n];
  for (int lane = 0; lane < WARP; ++lane) {
    float sums[4];
    for (int i = 0; i < 4; ++i) sums[i] = c[lane / 4 + 8 * (i / 2)][2 * (lane % 4) + i % 2];
    std::memcpy(warp.slot[lane] + 24, sums, 16);
  }
}

template <float (*VALUE)(uint16)>
inline void emulate_mma(float (&c)[4], const uint32 (&a)[4], const uint32 (&b)[2]) {
  unsigned char given[40];
  std::memcpy(given, a, 16);
  std::memcpy(given + 16, b, 8);
  std::memcpy(given + 24, c, 16);
  const unsigned char* taken = warp_operation(Operation::mma, 0xffffffffu, given, 40, multiply_fragments<VALUE>);
  std::memcpy(c, taken + 24, 16);
}

template <float (*VALUE)(uint16), uint16 (*BITS)(float)>
inline uint32 pair_fma(uint32 a, uint32 b, uint32 c) {
  uint32 result = 0;
  for (int shift = 0; shift < 32; shift += 16) {
    const auto value = [=](uint32 pair) { return static_cast<double>(VALUE(static_cast<uint16>(pair >> shift))); };
    result |= static_cast<uint32>(BITS(static_cast<float>(value(a) * value(b) + value(c)))) << shift;
  }
  return result;
}

}  // namespace cuda_emulation

inline float float_from_fp16(uint16 bits) { return cuda_emulation::fp16_value(bits); }
inline float float_from_bf16(uint16 bits) { return cuda_emulation::bf16_value(bits); }
inline uint32 fp16_pair(float low, float high) {
  return cuda_emulation::fp16_bits(low) | static_cast<uint32>(cuda_emulation::fp16_bits(high)) << 16;
}
inline uint32 bf16_pair(float low, float high) {
  return cuda_emulation::bf16_bits(low) | static_cast<uint32>(cuda_emulation::bf16_bits(high)) << 16;
}
inline uint32 fp16_pair_fma(uint32 a, uint32 b, uint32 c) {
  return cuda_emulation::pair_fma<cuda_emulation::fp16_value, cuda_emulation::fp16_bits>(a, b, c);
}
inline uint32 bf16_pair_fma(uint32 a, uint32 b, uint32 c) {
  return cuda_emulation::pair_fma<cuda_emulation::bf16_value, cuda_emulation::bf16_bits>(a, b, c);
}
inline void mma_fp16(float (&c)[4], const uint32 (&a)[4], const uint32 (&b)[2]) {
  cuda_emulation::emulate_mma<cuda_emulation::fp16_value>(c, a, b);
}
inline void mma_bf16(float (&c)[4], const uint32 (&a)[4], const uint32 (&b)[2]) {
  cuda_emulation::emulate_mma<cuda_emulation::bf16_value>(c, a, b);
}

inline void load_matrix_transposed(uint32 (&fragment)[2], const void* shared_row) {
  const unsigned char* taken = cuda_emulation::warp_operation(
      cuda_emulation::Operation::load_matrix, 0xffffffffu, &shared_row, sizeof shared_row, [](cuda_emulation::Warp& warp) {
        uint16 tile[2][8][8];
        for (int lane = 0; lane < 16; ++lane) {
          const unsigned char* row;
          std::memcpy(&row, warp.slot[lane], sizeof row);
          cuda_emulation::require_aligned(row, 16);
          std::memcpy(tile[lane / 8][lane % 8], row, 16);
        }
        for (int lane = 0; lane < 32; ++lane)
          for (int i = 0; i < 2; ++i) {
            const uint16* column = &tile[i][2 * (lane % 4)][lane / 4];
            const uint32 pair = column[0] | static_cast<uint32>(column[8]) << 16;
            std::memcpy(warp.slot[lane] + 4 * i, &pair, 4);
          }
      });
  std::memcpy(fragment, taken, 8);
}
