#include "cchecksum_md5.h"

#include <string.h>

/* One word of the state for all lanes. Where registers are shorter, the compiler makes several of it. */
typedef uint32_t lanes __attribute__((vector_size(4 * cchecksum_md5_lanes)));

#define ALWAYS_INLINE static inline __attribute__((always_inline))

static const uint32_t beginning[4] = {0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476};

/* The words of a block, of all lanes: from `rows[lane][word]` to `rows[word][lane]`, by shuffling halves four times. */
ALWAYS_INLINE void transpose(lanes rows[16]) {
  for (int stage = 0; stage < 4; stage++) {
    lanes shuffled[16];
    for (int row = 0; row < 8; row++) {
      shuffled[2 * row] = __builtin_shufflevector(
          rows[row], rows[row + 8], 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
      shuffled[2 * row + 1] = __builtin_shufflevector(
          rows[row], rows[row + 8], 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    }
    memcpy(rows, shuffled, sizeof(shuffled));
  }
}

#define ROTATED(x, bits) ((x) << (bits) | (x) >> (32 - (bits)))
#define STEP(mix, a, b, c, d, word, constant, bits) \
  a += mix(b, c, d) + (word) + (uint32_t)(constant); \
  a = ROTATED(a, bits) + b;
#define F(b, c, d) (d ^ (b & (c ^ d)))
#define G(b, c, d) (c ^ (d & (b ^ c)))
#define H(b, c, d) (b ^ c ^ d)
#define I(b, c, d) (c ^ (b | ~d))
#define FOUR(mix, w0, k0, s0, w1, k1, s1, w2, k2, s2, w3, k3, s3) \
  STEP(mix, a, b, c, d, w[w0], k0, s0) \
  STEP(mix, d, a, b, c, w[w1], k1, s1) \
  STEP(mix, c, d, a, b, w[w2], k2, s2) \
  STEP(mix, b, c, d, a, w[w3], k3, s3)

/* RFC 1321, section 3.4. */
ALWAYS_INLINE void rounds(lanes state[4], const lanes w[16]) {
  lanes a = state[0], b = state[1], c = state[2], d = state[3];
  FOUR(F, 0, 0xD76AA478, 7, 1, 0xE8C7B756, 12, 2, 0x242070DB, 17, 3, 0xC1BDCEEE, 22)
  FOUR(F, 4, 0xF57C0FAF, 7, 5, 0x4787C62A, 12, 6, 0xA8304613, 17, 7, 0xFD469501, 22)
  FOUR(F, 8, 0x698098D8, 7, 9, 0x8B44F7AF, 12, 10, 0xFFFF5BB1, 17, 11, 0x895CD7BE, 22)
  FOUR(F, 12, 0x6B901122, 7, 13, 0xFD987193, 12, 14, 0xA679438E, 17, 15, 0x49B40821, 22)
  FOUR(G, 1, 0xF61E2562, 5, 6, 0xC040B340, 9, 11, 0x265E5A51, 14, 0, 0xE9B6C7AA, 20)
  FOUR(G, 5, 0xD62F105D, 5, 10, 0x02441453, 9, 15, 0xD8A1E681, 14, 4, 0xE7D3FBC8, 20)
  FOUR(G, 9, 0x21E1CDE6, 5, 14, 0xC33707D6, 9, 3, 0xF4D50D87, 14, 8, 0x455A14ED, 20)
  FOUR(G, 13, 0xA9E3E905, 5, 2, 0xFCEFA3F8, 9, 7, 0x676F02D9, 14, 12, 0x8D2A4C8A, 20)
  FOUR(H, 5, 0xFFFA3942, 4, 8, 0x8771F681, 11, 11, 0x6D9D6122, 16, 14, 0xFDE5380C, 23)
  FOUR(H, 1, 0xA4BEEA44, 4, 4, 0x4BDECFA9, 11, 7, 0xF6BB4B60, 16, 10, 0xBEBFBC70, 23)
  FOUR(H, 13, 0x289B7EC6, 4, 0, 0xEAA127FA, 11, 3, 0xD4EF3085, 16, 6, 0x04881D05, 23)
  FOUR(H, 9, 0xD9D4D039, 4, 12, 0xE6DB99E5, 11, 15, 0x1FA27CF8, 16, 2, 0xC4AC5665, 23)
  FOUR(I, 0, 0xF4292244, 6, 7, 0x432AFF97, 10, 14, 0xAB9423A7, 15, 5, 0xFC93A039, 21)
  FOUR(I, 12, 0x655B59C3, 6, 3, 0x8F0CCC92, 10, 10, 0xFFEFF47D, 15, 1, 0x85845DD1, 21)
  FOUR(I, 8, 0x6FA87E4F, 6, 15, 0xFE2CE6E0, 10, 6, 0xA3014314, 15, 13, 0x4E0811A1, 21)
  FOUR(I, 4, 0xF7537E82, 6, 11, 0xBD3AF235, 10, 2, 0x2AD7D2BB, 15, 9, 0xEB86D391, 21)
  state[0] += a;
  state[1] += b;
  state[2] += c;
  state[3] += d;
}

ALWAYS_INLINE void update(cchecksum_md5_state *sums, const void *const *messages, size_t blocks) {
  lanes state[4];
  memcpy(state, sums->words, sizeof(state));
  for (size_t done = 0; done < blocks; done++) {
    lanes words[16];
    for (int lane = 0; lane < cchecksum_md5_lanes; lane++)
      memcpy(&words[lane], (const unsigned char *)messages[lane] + done * cchecksum_md5_block, cchecksum_md5_block);
    transpose(words);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    for (int word = 0; word < 16; word++)
      for (int lane = 0; lane < cchecksum_md5_lanes; lane++)
        words[word][lane] = __builtin_bswap32(words[word][lane]);
#endif
    rounds(state, words);
  }
  memcpy(sums->words, state, sizeof(state));
}

#if defined(__x86_64__)
__attribute__((target("avx512f,avx512vl,avx512bw"))) static void update_avx512(
    cchecksum_md5_state *sums, const void *const *messages, size_t blocks) {
  update(sums, messages, blocks);
}

__attribute__((target("avx2"))) static void update_avx2(
    cchecksum_md5_state *sums, const void *const *messages, size_t blocks) {
  update(sums, messages, blocks);
}
#endif

void cchecksum_md5_begin(cchecksum_md5_state *state, size_t lane) {
  for (int word = 0; word < 4; word++)
    state->words[word][lane] = beginning[word];
}

void cchecksum_md5_update(cchecksum_md5_state *state, const void *const *messages, size_t blocks) {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw"))
    return update_avx512(state, messages, blocks);
  if (__builtin_cpu_supports("avx2"))
    return update_avx2(state, messages, blocks);
#endif
  update(state, messages, blocks);
}

void cchecksum_md5_end(
    const cchecksum_md5_state *state, size_t lane, const void *bytes, size_t rest, uint64_t length, uint8_t sum[16]) {
  cchecksum_md5_state own = *state;
  const void *messages[cchecksum_md5_lanes];
  for (int other = 0; other < cchecksum_md5_lanes; other++)
    messages[other] = bytes;
  size_t count = rest % cchecksum_md5_block;
  cchecksum_md5_update(&own, messages, rest / cchecksum_md5_block);
  /* The bytes, a bit that is set, and in the last eight bytes the length in bits (RFC 1321, sections 3.1 and 3.2). */
  unsigned char last[2 * cchecksum_md5_block] = {0};
  size_t blocks = count < cchecksum_md5_block - 8 ? 1 : 2;
  memcpy(last, (const unsigned char *)bytes + (rest - count), count);
  last[count] = 0x80;
  for (int byte = 0; byte < 8; byte++)
    last[blocks * cchecksum_md5_block - 8 + byte] = (unsigned char)(length << 3 >> 8 * byte);
  for (int other = 0; other < cchecksum_md5_lanes; other++)
    messages[other] = last;
  cchecksum_md5_update(&own, messages, blocks);
  for (int byte = 0; byte < 16; byte++)
    sum[byte] = (uint8_t)(own.words[byte / 4][lane] >> 8 * (byte % 4));
}
